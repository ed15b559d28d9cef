"""Lossless reading and atomic writing of image files."""
