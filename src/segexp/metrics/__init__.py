"""Counts per case, and every score from them."""
