"""Tune the post-processing on a validation split and estimate its unbiased gain.

Each case passes the network once, and all candidates are scored on its probabilities. The best candidate has the highest Dice
(see `metrics.scores`) among those without more false alarms (pixels of classes that a case does not have) than no
post-processing; ties are resolved in favour of the simplest.

Measuring the gain of that candidate on the same cases would be biased. Therefore the choice is repeated on random halves of the
cases (of the groups, if there are three or more), and each case is evaluated with choices made without it. Leaving out one
case at a time is not enough: on pure noise it would keep a candidate for one data set in six, halves for one in twenty.

Shapes: N cases, M candidates (the first one is none), K classes.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segexp.atomic import atomic_write
from segexp.checkpoint import store_postprocessing
from segexp.checkpoint.splits import reproduce_split
from segexp.config.schema import TrainConfig
from segexp.data.dataset import EvalDataset
from segexp.data.layout.pairing import find_data_cases
from segexp.errors import ConfigError
from segexp.inference.postprocessing import Postprocessing, components, decide, drop_components, fill_holes
from segexp.inference.segmenter import Segmenter, require_finite
from segexp.metrics.scores import scores_of_counts
from segexp.metrics.significance import Interval, bootstrap_interval
from segexp.types import IGNORE, Case, DataSpec

THRESHOLDS = tuple(n / 20 for n in range(4, 17) if n != 10)
"""0.2 to 0.8 without 0.5, which is the default for two classes."""

SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Candidates for `min_area`, as shares of `typical_area`."""


def candidates_for(classes: int, area: int, background: bool = True) -> tuple[Postprocessing, ...]:
    """Return the M candidates, the simplest first.

    Args:
        classes: K; thresholds are only used for two classes.
        area: see `typical_area`.
        background: whether there is one; else only thresholds are candidates.
    """
    thresholds = (None, *THRESHOLDS) if classes == 2 else (None,)
    areas = sorted({round(share * area) for share in SHARES if share * area >= 2})
    stays = [(0, False), (0, True), *((size, False) for size in areas)]
    every = [Postprocessing(t, size, largest, fill) for t in thresholds for size, largest in stays for fill in (False, True)]
    return tuple(sorted((each for each in every if background or not each.needs_background), key=_complexity))


def _complexity(candidate: Postprocessing) -> tuple[float, ...]:
    """Return a sort key: number of steps, then their strength."""
    threshold = candidate.threshold
    steps = (threshold is not None) + (candidate.min_area > 0) + candidate.largest_component + candidate.fill_holes
    return steps, 0.0 if threshold is None else round(abs(threshold - 0.5), 6), candidate.min_area, candidate.fill_holes


def typical_area(truths: Iterable[np.ndarray]) -> int:
    """Return the size of the component that contains the median foreground pixel, 0 without foreground.

    Half of the foreground lies in components of at least this size; small specks hardly affect it.

    Args:
        truths: class maps (H, W) uint8, 255 = ignore.
    """
    known = (np.where(truth == IGNORE, 0, truth) for truth in truths)
    areas = np.sort([area for truth in known for each in components(truth) for area in each.areas[1:].tolist()])
    return int(areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2)]) if len(areas) else 0


EQUAL = 5e-5
"""Tolerance below which mean Dice values are equal (four decimals)."""


CHOICES = 100
"""Number of random halves."""


@dataclass(frozen=True)
class TuningResult:
    """The tuned post-processing.

    Attributes:
        chosen: the best candidate on all cases.
        gain: gain in Dice over no post-processing on cases not used for the choice; mean over cases.
        over: "cases" or "groups": the units that were halved.
        groups: number of groups; None without groups.
        candidates: all M.
        dice: (M,) on all cases.
        false_alarms: (M,) pixels of classes that the case does not have, summed over cases.
    """

    chosen: Postprocessing
    gain: Interval
    over: str
    groups: int | None
    candidates: tuple[Postprocessing, ...]
    dice: np.ndarray
    false_alarms: np.ndarray

    @property
    def kept(self) -> bool:
        """Whether the gain is positive with an interval that excludes 0."""
        return not self.chosen.is_identity and self.gain.mean > 0 and self.gain.excludes(0)

    def record(self, split_hash: object) -> dict[str, Any]:
        """Return the entry for the checkpoint as plain values."""
        gain = {"gain": self.gain.mean, "low": self.gain.low, "high": self.gain.high}
        counts = {"cases": self.gain.cases, "groups": self.groups, "over": self.over}
        return {"parameters": self.chosen.as_dict(), **gain, **counts, "split_hash": split_hash}


