"""File names with and without their format."""

import re
from collections.abc import Sequence

from segexp.data.files import nifti
from segexp.data.files.images import SUFFIXES

ENDINGS = tuple(f".{ending}" for ending in (*reversed(nifti.ENDINGS), *SUFFIXES))
"""Of all formats that can be read, `.nii.gz` before what it ends with."""

EXTRAS = ("overlay", "probabilities", "labels", "panels", "uncertainty")
"""Folders beside the masks for what else is written."""


def file_words(names: Sequence[str]) -> tuple[str, ...]:
    """Return a word for each class that can stand in a file's name: letters, digits, dashes; no two alike."""
    words: list[str] = []
    for number, name in enumerate(names, start=1):
        word = re.sub(r"[^\w-]+", "_", name).strip("_")
        words.append(word if word and word.lower() not in map(str.lower, words) else f"{word}{number}")
    return tuple(words)


def ending_of(name: str) -> str:
    """Return the ending of a picture's name as it is written (`.JPG`, `.nii.gz`); empty for other files."""
    lower = name.lower()
    return next((name[-len(ending) :] for ending in ENDINGS if lower.endswith(ending) and len(name) > len(ending)), "")


def stem_of(name: str) -> str:
    """Return a picture's name, folders included, without its format."""
    return name.removesuffix(ending_of(name))
