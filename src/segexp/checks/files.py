"""Files of a data set: unmatched, unreadable, wrong sizes, unusual images."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from segexp.checks.issues import Finding
from segexp.checks.scan import CaseScan, Fault
from segexp.config.overrides import shell_words
from segexp.config.schema import DataConfig
from segexp.data.damaged import NOT_A_NUMBER, exclude_override, first_reasons
from segexp.data.labels.regions import SOFT_BORDER
from segexp.data.layout.inventory import Inventory
from segexp.errors import DataError, NotFiniteImageError, SegexpError, UnreadableError, listed, pluralise, sentence

MAX_UNPAIRED = 10
"""Maximum number of files named in a message."""


def check_inventory(
    inventory: Inventory, image: str, mask: str | Mapping[str, str], *, test_fraction: float = 0
) -> list[Finding]:
    """Return findings on unmatched and unused files; `image` and `mask` are patterns, the rest as in the data section."""
    findings = _problems([problem for problem in inventory.problems if not isinstance(problem, UnreadableError)])
    of_images, of_masks = shell_words({"data.image": image}), shell_words({"data.mask": mask})
    masks = mask if isinstance(mask, str) else " and ".join(f"{text} for {name}" for name, text in mask.items())
    patterns = f"data.image ({image}) or data.mask ({masks})"
    better, remedy = inventory.better, {}
    if better is not None and not inventory.cases:
        remedy = {"image": better.image, "mask": better.mask}
    correct = f"type {better.overrides}" if better else f"correct the patterns, {patterns}"
    do = f"Add what is missing or move the rest out of the folder; or {correct}"
    if lone := inventory.lone_images:
        count = len(lone) + len(inventory.cases)
        have = "has" if len(lone) == 1 else "have"
        text = f"{len(lone)} of {count} images {have} no mask: {listed(lone, MAX_UNPAIRED)} (for {lone[0]} it would be "
        findings.append(Finding("error", "unmatched", f"{text}{inventory.expected})", do, lone))
    if lone := inventory.lone_masks:
        text = f"{len(lone)} {'masks have' if len(lone) > 1 else 'mask has'} no image: {listed(lone, MAX_UNPAIRED)}"
        findings.append(Finding("error", "unmatched", text + inventory.misread, do, lone))
    if inventory.unlabelled:
        text = f"The test split has no masks; training leaves its {len(inventory.unlabelled)} images out"
        do = "Nothing, if that is how the data were given"
        do += "" if test_fraction else "; type data.test_fraction=0.1 for a test split with masks"
        findings.append(Finding("note", "unlabelled", text, do, inventory.unlabelled))
    if lost := inventory.unplaced:
        are = "mask volume is" if len(lost) == 1 else "mask volumes are"
        text = f"{len(lost)} {are} laid on the image by index: its header or that of its image has no position (sform and "
        text += f"qform codes are 0): {listed(lost, MAX_UNPAIRED)}"
        findings.append(Finding("note", "unplaced", text, "Nothing, if the voxels belong together as they are stored", lost))
    if unused := inventory.unused:
        many = len(unused) > 2 * len(inventory.cases) and all(case.image.page is None for case in inventory.cases)
        text = f"{len(unused)} image files match neither pattern and are not used: {listed(unused)}"
        do = f"Nothing, if they are no part of the data set; otherwise widen a pattern: {patterns}"
        findings.append(Finding("warning" if many else "note", "unused", text, do, unused))
    if not inventory.cases:
        text = f"No image has a mask: {of_images} and {of_masks} pair nothing"
        findings.append(Finding("error", "no_case", text, f"{correct[0].upper()}{correct[1:]}", remedy=remedy))
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
    """Return a finding if there are no training or no validation cases."""
    empty = [split for split in ("train", "val") if split not in splits]
    if not empty:
        return []
    do = "Put cases into it, or write the patterns without {split}, so that the cases are split at random"
    return [Finding("error", "empty_split", f"No case is in the split {listed(empty)}", do)]


def check_faults(faults: Sequence[Fault], data: DataConfig, problems: Sequence[DataError] = ()) -> list[Finding]:
    """Return findings on unreadable files, all of them, and masks whose size differs from the image.

    Args:
        faults: met while the cases were scanned.
        data: the data section.
        problems: met while the files were listed; stacks whose pages cannot be counted are among them.
    """
    findings = []
    broken = [fault for fault in faults if fault.kind == "unreadable"]
    nan = any(isinstance(fault.problem, NotFiniteImageError) for fault in broken)
    stacks = [problem for problem in problems if isinstance(problem, UnreadableError)]
    of_faults = ((str(fault.source.path), fault.problem) for fault in broken)
    if reasons := first_reasons([*((problem.file, problem) for problem in stacks), *of_faults]):
        text = f"{pluralise(len(reasons), 'file')} cannot be used: {'; '.join(reasons.values())}"
        line = exclude_override(reasons, data.root, data.exclude)
        do = NOT_A_NUMBER if nan else "Copy"
        do += f" them again from where they came, or leave them and their partners out: type {line}"
        findings.append(Finding("error", "unreadable", text, do, _ids(broken), {"nodata": "nan"} if nan else {}))
    if mismatched := [fault for fault in faults if fault.kind == "size"]:
        text = (
            f"{len(mismatched)} {'masks have' if len(mismatched) > 1 else 'mask has'} another size than the image: "
            + listed([fault.problem.found for fault in mismatched], MAX_UNPAIRED)
        )
        do = "Make the masks again at the size of their images, without smoothing, or move the pairs out of the folder"
        other = "ignore" if data.exif == "apply" else "apply"
        turned = [fault for fault in mismatched if fault.problem.do == f"Type data.exif={other}"]
        if turned:
            do = f"Type data.exif={other}" + (f" for {len(turned)} of them. {do}" if len(turned) < len(mismatched) else "")
        remedy = {"exif": other} if len(turned) == len(mismatched) else {}
        findings.append(Finding("error", "size", text, do, _ids(mismatched), remedy))
    return findings


def problem_finding(problem: SegexpError, kind: str) -> Finding:
    """Convert an exception to a finding."""
    return Finding("error", kind, problem.found, " ".join(sentence(part) for part in (problem.expected, problem.do) if part))


def _ids(faults: Sequence[Fault]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fault.case.id for fault in faults))


MAX_LISTED = 6
MANY = 64
"""A mask with more distinct values than these looks like an image."""
DARK = 10
"""Gray value that the 99th percentile of an 8-bit image should reach."""
LEAST_SIDE = 16
"""Minimum side in pixels that a network needs."""


def check_images(scans: Sequence[CaseScan], data: DataConfig) -> list[Finding]:
    """Return findings on the images; `data.channels` may be None."""
    if exchanged := _exchanged(scans, data):
        return exchanged
    return [
        *_channels(scans, data.channels),
        *_transparency(scans),
        *_left_out(scans),
        *_depths(scans),
        *_tiny(scans),
        *_masks_as_images(scans),
        *_flat(scans, data.normalize),
    ]


def _channels(scans: Sequence[CaseScan], channels: int | None) -> list[Finding]:
    by_count: dict[int, list[str]] = defaultdict(list)
    mismatched = []
    for scan in scans:
        by_count[scan.facts.channels].append(scan.case.id)
        if channels is not None and scan.stored != channels and {scan.stored, channels} != {1, 3}:
            mismatched.append(scan.case.id)
    common = max(by_count, key=lambda count: len(by_count[count]), default=0)
    if mismatched:
        kinds = listed([f"{len(ids)} with {count} ({listed(ids, 3)})" for count, ids in sorted(by_count.items())])
        text = f"{len(mismatched)} images cannot be read with data.channels={channels}: {kinds}"
        do = f"Type data.channels={common}" + (" and sort out the others" if len(by_count) > 1 else "")
        return [Finding("error", "channels", text, do, tuple(mismatched), {"channels": common} if len(by_count) == 1 else {})]
    if len(by_count) > 1:
        rare = {count: ids for count, ids in by_count.items() if count != common}
        few = tuple(id_ for ids in rare.values() for id_ in ids)
        kinds = " and ".join("gray" if count == 1 else f"of {count} channels" for count in rare)
        usual = "colour" if common == 3 else "gray"
        are = "is" if len(few) == 1 else "are"
        text = f"{len(few)} of {len(scans)} images {are} {kinds}, the others {usual}: {listed(few, MAX_LISTED)}"
        do = f"Look whether they belong here; all are read with {pluralise(channels or common, 'channel')}"
        return [Finding("warning", "channels", text, do, few)]
    if channels == 1 and common == 3:
        text = "The images are in colour and data.channels=1 turns them gray"
        return [Finding("warning", "channels", text, "Type data.channels=3 if colour may help")]
    if channels == 3 and common == 1:
        text = "The images are gray and data.channels=3 repeats them three times"
        return [Finding("note", "channels", text, "Type data.channels=1; it is faster and as good", remedy={"channels": 1})]
    return []


def _transparency(scans: Sequence[CaseScan]) -> list[Finding]:
    """Return a finding on bands that are declared as transparency, which a band of measurements may be."""
    found = [scan for scan in scans if scan.transparency]
    if not found:
        return []
    count = found[0].transparency
    ids = tuple(scan.case.id for scan in found)
    text = f"{pluralise(len(found), 'image')} of {count} channels, one of them declared as transparency (alpha) and left out: "
    text += listed([str(scan.case.image) for scan in found], 3)
    do = f"If it is a measurement, such as near infrared, type data.channels={count}"
    return [Finding("warning", "transparency", text, do, ids)]


def _left_out(scans: Sequence[CaseScan]) -> list[Finding]:
    """Return a finding on pages of TIFF files that are no pictures."""
    pages = {name: count for scan in scans for name, count in scan.left_out if count}
    if not pages:
        return []
    text = f"Reduced copies (overviews) and transparency masks are left out: {pluralise(sum(pages.values()), 'page')} of "
    text += f"{pluralise(len(pages), 'TIFF file')}, such as {next(iter(pages))}"
    return [Finding("note", "left_out", text, "Nothing is to be done; pages are numbered without them")]


def _depths(scans: Sequence[CaseScan]) -> list[Finding]:
    by_type: dict[str, list[str]] = defaultdict(list)
    for scan in scans:
        by_type[scan.facts.dtype].append(scan.case.id)
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


def _tiny(scans: Sequence[CaseScan]) -> list[Finding]:
    few = tuple(scan.case.id for scan in scans if min(scan.facts.size) < LEAST_SIDE)
    if not few:
        return []
    text = f"{len(few)} images have a side of less than {LEAST_SIDE} pixels: {listed(few, MAX_LISTED)}"
    return [Finding("error", "tiny", text, "Move them and their masks out of the data folder", few)]


def _flat(scans: Sequence[CaseScan], normalize: object) -> list[Finding]:
    """Return findings on uniform and almost black images."""
    spans = np.array([scan.facts.high - scan.facts.low for scan in scans])
    usual = float(np.median(spans)) if len(spans) else 0.0
    blank = [scan for scan, span in zip(scans, spans, strict=True) if span == 0]
    dark = [scan for scan, span in zip(scans, spans, strict=True) if span and (span < 0.01 * usual or _dark(scan))]
    findings = []
    if blank:
        ids = tuple(scan.case.id for scan in blank)
        shown = listed([f"{scan.case.image} (all {scan.facts.low:g})" for scan in blank], MAX_LISTED)
        text = f"{len(ids)} {'images have' if len(ids) > 1 else 'image has'} one value everywhere: {shown}"
        findings.append(Finding("warning", "blank", text, "Move them and their masks out of the data folder", ids))
    if dark and len(dark) <= len(scans) / 2:
        ids = tuple(scan.case.id for scan in dark)
        text = f"{len(ids)} {'images are' if len(ids) > 1 else 'image is'} almost black: {listed(ids, MAX_LISTED)}"
        more = "" if normalize == "percentile" else "; data.normalize=percentile evens out brightness"
        findings.append(Finding("warning", "dark", text, f"Look at them{more}", ids))
    return findings


def _dark(scan: CaseScan) -> bool:
    return scan.facts.dtype == "uint8" and float(np.percentile(scan.picture, 99)) < DARK


def _exchanged(scans: Sequence[CaseScan], data: DataConfig) -> list[Finding]:
    """Return a finding if most images look like masks and most masks like images."""
    rich = [scan for scan in scans if any(len(mask.counts) > MANY and mask.slope >= SOFT_BORDER for mask in scan.masks)]
    few = [scan for scan in scans if scan.few and scan.digest and scan.masks]
    if len(few) <= len(scans) / 2 or len(rich) <= len(scans) / 2:
        return []
    text = f"Images and masks are exchanged: {few[0].case.image} holds a few values and {few[0].case.masks[0]} holds many"
    if not isinstance(data.mask, str):
        return [Finding("error", "exchanged", text, "Exchange the files, or the patterns of data.image and data.mask")]
    do = f"Type {shell_words({'data.image': data.mask, 'data.mask': data.image or ''})}"
    return [Finding("error", "exchanged", text, do, remedy={"image": data.mask, "mask": data.image})]


def _masks_as_images(scans: Sequence[CaseScan]) -> list[Finding]:
    """Return a finding on images that equal a mask, or have few values while most images have many."""
    few = [scan for scan in scans if scan.few and scan.digest]
    known = {scan.raw_digest for scan in scans} - {""}
    masks = [scan for scan in few if scan.digest in known or (len(few) <= len(scans) / 2 and _two_ended(scan))]
    if not masks:
        return []
    ids = tuple(scan.case.id for scan in masks)
    text = f"{len(ids)} {'images look' if len(ids) > 1 else 'image looks'} like a mask: "
    text += listed([scan.case.image for scan in masks], MAX_LISTED)
    do = "Look at it; if so, put the right image in its place, or move the pair out of the data folder"
    return [Finding("warning", "mask_as_image", text, do, ids)]


def _two_ended(scan: CaseScan) -> bool:
    """Return whether an image of few values spans most of the range of its type, as viewable masks do."""
    return scan.facts.dtype == "uint8" and scan.facts.high - scan.facts.low > 100
