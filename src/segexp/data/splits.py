"""Assign cases to train, val and test: as found on disk, or at random, stratified by class. Groups stay together."""

import csv
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segexp.atomic import atomic_write
from segexp.config.overrides import shell_words
from segexp.config.schema import DataConfig
from segexp.errors import ConfigError, DataError, listed, pluralise
from segexp.types import Case, Source

COLUMNS = ("id", "split", "group", "image", "mask")
SPLIT_NAMES = ("train", "val", "test")

Unit = list[str]
"""Ids of cases that stay together."""

_EXACT = 512
"""Maximum number of groups for the exact subset-sum search; more are first taken in shuffled order."""


def assign_splits(
    cases: Sequence[Case],
    *,
    seed: int,
    val_fraction: float | None = None,
    test_fraction: float = 0.0,
    folds: int | None = None,
    fold: int | None = None,
    ungroup: str = "data.groups=null",
    held: Mapping[str, Collection[int]] | None = None,
) -> dict[str, str]:
    """Return "train", "val" or "test" by case id.

    Splits on disk are kept; val (and test, if a fraction is given) is taken from train where missing. With folds, the test
    split is set aside first, the same for each fold, and the other cases are dealt into `folds` parts of similar size; part
    `fold` is val. Fractions refer to the cases dealt out and are met as closely as groups allow, with at least one case each.
    The result does not depend on the order of the cases. `ungroup` is advice for messages: what to type where groups should not
    be kept together.

    With `held`, the classes by case id, what is dealt out is stratified: each class has the same share in each part as far as
    cases allow, a class of at least two cases (or groups) is in train and in val, and one of at least three in test too. Where
    all cases hold the same classes, the split is that without `held`.

    Raises:
        ConfigError: a fraction or fold is out of range, or there are more folds than groups.
        DataError: no training case, or too few groups.
    """
    _check_fractions(val_fraction, test_fraction)
    _check_folds(folds, fold)
    if not cases:
        raise DataError("There are no cases to split", do="Check data.root, data.image and data.mask")
    splits = {case.id: case.split for case in cases if case.split is not None}
    if splits and len(splits) < len(cases):
        unassigned = next(case.id for case in cases if case.split is None)
        raise DataError(
            f"{unassigned} has no split while {next(iter(splits))} has one", "All cases have one, or none", "Check data.image"
        )
    pool = [case for case in cases if splits.get(case.id, "train") == "train" or (folds and splits[case.id] == "val")]
    if not pool:
        raise DataError(
            f"None of the {len(cases)} cases is for training; they are {listed(sorted(set(splits.values())))}",
            "A split called train is needed",
            "Name a folder train, or leave {split} out of data.image so that the cases are split by data.val_fraction",
        )
    units = _shuffled(pool, seed)
    dealt: dict[str, str] = {}
    if test_fraction > 0 and "test" not in splits.values():
        units = _deal(units, test_fraction * len(pool), "test", dealt, 2, ungroup, held)
    if folds is not None and fold is not None:
        dealt |= dict.fromkeys(_folded(units, folds, ungroup, held)[fold], "val")
    elif "val" not in splits.values():
        if val_fraction is None:
            raise ConfigError("There is no val split and data.val_fraction is null", do="Type data.val_fraction=0.2")
        units = _deal(units, val_fraction * len(pool), "val", dealt, 1, ungroup, held)
    in_pool = {case.id for case in pool}
    return {case.id: dealt.get(case.id, "train") if case.id in in_pool else splits[case.id] for case in cases}


def split_from_config(
    data: DataConfig, cases: Sequence[Case], seed: int, held: Mapping[str, Collection[int]] | None = None
) -> dict[str, str]:
    """Assign splits as a data section says, see `assign_splits`; `seed` of the run replaces a missing `split_seed`."""
    return assign_splits(
        cases,
        seed=seed if data.split_seed is None else data.split_seed,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction or 0.0,
        folds=data.folds,
        fold=data.fold,
        ungroup=ungroup_overrides(data),
        held=held,
    )


def split_from_stored(held_out: Mapping[str, Collection[str]], cases: Iterable[Case]) -> dict[str, str]:
    """Return the split of each case by id from the ids of val and test that a run stored; the others are for training."""
    stored = {id_: split for split, ids in held_out.items() for id_ in ids}
    return {case.id: stored.get(case.id, "train") for case in cases}