def case_scores(counts: np.ndarray, first: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (N, M) whose mean over cases is the Dice, and false alarms (N, M) in pixels.

    With two classes the score of a case is its Dice. With more it is the mean over classes, weighted by the inverse number of
    cases that have the class. It is NaN if the mask has no foreground.

    Args:
        counts: tp, fp, fn of each case, candidate and class, (3, N, M, K).
        first: index of the first class that counts.
    """
    tp, fp, fn = counts[..., first:]
    dice = scores_of_counts(tp, fp, fn).dice
    there = ~np.isnan(dice)
    some = there.any(axis=-1)
    having = there.sum(axis=0)  # cases by candidate and class; the same for all candidates
    weight = some.sum(axis=0)[:, None] / (np.maximum(having, 1) * np.maximum((having > 0).sum(axis=-1, keepdims=True), 1))
    score = np.where(some, (np.nan_to_num(dice) * weight).sum(axis=-1), np.nan)
    return score, np.where(there, 0, fp).sum(axis=-1)


def choose_candidate(
    candidates: tuple[Postprocessing, ...], dice: np.ndarray, false_alarms: np.ndarray, groups: Sequence[str | None]
) -> TuningResult:
    """Choose a candidate by Dice and false alarms, and measure its gain on cases not used for the choice.

    Args:
        candidates: M.
        dice: (N, M), see `case_scores`.
        false_alarms: (N, M).
        groups: N; groups are halved if there are at least three, else cases.
    """
    names = [(True, group) if group is not None else (False, str(n)) for n, group in enumerate(groups)]
    distinct = list(dict.fromkeys(names))
    grouped = any(group is not None for group in groups)
    by_group = grouped and len(distinct) >= 3
    unit = np.array([distinct.index(name) for name in names]) if by_group else np.arange(len(names))
    parts = [_per_unit(unit, each) for each in (np.nan_to_num(dice), false_alarms, ~np.isnan(dice))]
    sums, _, number = everything = [part.sum(axis=0) for part in parts]
    seeing = _halves(len(parts[0]))
    of_half = _best(*(seeing @ part for part in parts))
    share = np.zeros((len(parts[0]), len(candidates)))  # share of the choices made without the unit, by candidate
    np.add.at(share.T, of_half, ~seeing)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1)
    gain = bootstrap_interval(((dice - dice[:, :1]) * share[unit]).sum(axis=1), groups if by_group else None)
    mean = np.divide(sums, number, out=np.full(len(candidates), np.nan), where=number > 0)
    count = len(distinct) if grouped else None
    best = candidates[int(_best(*everything))]
    return TuningResult(best, gain, "groups" if by_group else "cases", count, candidates, mean, false_alarms.sum(axis=0))


def _halves(units: int) -> np.ndarray:
    """Return the units used for each choice, (CHOICES, U) bool: random halves, each followed by its complement."""
    rng = np.random.default_rng(0)
    seeing = np.zeros((CHOICES, units), bool)
    for n in range(0, CHOICES, 2):
        seeing[n, rng.permutation(units)[: units // 2]] = True
        seeing[n + 1] = ~seeing[n]
    return seeing


def _per_unit(unit: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the sums (U, M) of values (N, M) over the cases of each unit."""
    total = np.zeros((int(unit.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(total, unit, values)
    return total


def _best(sums: np.ndarray, alarms: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return the index of the best candidate from summed Dice, false alarms and numbers of summands, (..., M) each."""
    means = np.where(alarms <= alarms[..., :1], sums / np.maximum(number, 1), -1.0)
    best: np.ndarray = (means >= means.max(axis=-1, keepdims=True) - EQUAL).argmax(axis=-1)
    return best


def tune_postprocessing(
    segmenter: Segmenter, cases: EvalDataset, groups: Sequence[str | None], done: Callable[[int], None] = lambda _: None
) -> TuningResult:
    """Tune the post-processing of a segmenter, ignoring its current one.

    Args:
        segmenter: the model.
        cases: N cases with masks.
        groups: of each case; None for no group.
        done: called with the position of each finished case.
    """
    k, labelling = segmenter.spec.num_classes, segmenter.label_mode
    area = typical_area(part for n in cases.members for _, part in labelling.decisions(cases.store[n].mask, k))
    candidates = candidates_for(2 if segmenter.spec.overlapping else k, area, segmenter.spec.background)
    counts = np.zeros((3, len(cases), len(candidates), k), np.int64)
    segmenter.network.eval()
    for position in range(len(cases)):
        sample = cases[position]
        truth = sample.mask.numpy()
        logits = segmenter.logits(sample.image, (truth.shape[0], truth.shape[1]))
        probabilities = require_finite(labelling.probabilities_(logits), f"image {position + 1}")
        for own, there in labelling.decisions(truth, k):
            chances = labelling.decision_probabilities(probabilities, own)
            for threshold in dict.fromkeys(each.threshold for each in candidates):
                places = [m for m, each in enumerate(candidates) if each.threshold == threshold]
                counted = _counted(decide(chances, threshold), [candidates[m] for m in places], there, len(own))
                for m, found in zip(places, counted, strict=True):
                    counts[:, position, m][:, own] += found
        done(position)
    return choose_candidate(candidates, *case_scores(counts, segmenter.spec.first), groups)


def _counted(classes: np.ndarray, variants: Sequence[Postprocessing], truth: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yield tp, fp, fn (3, K) of variants of one class map, computing components and equal results once."""
    found = list(components(classes))
    valid = truth != IGNORE
    there = np.bincount(truth[valid], minlength=count)
    known: dict[tuple[bytes, bool], np.ndarray] = {}
    for each in variants:
        dropped = b"".join(part.dropped(each.min_area, each.largest_component).tobytes() for part in found)
        key = (dropped, each.fill_holes)
        if key not in known:
            final = drop_components(classes, found, each.min_area, each.largest_component)
            final = fill_holes(final) if each.fill_holes else final
            tp = np.bincount(truth[final == truth], minlength=count)
            known[key] = np.stack([tp, np.bincount(final[valid], minlength=count) - tp, there - tp])
        yield known[key]


def check_background(spec: DataSpec) -> None:
    """Require a background, or two classes, for which there is a threshold.

    Raises:
        ConfigError: there is nothing to tune.
    """
    if not spec.background and spec.num_classes > 2:
        raise ConfigError(
            f"tune=postprocess with {spec.num_classes} classes, none of which is the background (data.background=null)",
            "The steps drop small components into the background, and fill holes of it",
            "Leave tune out",
        )


def check_tunable(split: str | None, keys: Iterable[str], prune_to: int | None) -> None:
    """Require the run's own network and validation images as in training.

    Args:
        split: as typed.
        keys: typed keys of the data section.
        prune_to: decoder level to prune to.

    Raises:
        ConfigError: another split, a data key other than root, or a pruned network.
    """
    if prune_to is not None:
        raise ConfigError(
            f"model.prune_to={prune_to} with tune=postprocess",
            "The post-processing is stored in the checkpoint, and chosen for its whole network",
            "Leave one of them out",
        )
    if split not in (None, "val"):
        raise ConfigError(
            f"split={split} with tune=postprocess",
            "The post-processing is chosen on the validation images: the network was fitted to the training images, and "
            "a choice on the test images would invalidate them",
            "Leave split out",
        )
    for key in sorted(set(keys) - {"root"}):
        raise ConfigError(
            f"data.{key} with tune=postprocess",
            "The post-processing is chosen on the validation images of the run itself, read as in training",
            f"Leave data.{key} out; data.root=DIR says where the images are now",
        )


def validation_cases(segmenter: Segmenter, run: TrainConfig) -> list[Case]:
    """Return the validation cases of the run that a segmenter was loaded from.

    Args:
        segmenter: loaded from a checkpoint.
        run: the configuration of the run; `data.root` is the current location of the data.

    Raises:
        DataError: the data differ from those of the run.
    """
    cases = find_data_cases(run.data)
    way_out = "Bring the files back, or type data.root=DIR, where they are now; it is the run's own images or none"
    assigned = reproduce_split(cases, run, segmenter.origin, way_out)
    return [case for case in cases if assigned[case.id] == "val"]


def store_tuning(segmenter: Segmenter, tuned: TuningResult) -> str:
    """Store the choice in the segmenter's checkpoint if it is kept, else remove an earlier one; return a message."""
    file, before = segmenter.origin.file, segmenter.origin.tuned
    if tuned.kept:
        store_postprocessing(file, tuned.record(segmenter.origin.split_hash))
        return f"Stored in {file}: evaluate and predict use it from now on, and postprocess=none leaves it out"
    if before:
        store_postprocessing(file, None)
        return f"What {file} held before ({segmenter.postprocessing}) is taken out of it"
    return f"{file} is as it was"


def tuning_lines(tuned: TuningResult) -> list[str]:
    """Return the table of the best candidates, the gain and the verdict as lines of text."""
    alarms = bool(tuned.false_alarms.any())
    rows = [("post-processing", "Dice", "false alarms" * alarms)]
    rows += [(str(tuned.candidates[m]), f"{tuned.dice[m]:.4f}", f"{tuned.false_alarms[m]}" * alarms) for m in _shown(tuned)]
    width, wide = max(len(name) for name, _, _ in rows), max(len(number) for _, _, number in rows)
    table = [f"{name.ljust(width)}  {dice.rjust(6)}  {number.rjust(wide)}".rstrip() for name, dice, number in rows]
    return [*table, f"Chosen of {len(tuned.candidates)}: {tuned.chosen}", _gain(tuned), *_groups(tuned), _verdict(tuned)]


def _shown(tuned: TuningResult) -> list[int]:
    """Return the indices of none, the best candidate with each single step, and the chosen one."""
    kinds: dict[tuple[bool, ...], int] = {}
    for m, each in enumerate(tuned.candidates):
        kind = _steps(each)
        if sum(kind) <= 1 and (kind not in kinds or tuned.dice[m] > tuned.dice[kinds[kind]]):
            kinds[kind] = m
    return list(dict.fromkeys([*(kinds[kind] for kind in sorted(kinds)), tuned.candidates.index(tuned.chosen)]))


def _steps(each: Postprocessing) -> tuple[bool, ...]:
    return each.threshold is not None, each.min_area > 0, each.largest_component, each.fill_holes


def _gain(tuned: TuningResult) -> str:
    gain = tuned.gain
    if gain.low != gain.low:
        return f"Gain in Dice: {gain.mean:+.4f}; {gain.cases} case(s) with foreground give no interval"
    of = f"{gain.cases} cases" + (f" in {tuned.groups} groups" if tuned.over == "groups" else "")
    return (
        f"Gain in Dice on cases that had no part in the choice: {gain.mean:+.5f}, 95 % interval {gain.low:+.5f} to "
        f"{gain.high:+.5f} ({of}; chosen on one half of the {tuned.over} and scored on the other, {CHOICES} times)"
    )


def _groups(tuned: TuningResult) -> list[str]:
    if tuned.over == "groups" or tuned.groups is None:
        return []
    few = f"{tuned.groups} group{'s' * (tuned.groups != 1)}"
    return [
        f"The cases are of only {few}, too few to be halved: the interval is for further cases of the same "
        f"group{'s' * (tuned.groups != 1)} and says little about others"
    ]


def _verdict(tuned: TuningResult) -> str:
    gain = tuned.gain
    if tuned.kept:
        return "Kept: the interval excludes 0"
    if tuned.chosen.is_identity:
        return "Not kept: no candidate is better than no post-processing"
    if gain.low != gain.low:
        return "Not kept: without an interval the gain may be chance"
    if gain.mean <= 0:
        return "Not kept: on cases that had no part in the choice it gains nothing"
    return "Not kept: the interval includes 0, so the gain may be chance"


def write_table(path: Path, tuned: TuningResult) -> None:
    """Write one line per candidate with parameters, Dice and false alarms, the simplest first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [*Postprocessing().as_dict(), "dice", "false_alarms"]
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for each, dice, alarms in zip(tuned.candidates, tuned.dice.tolist(), tuned.false_alarms.tolist(), strict=True):
            writer.writerow({**each.as_dict(), "dice": dice, "false_alarms": alarms})
