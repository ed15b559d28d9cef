"""The cheap part of the check, before every training: from what its pass over the pictures has seen anyway."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from segexp.checking.cheap import cheap
from segexp.checking.findings import Finding, ordered
from segexp.checking.survey import digest
from segexp.data.datamodule import SegmentationDataModule
from segexp.errors import DataError, listed

LITTLE = 0.01
"""Share of the training pixels below which foreground is hard to learn."""
MANY = 0.5
"""Share of training masks without foreground that is worth a word."""


def look_over(data: SegmentationDataModule, say: Callable[[str], None]) -> None:
    """Say what is worth a word before training, and refuse what would make the scores wrong.

    Raises:
        DataError: a training picture is also in val or test, a group is torn apart, or equal pictures have different masks,
            and data.allow_leakage is not true.
    """
    findings = quick(data)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors and not data.data.get("allow_leakage", False):
        raise DataError(
            "; ".join(finding.found for finding in errors),
            "What is scored must be new to the network",
            f"{errors[0].do}; or type data.allow_leakage=true to train all the same, with scores that are too good",
        )
    for finding in findings:
        if finding.level != "note":
            say(str(replace(finding, level=finding.level.capitalize())))


def quick(data: SegmentationDataModule) -> list[Finding]:
    """Return what can be told of data that were just set up, errors first."""
    equal, masks = equal_pictures(data)
    return ordered([*cheap(data.cases, data.splits, equal, masks), *_classes(data)])


def equal_pictures(data: SegmentationDataModule) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return a name for each set of equal images, and for their masks, by the ids of the cases that have an equal one.

    Only images with the same checksum are compared; those of one value everywhere tell nothing and are left out.
    """
    alike: dict[int, list[int]] = defaultdict(list)
    for position, seen in enumerate(data.glances):
        alike[seen.checksum].append(position)
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    for positions in alike.values():
        first = data.store[positions[0]].image if len(positions) > 1 else None
        if first is None or first.min() == first.max():
            continue
        for position in positions:
            picture, name = data.store[position], data.cases[position].id
            if np.array_equal(first, picture.image):
                images[name], masks[name] = data.cases[positions[0]].id, digest(picture.mask)
    return images, masks


def _classes(data: SegmentationDataModule) -> Iterable[Finding]:
    """Yield what the shares of the classes in the training masks tell."""
    shares = data.fingerprint.class_share
    foreground = 1 - shares[0] if data.spec.overlapping else sum(shares[1:])  # where classes overlap, some pixels have two
    counted = list(zip(data.spec.classes, shares, strict=True))[int(data.spec.overlapping) :]  # all pixels may have a class
    absent = [name for name, share in counted if not share]
    if absent:
        yield Finding(
            "warning",
            "absent",
            f"No training mask has a pixel of {listed(absent)}",
            "It cannot be learned: check its value in data.classes, or remove it",
        )
    training = data.members("train")
    empty = [data.cases[n].id for n in training if data.glances[n].empty]
    if len(empty) > MANY * len(training):
        yield Finding(
            "warning",
            "empty",
            f"{len(empty)} of {len(training)} training masks have no foreground: {listed(empty)}",
            "Check that these are the right masks",
            tuple(empty),
        )
    if 0 < foreground < LITTLE:
        crops = "data.foreground_crops=0.33" if data.data["crop"] else "data.crop=256 data.foreground_crops=0.33"
        yield Finding(
            "warning",
            "rare",
            f"Only {100 * foreground:.2g} % of the training pixels are foreground",
            f"Type {crops}, so that more of it is met, or class weights for the loss",
        )
