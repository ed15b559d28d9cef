"""Fill in the open keys of a data section: infer the layout of a folder, or generate demo data."""

from pathlib import Path
from typing import Any

from segexp.config.overrides import shell_words
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

    Without `image` the layout is inferred, with it data=auto infers classes and channels from the files that it names; with
    `family`, demo images are generated below `root` if missing.

    Raises:
        DataError: the folder is missing or its layout is unknown.
        ConfigError: the layout of overlapping labels is open, or one of two patterns is missing.
    """
    check_layout_known(data)
    root, given = Path(data.root), given_facts(data)
    if data.family:
        from segexp.data.synthetic.datasets import make_demo

        folder = make_demo(root, data.family)
        return {**DEMO[data.family], **given, "root": str(folder)}, f"Generated pictures ({data.family}) in {folder}"
    from segexp.data.layout.discovery import discover_layout, infer_facts
    from segexp.data.layout.pairing import find_data_cases
    from segexp.data.orientation import choose_orientation

    if data.image is not None:
        orientation, sentence = choose_orientation(data)
        chosen = {"orientation": orientation} if orientation != data.orientation else {}
        if not has_open_facts(data):
            return chosen, sentence
        facts = infer_facts(find_data_cases(data.changed(**chosen)), given)
        return {**apply_background(facts.keys, data), **given, **chosen}, ". ".join(
            filter(None, (configured_layout(data), facts.reason, sentence))
        )
    found = discover_layout(root, known=given, exclude=data.exclude, orientation=data.orientation)
    keys = {**apply_background(found.layout, data), **given}
    orientation, sentence = choose_orientation(data.changed(**keys))
    keys |= {"orientation": orientation} if orientation != data.orientation else {}
    return keys, ". ".join(filter(None, (f"Layout of {root}: {found.name}", found.reason, sentence)))


def apply_background(inferred: dict[str, Any], data: DataConfig) -> dict[str, Any]:
    """Return inferred keys whose classes agree with `data.background`."""
    from segexp.data.layout.infer_classes import without_background

    classes = inferred.get("classes")
    return inferred | ({"classes": without_background(classes, data.background)} if classes else {})


def given_facts(data: DataConfig) -> dict[str, Any]:
    """Return the keys of `FACTS` that have a value."""
    return {key: value for key, value in data.plain().items() if key in FACTS and value not in (None, [])}


def has_open_facts(data: DataConfig) -> bool:
    """Return whether the layout is to be inferred, or, with data=auto and patterns, classes or channels are."""
    unknown = data.name == "auto" and not data.multilabel and None in (data.classes, data.channels)
    return not data.family and (data.image is None or unknown)


def configured_layout(data: DataConfig) -> str:
    """Return a sentence about typed patterns."""
    mask = ", ".join(f"{k}: {text}" for k, text in data.mask.items()) if isinstance(data.mask, dict) else data.mask
    return f"Layout of {data.root}: as configured. image={data.image} mask={mask}"


def complete_section(data: DataConfig) -> tuple[DataConfig, str]:
    """Return the completed data section and the sentence of `complete_keys`."""
    found, sentence = complete_keys(data)
    return (data.changed(**found) if found else data), sentence


def check_layout_known(data: DataConfig) -> None:
    """Refuse to infer the layout of overlapping labels, or one pattern to another.

    Raises:
        ConfigError: the layout is open.
    """
    if data.multilabel and (data.family or data.image is None):
        masks = {name: f"{name}/{{id}}.png" for name in list(data.classes or {})[1:] or ["CLASS"]}
        raise ConfigError(
            "data.labels=overlapping with a layout that is to be found out",
            "Which masks are of which class must be said: data.image, and data.mask with a pattern for each class",
            f"Type {shell_words({'data.image': 'images/{id}.png', 'data.mask': masks})}",
        )
    if data.name == "auto" and (data.image is None) != (data.mask is None):
        typed, other = ("image", "mask") if data.mask is None else ("mask", "image")
        raise ConfigError(
            f"data=auto with data.{typed}={getattr(data, typed)} and without data.{other}",
            "Both patterns, or neither where the layout is to be found out",
            f"Type data.{other} too, or leave data.{typed} out",
        )
