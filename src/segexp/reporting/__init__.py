"""Pages that a browser opens without a network: everything they show is in the one file."""
