"""Scores: confusion counts per case, and measures of borders, calibration, membranes and lesions."""
