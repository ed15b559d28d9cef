"""How much of the masks each class takes: masks of one value, classes that never occur, foreground that is rare."""

from collections.abc import Mapping, Sequence

import numpy as np

from segexp.checking.findings import Finding
from segexp.checking.masks import two_grays
from segexp.checking.survey import Look
from segexp.data.labels.overlapping import Labels, OverlappingTable
from segexp.errors import listed

RARE = 0.05
"""Share of the pixels below which random crops meet a class too seldom."""
SHOWN = 6


def check_shares(looks: Sequence[Look], splits: Mapping[str, str], table: Labels, *, crops: bool = False) -> list[Finding]:
    """Return findings on what the masks hold of each class.

    Args:
        looks: what was seen; those whose mask cannot be told, or holds values of no class, are passed over.
        splits: split by case id.
        table: of the classes.
        crops: training takes crops, not whole pictures.
    """
    ends = two_grays(table)
    known = [look for look in looks if look.facts.shares and all(m.soft(ends) or not m.unclaimed for m in look.masks)]
    if not known:
        return []
    shares = np.array([look.facts.shares for look in known])
    ids = [look.case.id for look in known]
    training = np.array([splits.get(id_, "train") == "train" for id_ in ids])
    total = _weighted(known, shares)
    if (total > 0).sum() < 2:
        return [_one_value(known, table, total)]
    if training.any() and (shares[training].sum(axis=0) > 0).sum() < 2:
        return [_one_value([look for look, kept in zip(known, training, strict=True) if kept], table, total, "training ")]
    return [*_absent(shares, training, ids, table), *_empty(shares, ids), *_rare(known, shares, training, table, crops)]


def _weighted(known: Sequence[Look], shares: np.ndarray) -> np.ndarray:
    """Return the share of each class over all pixels."""
    weights = np.array([look.facts.size[0] * look.facts.size[1] for look in known], float)
    return np.asarray((shares * weights[:, None]).sum(axis=0) / max(weights.sum(), 1))


def _one_value(known: Sequence[Look], table: Labels, total: np.ndarray, split: str = "") -> Finding:
    only = table.names[int(total.argmax())] if total.any() else "ignored"
    text = f"Every mask of the {len(known)} {split}images is all one value ({only}), for example {known[0].masks[0].source}"
    do = "Look at the masks, and at which values data.classes gives to which class"
    return Finding("error", "one_value", text, do)


def _absent(shares: np.ndarray, training: np.ndarray, ids: Sequence[str], table: Labels) -> list[Finding]:
    met = shares.sum(axis=0) > 0
    seen = shares[training].sum(axis=0) > 0 if training.any() else met
    names = table.names[1:] if isinstance(table, OverlappingTable) else table.names  # all pixels may have a class
    never = [name for name in names if not met[table.names.index(name)]]
    held = [name for name, here, there in zip(table.names, met, seen, strict=True) if here and not there]
    findings = []
    if never:
        text = f"No mask has a pixel of the class {listed(never)}"
        do = f"Check its value, data.classes.{never[0]}=VALUE, or remove it: '~data.classes.{never[0]}'"
        findings.append(Finding("warning", "absent", text, do))
    if held:
        where = [id_ for id_, row in zip(ids, shares, strict=True) if any(row[table.names.index(name)] for name in held)]
        text = f"The class {listed(held)} occurs in no training mask, but in {listed(where, SHOWN)}: it cannot be learned"
        do = "Move such cases into the training split, or type data.split_seed=1 where the split is random"
        findings.append(Finding("warning", "absent", text, do, tuple(where)))
    return findings


def _empty(shares: np.ndarray, ids: Sequence[str]) -> list[Finding]:
    empty = tuple(id_ for id_, row in zip(ids, shares, strict=True) if not row[1:].any())
    if not empty:
        return []
    text = f"{len(empty)} of {len(ids)} masks are empty (background alone): {listed(empty, SHOWN)}"
    if len(empty) > len(ids) / 2:
        do = "Look whether they should be; data.crop=256 data.foreground_crops=0.33 makes training meet the others more often"
        return [Finding("warning", "empty", text, do, empty)]
    do = "Nothing, if nothing is there to be seen; such cases are left out of Dice and counted as false alarms or not"
    return [Finding("note", "empty", text, do, empty)]


def _rare(known: Sequence[Look], shares: np.ndarray, training: np.ndarray, table: Labels, crops: bool) -> list[Finding]:
    rows = training if training.any() else np.ones(len(known), bool)
    total = _weighted([look for look, kept in zip(known, rows, strict=True) if kept], shares[rows])
    rare = [(name, share) for name, share in list(zip(table.names, total.tolist(), strict=True))[1:] if 0 < share < RARE]
    if not rare:
        return []
    text = f"Few pixels of the training masks are {listed([f'{name} ({share:.2%})' for name, share in rare])}"
    do = "Type data.foreground_crops=0.33, so that a third of the crops lie around such pixels"
    if not crops:
        do = "Nothing while whole pictures are trained on; with data.crop=256 type data.foreground_crops=0.33 too"
    return [Finding("note", "rare", text, do)]
