"""The same picture twice: in training and validation, with two different masks, or counted double."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from segexp.checking.findings import Finding
from segexp.checking.likeness import copies
from segexp.checking.survey import Look
from segexp.errors import listed
from segexp.types import Case

_KEEP = "or keep such pairs together by a table: 'data.groups={file: groups.csv, match: \"{id}\", column: group}'"


def check_equal(cases: Sequence[Case], splits: Mapping[str, str], digests: Mapping[str, str]) -> list[Finding]:
    """Return findings on pictures that are equal pixel for pixel.

    Args:
        cases: all cases.
        splits: split by case id.
        digests: hash of the decoded image by case id, see `picture_digest`; cases without one are passed over.
    """
    pairs = [(a, b, "") for a, b in _equal(cases, digests)]
    return _by_split(pairs, splits, "duplicate", "the same picture")


def check_contradictions(cases: Sequence[Case], digests: Mapping[str, str], masks: Mapping[str, str]) -> list[Finding]:
    """Return findings on equal pictures that have different masks.

    Args:
        cases: all cases.
        digests: hash of the decoded image by case id.
        masks: hash of the class indices by case id.
    """
    found = [(a, b) for a, b in _equal(cases, digests) if masks.get(a.id) and masks.get(b.id) and masks[a.id] != masks[b.id]]
    if not found:
        return []
    named = listed([f"{a.id} and {b.id} ({listed(a.masks)} against {listed(b.masks)})" for a, b in found], 4)
    text = f"{_count(len(found))} of cases {_show(found)} the same picture with different masks: {named}"
    do = "Keep the right mask of each pair, and move the other one and its image out of the data folder"
    return [Finding("error", "contradiction", text, do, tuple(dict.fromkeys(c.id for pair in found for c in pair)))]


def check_copies(looks: Sequence[Look], splits: Mapping[str, str]) -> list[Finding]:
    """Return findings on pictures that are copies of each other, but not pixel for pixel."""
    found = copies([look.picture for look in looks], [look.case.group for look in looks], [look.digest for look in looks])
    pairs = [(looks[a].case, looks[b].case, way) for a, b, way in found]
    return _by_split(pairs, splits, "near_duplicate", "almost the same picture")


def _by_split(pairs: Sequence[tuple[Case, Case, str]], splits: Mapping[str, str], kind: str, what: str) -> list[Finding]:
    across = [pair for pair in pairs if splits.get(pair[0].id) != splits.get(pair[1].id)]
    within = [pair for pair in pairs if splits.get(pair[0].id) == splits.get(pair[1].id)]
    findings = []
    if across:
        odd = across[0][1] if splits.get(across[0][0].id) == "train" else across[0][0]
        text = f"{_count(len(across))} of cases in different splits {_show(across)} {what}: {_named(across, splits)}"
        do = f"Scores on such cases tell nothing; move one of each out of the data folder ({odd.image} and its mask)"
        if all(case.split is None for pair in across for case in pair[:2]):
            do += f", {_KEEP}"
        findings.append(Finding("error", kind, text, do, _ids(across)))
    if within:
        text = f"{_count(len(within))} of cases in one split {_show(within)} {what}: {_named(within, splits)}"
        do = f"They count double; move one of each out of the data folder ({within[0][1].image} and its mask)"
        if any(case.split is None for pair in within for case in pair[:2]):
            do += f", {_KEEP}"
        findings.append(Finding("warning", kind, text, do, _ids(within)))
    return findings


def _equal(cases: Sequence[Case], digests: Mapping[str, str]) -> list[tuple[Case, Case]]:
    """Return the first of each set of equal pictures with each of the others."""
    by_digest: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if digests.get(case.id):
            by_digest[digests[case.id]].append(case)
    return [(same[0], other) for same in by_digest.values() for other in same[1:]]


def _named(pairs: Sequence[tuple[Case, Case, str]], splits: Mapping[str, str]) -> str:
    def one(case: Case) -> str:
        split = splits.get(case.id)
        return case.id if case.split is not None or split is None else f"{case.id} ({split})"

    return listed([f"{one(a)} = {one(b)}" + (f", {way}" if way else "") for a, b, way in pairs])


def _ids(pairs: Sequence[tuple[Case, Case, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(case.id for a, b, _ in pairs for case in (a, b)))


def _show(pairs: Sequence[object]) -> str:
    return "shows" if len(pairs) == 1 else "show"


def _count(pairs: int) -> str:
    return f"{pairs} pair{'s' * (pairs != 1)}"
