"""What is odd about the images: channels and bit depths that differ, pictures of one value, masks in the place of images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segexp.checking.findings import Finding
from segexp.checking.survey import Look
from segexp.checking.written import pattern_line
from segexp.errors import listed

SHOWN = 6
MANY = 64
"""A mask with more different values than these looks like an image."""
DARK = 10
"""Gray value of 255 that the brightest pixels of an image should reach."""
LEAST_SIDE = 16
"""Pixels that a network needs."""


def check_images(looks: Sequence[Look], data: Mapping[str, Any]) -> list[Finding]:
    """Return findings on the images.

    Args:
        looks: what was seen.
        data: the data section; `channels` may be None.
    """
    if exchanged := _exchanged(looks, data):
        return exchanged
    return [
        *_channels(looks, data["channels"]),
        *_depths(looks),
        *_tiny(looks),
        *_masks_as_images(looks),
        *_flat(looks),
    ]


def _channels(looks: Sequence[Look], channels: int | None) -> list[Finding]:
    by_count: dict[int, list[str]] = defaultdict(list)
    odd = []
    for look in looks:
        by_count[look.facts.channels].append(look.case.id)
        if channels is not None and look.stored != channels and {look.stored, channels} != {1, 3}:
            odd.append(look.case.id)
    common = max(by_count, key=lambda count: len(by_count[count]), default=0)
    if odd:
        kinds = listed([f"{len(ids)} with {count} ({listed(ids, 3)})" for count, ids in sorted(by_count.items())])
        text = f"{len(odd)} images cannot be read with data.channels={channels}: {kinds}"
        do = f"Type data.channels={common}" + (" and sort out the others" if len(by_count) > 1 else "")
        return [Finding("error", "channels", text, do, tuple(odd))]
    if len(by_count) > 1:
        rare = {count: ids for count, ids in by_count.items() if count != common}
        few = tuple(id_ for ids in rare.values() for id_ in ids)
        kinds = " and ".join("gray" if count == 1 else f"of {count} channels" for count in rare)
        usual = "colour" if common == 3 else "gray"
        are = "is" if len(few) == 1 else "are"
        text = f"{len(few)} of {len(looks)} images {are} {kinds}, the others {usual}: {listed(few, SHOWN)}"
        do = f"Look whether they belong here; with data.channels={channels or common} all are read alike"
        return [Finding("warning", "channels", text, do, few)]
    if channels == 1 and common == 3:
        text = "The images are in colour and data.channels=1 turns them gray"
        return [Finding("warning", "channels", text, "Type data.channels=3 if colour may help")]
    if channels == 3 and common == 1:
        text = "The images are gray and data.channels=3 repeats them three times"
        return [Finding("note", "channels", text, "Type data.channels=1; it is faster and as good")]
    return []


def _depths(looks: Sequence[Look]) -> list[Finding]:
    by_type: dict[str, list[str]] = defaultdict(list)
    for look in looks:
        by_type[look.facts.dtype].append(look.case.id)
    if len(by_type) < 2:
        return []
    common = max(by_type, key=lambda name: len(by_type[name]))
    few = tuple(id_ for name, ids in by_type.items() if name != common for id_ in ids)
    kinds = ", ".join(f"{name} ({len(ids)})" for name, ids in by_type.items())
    text = f"The images hold values of different types, {kinds}: {listed(few, SHOWN)} differ from the others"
    do = "Convert them to one type with one scale"
    if "uint8" in by_type:
        return [Finding("error", "bit_depth", f"{text}; no one scale fits 8-bit and other images", do, few)]
    return [Finding("warning", "bit_depth", text, do, few)]


def _tiny(looks: Sequence[Look]) -> list[Finding]:
    few = tuple(look.case.id for look in looks if min(look.facts.size) < LEAST_SIDE)
    if not few:
        return []
    text = f"{len(few)} images have a side of less than {LEAST_SIDE} pixels: {listed(few, SHOWN)}"
    return [Finding("error", "tiny", text, "Move them and their masks out of the data folder", few)]


def _flat(looks: Sequence[Look]) -> list[Finding]:
    """Name images of one value, and those so dark or pale that nothing can be seen in them."""
    spans = np.array([look.facts.high - look.facts.low for look in looks])
    usual = float(np.median(spans)) if len(spans) else 0.0
    blank = [look for look, span in zip(looks, spans, strict=True) if span == 0]
    dark = [look for look, span in zip(looks, spans, strict=True) if span and (span < 0.01 * usual or _dark(look))]
    findings = []
    if blank:
        ids = tuple(look.case.id for look in blank)
        shown = listed([f"{look.case.image} (all {look.facts.low:g})" for look in blank], SHOWN)
        text = f"{len(ids)} {'images have' if len(ids) > 1 else 'image has'} one value everywhere: {shown}"
        findings.append(Finding("warning", "blank", text, "Move them and their masks out of the data folder", ids))
    if dark and len(dark) <= len(looks) / 2:
        ids = tuple(look.case.id for look in dark)
        text = f"{len(ids)} {'images are' if len(ids) > 1 else 'image is'} almost black: {listed(ids, SHOWN)}"
        findings.append(Finding("warning", "dark", text, "Look at them; data.normalize=percentile evens out brightness", ids))
    return findings


def _dark(look: Look) -> bool:
    return look.facts.dtype == "uint8" and float(np.percentile(look.picture, 99)) < DARK


def _exchanged(looks: Sequence[Look], data: Mapping[str, Any]) -> list[Finding]:
    """Tell whether most images look like masks and most masks like images."""
    rich = [look for look in looks if any(len(mask.counts) > MANY for mask in look.masks)]
    few = [look for look in looks if look.few and look.digest and look.masks]
    if len(few) <= len(looks) / 2 or len(rich) <= len(looks) / 2:
        return []
    text = f"Images and masks are exchanged: {few[0].case.image} holds a few values and {few[0].case.masks[0]} holds many"
    do = "Exchange the files, or the patterns of data.image and data.mask"
    if isinstance(data["mask"], str):
        do = f"Type {pattern_line('data.image', data['mask'])} {pattern_line('data.mask', data['image'])}"
    return [Finding("error", "exchanged", text, do)]


def _masks_as_images(looks: Sequence[Look]) -> list[Finding]:
    """Name images that are masks: equal to one, or of a few values while the other images have many."""
    few = [look for look in looks if look.few and look.digest]
    known = {look.raw_digest for look in looks} - {""}
    masks = [look for look in few if look.digest in known or (len(few) <= len(looks) / 2 and _two_ended(look))]
    if not masks:
        return []
    ids = tuple(look.case.id for look in masks)
    text = f"{len(ids)} {'images look' if len(ids) > 1 else 'image looks'} like a mask: "
    text += listed([look.case.image for look in masks], SHOWN)
    do = "Put the right image in its place, or move the pair out of the data folder"
    return [Finding("error", "mask_as_image", text, do, ids)]


def _two_ended(look: Look) -> bool:
    """Tell whether a picture of few values spans most of the range of its type, as masks that are to be seen do."""
    return look.facts.dtype == "uint8" and look.facts.high - look.facts.low > 100
