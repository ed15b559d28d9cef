"""What is wrong with the files of a data set: those without a partner, broken ones, masks of another size."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from segexp.checks.issues import Finding
from segexp.checks.mask_values import pattern_line
from segexp.checks.scan import CaseScan, Fault
from segexp.config.schema import DataConfig
from segexp.data.layout.inventory import Inventory
from segexp.errors import DataError, SegexpError, listed, sentence

MAX_UNPAIRED = 10
"""Files named in a sentence; `cases` has all of them."""


def check_inventory(inventory: Inventory, image: str, mask: str | Mapping[str, str]) -> list[Finding]:
    """Return findings on files that are left over.

    Args:
        inventory: what lies in the folder.
        image: the pattern of the images.
        mask: the pattern of the masks, or of those of each class.
    """
    findings = _problems(inventory.problems)
    of_images, of_masks = pattern_line("data.image", image), pattern_line("data.mask", mask)
    do = f"Add what is missing or move the rest out of the folder; or correct {of_images} and {of_masks}"
    if lone := inventory.lone_images:
        count = len(lone) + len(inventory.cases)
        have = "has" if len(lone) == 1 else "have"
        text = f"{len(lone)} of {count} images {have} no mask: {listed(lone, MAX_UNPAIRED)} (for {lone[0]} it would be "
        findings.append(Finding("error", "unmatched", f"{text}{inventory.expected})", do, lone))
    if lone := inventory.lone_masks:
        text = f"{len(lone)} {'masks have' if len(lone) > 1 else 'mask has'} no image: {listed(lone, MAX_UNPAIRED)}"
        findings.append(Finding("error", "unmatched", text, do, lone))
    if inventory.unlabelled:
        text = f"The test split has no masks; training leaves its {len(inventory.unlabelled)} images out"
        do = "Nothing, if that is how the data were given; type data.test_fraction=0.1 for a test split with masks"
        findings.append(Finding("note", "unlabelled", text, do, inventory.unlabelled))
    if unused := inventory.unused:
        many = len(unused) > 2 * len(inventory.cases) and all(case.image.page is None for case in inventory.cases)
        text = f"{len(unused)} pictures fit neither pattern and are not used: {listed(unused)}"
        do = f"Nothing, if they are no part of the data set; otherwise widen {of_images} or {of_masks}"
        findings.append(Finding("warning" if many else "note", "unused", text, do, unused))
    if not inventory.cases:
        text = f"No image has a mask: {of_images} and {of_masks} pair nothing"
        findings.append(Finding("error", "no_case", text, "Correct the two patterns, or type data=auto data.root=DIR"))
    return findings


def _problems(problems: Sequence[DataError]) -> list[Finding]:
    """Return one finding for all problems with the same advice."""
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for problem in problems:
        alike[problem.expected, problem.do].append(problem.found)
    return [
        problem_finding(DataError("; ".join(found[:MAX_UNPAIRED]) + _more(len(found) - MAX_UNPAIRED), expected, do), "layout")
        for (expected, do), found in alike.items()
    ]


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def check_splits(splits: Collection[str]) -> list[Finding]:
    """Return a finding if there is no case to train on or none to choose the best weights by.

    Args:
        splits: of all cases.
    """
    empty = [split for split in ("train", "val") if split not in splits]
    if not empty:
        return []
    do = "Put cases into it, or write the patterns without {split} and type data.val_fraction=0.2"
    return [Finding("error", "empty_split", f"No case is in the split {listed(empty)}", do)]


def check_faults(faults: Sequence[Fault], root: Path) -> list[Finding]:
    """Return findings on files that cannot be read and masks of another size than their image."""
    findings = []
    if broken := [fault for fault in faults if fault.kind == "unreadable"]:
        text = f"{len(broken)} {'files' if len(broken) > 1 else 'file'} cannot be used: " + listed(
            [fault.problem.found for fault in broken], MAX_UNPAIRED
        )
        out = short(broken[0].case.image.path, root), *(short(mask.path, root) for mask in broken[0].case.masks)
        do = f"Copy them again from where they came, or move each with its partner out of the folder ({' and '.join(out)})"
        findings.append(Finding("error", "unreadable", text, do, _ids(broken)))
    if odd := [fault for fault in faults if fault.kind == "size"]:
        text = f"{len(odd)} {'masks have' if len(odd) > 1 else 'mask has'} another size than the image: " + listed(
            [fault.problem.found for fault in odd], MAX_UNPAIRED
        )
        do = "Make the masks again at the size of their images, without smoothing, or move the pairs out of the folder"
        findings.append(Finding("error", "size", text, do, _ids(odd)))
    return findings


def problem_finding(problem: SegexpError, kind: str) -> Finding:
    """Return an error that was raised as a finding."""
    return Finding("error", kind, problem.found, " ".join(sentence(part) for part in (problem.expected, problem.do) if part))


def short(path: Path, root: Path) -> str:
    """Return a file's name relative to the root."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _ids(faults: Sequence[Fault]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fault.case.id for fault in faults))


MAX_LISTED = 6
MANY = 64
"""A mask with more different values than these looks like an image."""
DARK = 10
"""Gray value of 255 that the brightest pixels of an image should reach."""
LEAST_SIDE = 16
"""Pixels that a network needs."""


