"""File names with and without their format."""

from segexp.data.files import nifti
from segexp.data.files.images import SUFFIXES

ENDINGS = tuple(f".{ending}" for ending in (*reversed(nifti.ENDINGS), *SUFFIXES))
"""Of all formats that can be read, `.nii.gz` before what it ends with."""

EXTRAS = ("overlay", "probabilities", "labels", "panels", "uncertainty")
"""Folders beside the masks for what else is written."""


def ending_of(name: str) -> str:
    """Return the ending of a picture's name as it is written (`.JPG`, `.nii.gz`); empty for other files."""
    lower = name.lower()
    return next((name[-len(ending) :] for ending in ENDINGS if lower.endswith(ending) and len(name) > len(ending)), "")


def stem_of(name: str) -> str:
    """Return a picture's name, folders included, without its format."""
    return name.removesuffix(ending_of(name))
