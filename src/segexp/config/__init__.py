"""Configuration: typed schema, Hydra composition, validation and components."""