def open_cases(data: DataConfig, cases: Sequence[Case]) -> list[Case]:
    """Return the cases whose split is drawn at random."""
    there = {case.split for case in cases}
    if data.folds is not None:
        return [case for case in cases if case.split in (None, "train", "val")]
    missing = "val" not in there or bool(data.test_fraction and "test" not in there)
    return [case for case in cases if case.split in (None, "train")] if missing else []


def ungroup_overrides(data: DataConfig) -> str:
    """Return what to type so that groups are split apart: without data.groups, and {id} for a field {group} of the patterns."""
    words = ["data.groups=null"] if data.groups is not None else []
    if data.image and "{group}" in data.image and "{id}" not in data.image and isinstance(data.mask, str):
        image, mask = (text.replace("{group}", "{id}") for text in (data.image, data.mask))
        words.append(shell_words({"data.image": image, "data.mask": mask}))
    return " ".join(words)


def split_table(cases: Iterable[Case], splits: Mapping[str, str], root: Path) -> list[dict[str, str]]:
    """Return one row per case with `COLUMNS`; paths are relative to `root`, multiple masks joined by ";"."""
    return [
        {
            "id": case.id,
            "split": splits[case.id],
            "group": case.group or "",
            "image": _relative(case.image, root),
            "mask": ";".join(_relative(mask, root) for mask in case.masks),
        }
        for case in cases
    ]


def write_split_csv(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write `split.csv` atomically."""
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_split_csv(path: Path) -> list[dict[str, str]]:
    """Read a `split.csv`.

    Raises:
        DataError: the file is missing, has other columns, or an unknown split.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The split {path} cannot be read ({error})", "A split.csv of a run was expected", "Check the path"
        ) from None
    for number, row in enumerate(rows, start=2):
        if not {"id", "split"} <= set(row) or row["split"] not in SPLIT_NAMES:
            raise DataError(
                f"Line {number} of {path} is {dict(row)}",
                f"A split table has the columns {', '.join(COLUMNS)} and the splits {', '.join(SPLIT_NAMES)}",
                "Take the split.csv of a run",
            )
    return rows


def split_hash(rows: Iterable[Mapping[str, str]]) -> str:
    """Return the SHA-256 of ids and splits, independent of order, paths and machine."""
    lines = sorted(f"{row['id']}\t{row['split']}\n" for row in rows)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _relative(source: Source, root: Path) -> str:
    path = source.path.relative_to(root) if source.path.is_relative_to(root) else source.path
    return str(replace(source, path=path)).replace(os.sep, "/")


def _shuffled(cases: Iterable[Case], seed: int) -> list[Unit]:
    """Return the groups in seeded order, ids sorted within each."""
    units: dict[tuple[bool, str], Unit] = defaultdict(list)
    for case in cases:
        units[(True, case.group) if case.group is not None else (False, case.id)].append(case.id)
    ordered = [sorted(units[key]) for key in sorted(units)]
    return [ordered[k] for k in np.random.default_rng(seed).permutation(len(ordered))]


def _deal(
    units: list[Unit],
    target: float,
    split: str,
    dealt: dict[str, str],
    leave: int,
    ungroup: str = "",
    held: Mapping[str, Collection[int]] | None = None,
) -> list[Unit]:
    """Assign about `target` cases to `split`; return the remaining groups, at least `leave`."""
    if len(units) <= leave:
        raise _too_few(units, split, leave + 1, ungroup)
    taken = _nearest_sum([len(unit) for unit in units], target, len(units) - leave)
    if classes := _class_counts(units, held):
        size = sum(len(units[k]) for k in taken)
        room = [size, sum(map(len, units)) - size]
        taken = {k for k, part in enumerate(_stratify(units, classes, room, leave)) if part == 0} or taken
    dealt |= {id_: split for k in taken for id_ in units[k]}
    return [unit for k, unit in enumerate(units) if k not in taken]


def _class_counts(units: Sequence[Unit], held: Mapping[str, Collection[int]] | None) -> list[Counter[int]]:
    """Return how many cases of each unit hold each class; [] where nothing is known, or all cases hold the same classes."""
    if held is None or len({frozenset(held.get(id_, ())) for unit in units for id_ in unit}) < 2:
        return []
    return [Counter(k for id_ in unit for k in held.get(id_, ())) for unit in units]


