"""Fill in what a data config leaves open: the layout of a folder that is only named, the pictures of the demo."""

from pathlib import Path
from typing import Any

from segexp.errors import ConfigError

FACTS = ("image", "mask", "groups", "classes", "ignore", "threshold", "channels")
"""The keys that describe a layout."""

DEMO: dict[str, dict[str, Any]] = {
    "membranes": {
        "image": "train/image/{id}.png",
        "mask": "train/label/{id}.png",
        "classes": {"cell": 255, "membrane": 0},
        "channels": 1,
    },
    "organ": {
        "image": "{split}/{id}.png",
        "mask": "{split}/{id}_mask.png",
        "groups": {"file": "mapping.csv", "match": "{split}/{name}", "column": "scan"},
        "classes": {"background": 0, "organ": 255},
        "channels": 1,
    },
    "lesion": {
        "image": "ISIC-2017_Training_Data/{id}.jpg",
        "mask": "ISIC-2017_Training_Part1_GroundTruth/{id}_segmentation.png",
        "classes": {"skin": 0, "lesion": 255},
        "channels": 3,
    },
}
"""The layouts in which the demo families are written: those of ISBI, liver and ISIC."""


def complete(data: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the keys that were open with their values, and a sentence that says what was taken and why.

    Args:
        data: the data section of a config, plain values; `image` null means: find out. With `family`, the demo pictures are
            generated below `root` if they are not there yet.

    Raises:
        DataError: the folder is missing or its layout is not a known one.
        ConfigError: the layout is open, and labels that overlap are asked for: which files are of which class, nothing tells.
    """
    check_open(data)
    root = Path(data["root"])
    if data.get("family"):
        from segexp.data.synthetic.datasets import make_demo

        folder = make_demo(root, data["family"])
        given = {key: data[key] for key in FACTS if data.get(key) not in (None, [])}
        return {**DEMO[data["family"]], **given, "root": str(folder)}, f"Generated pictures ({data['family']}) in {folder}"
    if data["image"] is not None:
        return {}, ""
    from segexp.data.layout.discovery import recognise

    found = recognise(root)
    given = {key: data[key] for key in FACTS if data.get(key) not in (None, [])}
    return {**found.layout, **given}, f"Layout of {root}: {found.name}. {found.reason}"


def check_open(data: dict[str, Any]) -> None:
    """Refuse to find out a layout of labels that overlap.

    Raises:
        ConfigError: the layout is open.
    """
    if data.get("labels") == "overlapping" and (data.get("family") or data["image"] is None):
        raise ConfigError(
            "data.labels=overlapping with a layout that is to be found out",
            "Which masks are of which class must be said: data.image, and data.mask with a pattern for each class",
            'Type \'data.image="images/{id}.png"\' \'data.mask={cell: "cells/{id}.png", nucleus: "nuclei/{id}.png"}\'',
        )
