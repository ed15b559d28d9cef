"""Synthetic images. Gray level alone never identifies a class: shape, texture and position do."""