TRIALS = 32
"""Further orders in which units are dealt where the first leaves a class out that has enough of them."""


def _stratify(units: Sequence[Unit], classes: Sequence[Counter[int]], room: Sequence[int], leave: int = 0) -> list[int]:
    """Deal units into parts with equal shares of each class; return the part of each unit, [] where a part would be empty.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the stratification of multi-label data, ECML PKDD 2011): the
    rarest class first, each unit to the part that lacks most cases of that class.

    Args:
        units: in the order in which they are dealt.
        classes: cases by class, of each unit.
        room: wanted cases of each part.
        leave: 0 for parts of equal rank (folds); else the first of two parts gets at least one unit of each class that more
            units hold, and leaves as many to the second.
    """
    several = Counter(k for each in classes for k in each)  # units by class

    def missing(parts: Sequence[int]) -> tuple[int, int]:
        """Return how many parts are empty, and how many lack a class."""
        met = Counter((part, k) for part, each in zip(parts, classes, strict=True) for k in each)
        empty = len(room) - len(set(parts))
        if not leave:
            return empty, sum(not met[part, k] for k, n in several.items() if n >= len(room) for part in range(len(room)))
        return empty, sum((n > leave and not met[0, k]) + (met[1, k] < min(leave, n)) for k, n in several.items())

    best = _dealt_once(units, classes, room, leave, list(range(len(units))))
    for trial in range(TRIALS if any(missing(best)) else 0):
        order = [int(k) for k in np.random.default_rng(trial).permutation(len(units))]
        other = _dealt_once(units, classes, room, leave, order)
        best = min(best, other, key=missing)
    return best if len(set(best)) == len(room) else []


def _dealt_once(
    units: Sequence[Unit], classes: Sequence[Counter[int]], room: Sequence[int], leave: int, order: Sequence[int]
) -> list[int]:
    """Deal all units once, in an order; see `_stratify`."""
    total, free, parts = sum(room), list(room), [-1] * len(units)
    cases: Counter[int] = sum(classes, Counter())
    several = Counter(k for each in classes for k in each)
    wanted = [{k: n * share / total for k, n in cases.items()} for share in room]
    met = [Counter[int]() for _ in room]  # units by class, of each part

    def put(unit: int, part: int) -> None:
        parts[unit] = part
        free[part] -= len(units[unit])
        met[part].update(dict.fromkeys(classes[unit], 1))
        for k, n in classes[unit].items():
            wanted[part][k] -= n

    def spare(unit: int, *, strict: bool = True) -> bool:
        """Return whether the first part may have a unit; not `strict`: even if no other unit has one of its classes."""
        return all(several[k] - met[0][k] > min(leave, several[k]) for k in classes[unit] if strict or several[k] > 1)

    def choose(unit: int, k: int | None) -> int:
        size = len(units[unit])
        fit = [part for part, left in enumerate(free) if left >= size] or [free.index(max(free))]
        if leave and free[1] > 0 and not spare(unit):
            return 1
        return max(fit, key=lambda part: (0.0 if k is None else wanted[part][k], free[part]))

    waiting = list(order)
    while waiting:
        found = Counter(k for unit in waiting for k in classes[unit])
        k = min(found, key=lambda each: (found[each], each), default=None)
        own = sorted((unit for unit in waiting if k is None or k in classes[unit]), key=lambda unit: -len(units[unit]))
        if leave and k is not None and several[k] > leave and not met[0][k] and free[0] > 0:
            able = [unit for unit in own if spare(unit)] or [unit for unit in own if leave == 1 and spare(unit, strict=False)]
            lacking = {unit: sum(not met[0][each] for each in classes[unit]) for unit in able}
            first = min(able, key=lambda unit: (max(0, len(units[unit]) - free[0]), -lacking[unit]), default=None)
            if first is not None:
                put(first, 0)
                own.remove(first)
        for unit in own:
            put(unit, choose(unit, k))
        waiting = [unit for unit in waiting if parts[unit] < 0]
    return parts


