"""Outlined objects instead of mask images: a module per file format, one representation, one rasteriser."""
