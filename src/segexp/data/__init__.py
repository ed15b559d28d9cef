"""Data sets: from image files to cases, splits and samples."""
