"""What is wrong with the files of a data set: those without a partner, broken ones, masks of another size."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from segexp.checking.findings import Finding
from segexp.checking.survey import Fault
from segexp.checking.written import pattern_line
from segexp.data.layout.inventory import Inventory
from segexp.errors import DataError, SegexpError, listed, sentence

SHOWN = 10
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
        text = f"{len(lone)} of {count} images {have} no mask: {listed(lone, SHOWN)} (for {lone[0]} it would be "
        findings.append(Finding("error", "unmatched", f"{text}{inventory.expected})", do, lone))
    if lone := inventory.lone_masks:
        text = f"{len(lone)} {'masks have' if len(lone) > 1 else 'mask has'} no image: {listed(lone, SHOWN)}"
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
        problem_finding(DataError("; ".join(found[:SHOWN]) + _more(len(found) - SHOWN), expected, do), "layout")
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
            [fault.problem.found for fault in broken], SHOWN
        )
        out = short(broken[0].case.image.path, root), *(short(mask.path, root) for mask in broken[0].case.masks)
        do = f"Copy them again from where they came, or move each with its partner out of the folder ({' and '.join(out)})"
        findings.append(Finding("error", "unreadable", text, do, _ids(broken)))
    if odd := [fault for fault in faults if fault.kind == "size"]:
        text = f"{len(odd)} {'masks have' if len(odd) > 1 else 'mask has'} another size than the image: " + listed(
            [fault.problem.found for fault in odd], SHOWN
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
