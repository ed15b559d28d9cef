"""Examine a data set: everything that is wrong with it, and what it is like, from one pass over its pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segexp.checking.alignment import check_alignment
from segexp.checking.duplicates import check_contradictions, check_copies, check_equal
from segexp.checking.files import check_faults, check_inventory, check_splits, problem_finding
from segexp.checking.findings import Examination, Finding, ordered
from segexp.checking.images import check_images
from segexp.checking.leakage import check_groups, check_names, check_series
from segexp.checking.settle import settle
from segexp.checking.shares import check_shares
from segexp.checking.survey import Look, Track, surveyed
from segexp.checking.values import check_values
from segexp.data.labels.overlapping import Labels, OverlappingTable, label_table
from segexp.data.splits import split_as
from segexp.errors import DataError, SegexpError


def examine(
    data: dict[str, Any], *, seed: int = 0, track: Track = lambda seen, _: seen, threads: int = 4, alignment: bool = True
) -> Examination:
    """Find out what a data set is like and everything that is wrong with it, stopping at nothing.

    Args:
        data: the data section of a config, plain values as in `conf/data/_base.yaml`; `image` None: recognise the layout.
        seed: of the split, as in training, and of the model that looks for masks which do not lie on their image.
        track: wraps the pass over all pictures (iterator, count), for a progress bar.
        threads: that decode.
        alignment: look for exchanged, inverted and shifted masks; this takes most of the time.

    Raises:
        ConfigError: a key of `data` is wrong: a pattern, a class table, the groups.
    """
    try:
        settled = settle(data)
    except DataError as problem:
        return Examination(data, f"Nothing was found in {data['root']}", findings=[problem_finding(problem, "layout")])
    data, inventory, root = settled.data, settled.inventory, Path(settled.data["root"])
    table = label_table(data) if data["classes"] else None
    cases = list(inventory.cases)
    found = Examination(data, settled.layout, cases, findings=settled.findings)
    found.findings += check_inventory(inventory, data["image"], data["mask"])
    found.findings += _split(found, seed)
    looks, faults = surveyed(cases, table, track=track, threads=threads)
    found.facts = {look.case.id: look.facts for look in looks}
    found.findings += check_faults(faults, root)
    found.findings += _leaks(looks, found, root)
    odd = check_images(looks, data)
    found.findings += odd
    if any(finding.kind == "exchanged" for finding in odd):
        table = None  # nothing that could be said of the masks would mean anything
    if table:
        found.findings += _values(looks, table, recognised=settled.recognised)
        found.findings += check_shares(looks, found.splits, table, crops=data["crop"] is not None)
    if table and alignment:
        found.findings += check_alignment(looks, seed=seed, threads=threads)
    found.findings = ordered(found.findings)
    return found


def _values(looks: Sequence[Look], table: Labels, *, recognised: bool) -> list[Finding]:
    """Return findings on the values of the masks; of labels that overlap, of the files of each class by themselves."""
    if not isinstance(table, OverlappingTable):
        return check_values(looks, table, recognised=recognised)
    findings = []
    for name in table.names[1:]:
        own = [look.of_class(name) for look in looks]
        findings += check_values([look for look in own if look.masks], table.of(name))
    return findings


def _split(found: Examination, seed: int) -> list[Finding]:
    """Assign the splits as training would."""
    if not found.cases:
        return []
    data: dict[str, Any] = found.data
    try:
        found.splits = split_as(data, found.cases, seed)
    except SegexpError as problem:
        return [problem_finding(problem, "split")]
    return check_splits(found.splits.values())


def _leaks(looks: Sequence[Look], found: Examination, root: Path) -> list[Finding]:
    """Return what is on both sides of the split, or twice on one."""
    digests = {look.case.id: look.digest for look in looks}
    masks = {look.case.id: look.mask_digest for look in looks}
    return [
        *check_groups(found.cases, found.splits),
        *check_names(found.cases, found.splits, root),
        *check_series(looks, found.splits, root),
        *check_equal(found.cases, found.splits, digests),
        *check_contradictions(found.cases, digests, masks),
        *check_copies(looks, found.splits),
    ]
