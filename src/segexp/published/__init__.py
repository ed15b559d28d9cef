"""Published weights: where they are, on this machine or elsewhere."""