def check_images(looks: Sequence[CaseScan], data: DataConfig) -> list[Finding]:
    """Return findings on the images.

    Args:
        looks: what was seen.
        data: the data section; `channels` may be None.
    """
    if exchanged := _exchanged(looks, data):
        return exchanged
    return [
        *_channels(looks, data.channels),
        *_depths(looks),
        *_tiny(looks),
        *_masks_as_images(looks),
        *_flat(looks),
    ]


def _channels(looks: Sequence[CaseScan], channels: int | None) -> list[Finding]:
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
        text = f"{len(few)} of {len(looks)} images {are} {kinds}, the others {usual}: {listed(few, MAX_LISTED)}"
        do = f"Look whether they belong here; with data.channels={channels or common} all are read alike"
        return [Finding("warning", "channels", text, do, few)]
    if channels == 1 and common == 3:
        text = "The images are in colour and data.channels=1 turns them gray"
        return [Finding("warning", "channels", text, "Type data.channels=3 if colour may help")]
    if channels == 3 and common == 1:
        text = "The images are gray and data.channels=3 repeats them three times"
        return [Finding("note", "channels", text, "Type data.channels=1; it is faster and as good")]
    return []


def _depths(looks: Sequence[CaseScan]) -> list[Finding]:
    by_type: dict[str, list[str]] = defaultdict(list)
    for look in looks:
        by_type[look.facts.dtype].append(look.case.id)
    if len(by_type) < 2:
        return []
    common = max(by_type, key=lambda name: len(by_type[name]))
    few = tuple(id_ for name, ids in by_type.items() if name != common for id_ in ids)
    kinds = ", ".join(f"{name} ({len(ids)})" for name, ids in by_type.items())
    text = f"The images hold values of different types, {kinds}: {listed(few, MAX_LISTED)} differ from the others"
    do = "Convert them to one type with one scale"
    if "uint8" in by_type:
        return [Finding("error", "bit_depth", f"{text}; no one scale fits 8-bit and other images", do, few)]
    return [Finding("warning", "bit_depth", text, do, few)]


def _tiny(looks: Sequence[CaseScan]) -> list[Finding]:
    few = tuple(look.case.id for look in looks if min(look.facts.size) < LEAST_SIDE)
    if not few:
        return []
    text = f"{len(few)} images have a side of less than {LEAST_SIDE} pixels: {listed(few, MAX_LISTED)}"
    return [Finding("error", "tiny", text, "Move them and their masks out of the data folder", few)]


def _flat(looks: Sequence[CaseScan]) -> list[Finding]:
    """Name images of one value, and those so dark or pale that nothing can be seen in them."""
    spans = np.array([look.facts.high - look.facts.low for look in looks])
    usual = float(np.median(spans)) if len(spans) else 0.0
    blank = [look for look, span in zip(looks, spans, strict=True) if span == 0]
    dark = [look for look, span in zip(looks, spans, strict=True) if span and (span < 0.01 * usual or _dark(look))]
    findings = []
    if blank:
        ids = tuple(look.case.id for look in blank)
        shown = listed([f"{look.case.image} (all {look.facts.low:g})" for look in blank], MAX_LISTED)
        text = f"{len(ids)} {'images have' if len(ids) > 1 else 'image has'} one value everywhere: {shown}"
        findings.append(Finding("warning", "blank", text, "Move them and their masks out of the data folder", ids))
    if dark and len(dark) <= len(looks) / 2:
        ids = tuple(look.case.id for look in dark)
        text = f"{len(ids)} {'images are' if len(ids) > 1 else 'image is'} almost black: {listed(ids, MAX_LISTED)}"
        findings.append(Finding("warning", "dark", text, "Look at them; data.normalize=percentile evens out brightness", ids))
    return findings


def _dark(look: CaseScan) -> bool:
    return look.facts.dtype == "uint8" and float(np.percentile(look.picture, 99)) < DARK


def _exchanged(looks: Sequence[CaseScan], data: DataConfig) -> list[Finding]:
    """Tell whether most images look like masks and most masks like images."""
    rich = [look for look in looks if any(len(mask.counts) > MANY for mask in look.masks)]
    few = [look for look in looks if look.few and look.digest and look.masks]
    if len(few) <= len(looks) / 2 or len(rich) <= len(looks) / 2:
        return []
    text = f"Images and masks are exchanged: {few[0].case.image} holds a few values and {few[0].case.masks[0]} holds many"
    do = "Exchange the files, or the patterns of data.image and data.mask"
    if isinstance(data.mask, str):
        do = f"Type {pattern_line('data.image', data.mask)} {pattern_line('data.mask', data.image or '')}"
    return [Finding("error", "exchanged", text, do)]


def _masks_as_images(looks: Sequence[CaseScan]) -> list[Finding]:
    """Name images that are masks: equal to one, or of a few values while the other images have many."""
    few = [look for look in looks if look.few and look.digest]
    known = {look.raw_digest for look in looks} - {""}
    masks = [look for look in few if look.digest in known or (len(few) <= len(looks) / 2 and _two_ended(look))]
    if not masks:
        return []
    ids = tuple(look.case.id for look in masks)
    text = f"{len(ids)} {'images look' if len(ids) > 1 else 'image looks'} like a mask: "
    text += listed([look.case.image for look in masks], MAX_LISTED)
    do = "Put the right image in its place, or move the pair out of the data folder"
    return [Finding("error", "mask_as_image", text, do, ids)]


def _two_ended(look: CaseScan) -> bool:
    """Tell whether a picture of few values spans most of the range of its type, as masks that are to be seen do."""
    return look.facts.dtype == "uint8" and look.facts.high - look.facts.low > 100