def _too_few(units: list[Unit], split: str, least: int, ungroup: str) -> DataError:
    """Return the error about cases or groups that cannot be split, with what helps in this case."""
    cases = sum(map(len, units))
    if cases == len(units):
        found = "A single case cannot be split" if cases == 1 else f"{cases} cases are too few for a {split} split"
        helps = ["Add images, or cut an image and its mask into several that do not overlap"]
        expected = f"At least {least} cases are needed, one for each split"
    else:
        found = f"{cases} cases in {pluralise(len(units), 'group')} are too few for a {split} split"
        expected = f"Groups stay together, so at least {least} groups (or cases without a group) are needed"
        helps = ["Add cases of another group"]
        if ungroup and cases >= least:
            helps.append(f"type {ungroup} to split the cases of a group, with scores that are too good where they are alike")
    helps += ["type data.test_fraction=0 for no test split"] * (split == "test" and len(units) == 2)
    return DataError(found, expected, ", or ".join(helps))


def _nearest_sum(sizes: list[int], target: float, most: int) -> set[int]:
    """Return 1 to `most` positions whose sizes sum closest to `target`, preferring earlier ones."""
    taken: set[int] = set()
    total, start = 0, 0
    while len(sizes) - start > _EXACT and total + sizes[start] + 8 * max(sizes) <= target and len(taken) < most - _EXACT:
        taken.add(start)
        total, start = total + sizes[start], start + 1
    # Fewest groups per reachable sum: best[s] are positions that add up to s. Sums beyond twice the target are never nearest.
    best: dict[int, tuple[int, ...]] = {0: ()}
    limit = max(2 * (target - total), min(sizes))
    for k in range(start, min(len(sizes), start + _EXACT)):
        for reached, path in list(best.items()):
            new = reached + sizes[k]
            if new <= limit and new not in best and len(path) + len(taken) < most:
                best[new] = (*path, k)
    sums = [s for s in best if s or taken]
    return taken | set(best[min(sums, key=lambda s: (abs(total + s - target), s))])


def _folded(units: list[Unit], folds: int, ungroup: str = "", held: Mapping[str, Collection[int]] | None = None) -> list[Unit]:
    """Deal the groups into folds, largest first, each to the fold with the fewest cases."""
    grouped = any(len(unit) > 1 for unit in units)
    if folds > len(units):
        raise ConfigError(
            f"data.folds={folds}, but there are only {len(units)} {'groups that stay together' if grouped else 'cases'}",
            f"Each fold needs a {'group' if grouped else 'case'} of its own",
            f"Type data.folds={len(units)} or less" if len(units) > 1 else str(_too_few(units, "val", 2, ungroup).do),
        )
    parts: list[Unit] = [[] for _ in range(folds)]
    for unit in sorted(units, key=len, reverse=True):
        min(parts, key=len).extend(unit)
    if classes := _class_counts(units, held):
        chosen = _stratify(units, classes, [len(part) for part in parts])
    if classes and chosen:
        parts = [[id_ for unit, k in zip(units, chosen, strict=True) if k == part for id_ in unit] for part in range(folds)]
    return parts


def _check_fractions(val: float | None, test: float) -> None:
    for key, value, low in (("val_fraction", val, False), ("test_fraction", test, True)):
        good = value is None or (isinstance(value, int | float) and (0 < value < 1 or (low and value == 0)))
        if not good:
            raise ConfigError(
                f"data.{key}={value}",
                f"A fraction {'from 0' if low else 'above 0'} and below 1 was expected",
                f"Type data.{key}=0.2",
            )
    if (val or 0) + test >= 1:
        raise ConfigError(
            f"data.val_fraction={val} and data.test_fraction={test} leave no training case", "Together below 1", "Lower one"
        )


def _check_folds(folds: int | None, fold: int | None) -> None:
    if folds is None and fold is not None:
        raise ConfigError(
            f"data.fold={fold} without data.folds",
            "A fold is one of several",
            f"Type data.folds={max(5, fold + 1)} data.fold={fold}",
        )
    if folds is None:
        return
    if folds < 2:
        raise ConfigError(f"data.folds={folds}", "At least 2 folds", "Type data.folds=5")
    if fold is None or not 0 <= fold < folds:
        raise ConfigError(
            f"data.folds={folds} data.fold={fold}",
            f"A fold from 0 to {folds - 1}",
            f"Type data.fold=0; for all of them as one study -m data.folds={folds} 'data.fold=range({folds})'",
        )
