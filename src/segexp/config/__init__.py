"""One typed schema, the configuration that Hydra composes of it and conf/, and the components that it names."""
