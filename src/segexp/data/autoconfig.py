"""Fill in the open keys of a data section: infer the layout of a folder, or generate demo data."""

from pathlib import Path
from typing import Any

from segexp.config.schema import DataConfig
from segexp.errors import ConfigError

FACTS = ("image", "mask", "groups", "classes", "ignore", "threshold", "channels")
"""Keys that describe a layout."""

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
"""Layouts of the demo families: those of ISBI, liver and ISIC."""


def complete_keys(data: DataConfig) -> tuple[dict[str, Any], str]:
    """Return values for the open keys, and a sentence that describes the layout.

    Without `image` the layout is inferred; with `family`, demo images are generated below `root` if missing.

    Raises:
        DataError: the folder is missing or its layout is unknown.
        ConfigError: the layout of overlapping labels is open.
    """
    check_layout_known(data)
    root = Path(data.root)
    given = {key: value for key, value in data.plain().items() if key in FACTS and value not in (None, [])}
    if data.family:
        from segexp.data.synthetic.datasets import make_demo

        folder = make_demo(root, data.family)
        return {**DEMO[data.family], **given, "root": str(folder)}, f"Generated pictures ({data.family}) in {folder}"
    if data.image is not None:
        from segexp.data.orientation import choose_orientation

        orientation, sentence = choose_orientation(data)
        return ({"orientation": orientation} if orientation != data.orientation else {}), sentence
    from segexp.data.layout.discovery import discover_layout

    found = discover_layout(root, exclude=data.exclude)
    return {**found.layout, **given}, f"Layout of {root}: {found.name}. {found.reason}"


def complete_section(data: DataConfig) -> tuple[DataConfig, str]:
    """Return the completed data section and the sentence of `complete_keys`."""
    found, sentence = complete_keys(data)
    return (data.changed(**found) if found else data), sentence


def check_layout_known(data: DataConfig) -> None:
    """Refuse to infer the layout of overlapping labels.

    Raises:
        ConfigError: the layout is open.
    """
    if data.multilabel and (data.family or data.image is None):
        raise ConfigError(
            "data.labels=overlapping with a layout that is to be found out",
            "Which masks are of which class must be said: data.image, and data.mask with a pattern for each class",
            'Type \'data.image="images/{id}.png"\' \'data.mask={cell: "cells/{id}.png", nucleus: "nuclei/{id}.png"}\'',
        )
