"""Scoring of an ensemble.

Shapes: M members, N cases, K classes, H W pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segexp.checkpoint.splits import reproduce_split
from segexp.config.overrides import shell_words
from segexp.config.saved_runs import read_saved_config, read_saved_run
from segexp.config.schema import DataConfig
from segexp.data.cache import Store, UncachedStore
from segexp.data.labels.modes import LabelMode, label_mode
from segexp.data.spacing import spacings
from segexp.data.splits import read_split_csv
from segexp.data.statistics import make_reader
from segexp.errors import CheckpointError, ConfigError, listed, pluralise
from segexp.evaluation.case_scores import case_contributions, mean_score, parse_metric, read_case_scores
from segexp.evaluation.grouping import FREE, group_runs, missing_folds, rerun_advice, resampling_groups
from segexp.evaluation.records import Record, record_of_rows, unfinished_reason
from segexp.evaluation.settings_diff import varying_settings
from segexp.evaluation.summary_text import format_interval, format_score
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.predictor import Predictor
from segexp.inference.segmenter import Segmenter
from segexp.metrics.scores import class_scores
from segexp.metrics.significance import Interval, bootstrap_interval
from segexp.types import Array, Case, DataSpec, Sample, Source

Spacing = tuple[float, float]


class MemberPredictions:
    """Cases whose sample holds the predicted log-probabilities (K, H, W) of their members instead of the image."""

    def __init__(self, store: Store, members: Sequence[Sequence[Segmenter]], spacings: Sequence[Spacing | None]) -> None:
        """Assign members to cases.

        Args:
            store: N images at original size.
            members: for each case the members whose predictions are averaged, at least one.
            spacings: pixel size (row, column) of each case, None if unknown.
        """
        self.store, self.members, self.spacings = store, list(range(len(members))), list(spacings)
        self.predictors = {_ids(each): Predictor(each) for each in members}
        self.chosen = [_ids(each) for each in members]
        self.alone: dict[int, list[Array]] = {}

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, position: int) -> Sample:
        picture = self.store[position]
        predictor, truth = self.predictors[self.chosen[position]], torch.from_numpy(np.array(picture.mask))
        alone = self.alone[position] = []

        def count(mask: Array) -> None:
            alone.append(predictor.label_mode.confusion(torch.from_numpy(mask), truth, predictor.spec.num_classes).numpy())

        seen = predictor(picture.image, count)
        return Sample(position, as_logits(seen.probabilities, overlapping=predictor.spec.overlapping), truth)

    def spacing(self, position: int) -> Spacing | None:
        """Return the pixel size (row, column) of a case, None if unknown."""
        return self.spacings[position]

    def by_member(self) -> list[Array]:
        """Return for each case the confusion matrices (M, K, K) of its members, after all cases were predicted.

        Empty unless all cases have the same two or more members.
        """
        if len(set(self.chosen)) != 1 or len(self.chosen[0]) < 2:
            return []
        return [np.stack(self.alone[position]) for position in range(len(self))]


def _ids(members: Sequence[Segmenter]) -> tuple[int, ...]:
    return tuple(map(id, members))


def as_logits(probabilities: torch.Tensor, *, overlapping: bool) -> torch.Tensor:
    """Return logits (K, H, W) that `LabelMode.probabilities_` maps back to these probabilities, up to float32 rounding."""
    if overlapping:
        logits = torch.logit(probabilities, eps=1e-7)
        logits[0] = 0
        return logits
    return probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()


@dataclass
class Ensemble:
    """The scorable model for `MemberPredictions`, whose samples already contain logits.

    Attributes:
        background: the first class is the background.
        postprocessing: replaces that of the members.
        network: identity.
    """

    spec: DataSpec
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    network: nn.Module = field(default_factory=nn.Identity)

    @property
    def label_mode(self) -> LabelMode:
        """The label mode of the members."""
        return label_mode(self.spec)

    def logits(self, image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return a copy of the logits (K, H, W) of a `MemberPredictions` sample."""
        assert tuple(image.shape[1:]) == size, "members predict at the original image size"
        return image.clone()

    def decide(self, logits: torch.Tensor) -> Any:
        """Return the mask (H, W) uint8 of logits (K, H, W), which are modified in place."""
        return self.label_mode.decide(self.label_mode.probabilities_(logits), self.postprocessing)


def predict_members(data: DataConfig, cases: Sequence[Case], members: Sequence[Sequence[Segmenter]]) -> MemberPredictions:
    """Return cases with lazy predictions of their members.

    Args:
        data: the data section of the cases.
        cases: N.
        members: of each case.
    """
    store = UncachedStore(make_reader(data.changed(size=None)), cases)
    return MemberPredictions(store, members, spacings(cases, data.spacing))


BEST = "*/checkpoints/best.ckpt"


def study_checkpoints(folder: Path) -> list[Path]:
    """Return the best checkpoint of each run of a study; empty if there are none.

    Runs that were copied without their settings (`.hydra`) are not checked.

    Raises:
        CheckpointError: a run is unfinished, or a fold is missing.
    """
    files = sorted(folder.glob(BEST))
    jobs = sorted(path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")) if files else []
    problems = {job: problem for job in jobs if (problem := unfinished_reason(job))}
    done = [job for job in jobs if job not in problems]
    some = (
        f"To take some of its runs, name them: {shell_words({'checkpoint': done[:3]})}{' and so on' if len(done) > 3 else ''}"
    )
    known = read_settings(jobs)
    count = known[0].folds if known else None
    if problems:
        raise CheckpointError(
            f"{len(problems)} of the {len(jobs)} runs of {folder} never finished: "
            f"{listed(f'{job.name} ({problem})' for job, problem in problems.items())}",
            "All runs of a study were expected to be finished: together they are one ensemble, and each case was held out once",
            f"{rerun_advice(folder, count)}. {some}",
        )
    for runs in group_runs(known):
        if lacking := missing_folds(runs):
            raise CheckpointError(
                f"The cross-validation in {folder} is not whole: {lacking}",
                f"A run of each of the {count} folds was expected, of the same settings",
                f"{rerun_advice(folder, count)}. {some}",
            )
    return files


def differing_settings(files: Iterable[Path]) -> list[str]:
    """Return the settings, except seed and fold, in which the runs of some checkpoint files differ."""
    known = group_runs(read_settings([file.resolve().parent.parent for file in files]))
    return list(varying_settings([runs[0] for runs in known], FREE)) if len(known) > 1 else []


def read_settings(runs: Sequence[Path]) -> list[Record]:
    """Return records that hold only the settings of runs, finished or not; runs without saved settings are left out."""
    return [Record(run, {}, {}, [], config=config) for run in runs if (config := read_saved_config(run))]


@dataclass(frozen=True)
class MemberAssignment:
    """Cases of one split and the members that predict each of them."""

    cases: list[Case]
    members: list[list[Segmenter]]

    @property
    def says(self) -> str:
        """Description of the members that predict a case."""
        count = len({id(member) for each in self.members for member in each})
        few, many = (f(len(each) for each in self.members) for f in (min, max))
        if few == count:
            return f"all {count} networks"
        number = str(few) if few == many else f"{few} to {many}"
        return f"the {number} of {count} networks that held it out"


def assign_members(
    members: Sequence[Segmenter], cases: Sequence[Case], data: DataConfig, split: str | None
) -> dict[str, MemberAssignment]:
    """Return the cases to score by split name, each with members that were not trained on it.

    Args:
        members: at least two.
        cases: all cases.
        data: the data section of the cases.
        split: as typed; None for all cases of other data, or val and test of the members' own data.

    Raises:
        ConfigError: a split other than "all" for other data; members were trained on some images; or see `held_out_cases`.
        DataError: see `held_out_cases`.
    """
    if is_own_data(members, data):
        return held_out_cases(members, cases, data, split)
    if split not in (None, "all"):
        raise ConfigError(
            f"split={split} of other data is not known to an ensemble", "Each member has a split of its own", "Type split=all"
        )
    known = set().union(*map(training_images, members))
    seen = [case.id for case in cases if _file(case.image) in known]
    if seen:
        raise ConfigError(
            f"{len(seen)} of the {len(cases)} cases below {data.root} are pictures that members of the ensemble were "
            f"trained on: {listed(seen, 3)}",
            "Such scores would be too good: an ensemble is scored on what none of its members saw",
            "Type split=val without other data (each case by the members that held it out), or data.root=DIR of other pictures",
        )
    return {"all": MemberAssignment(list(cases), [list(members)] * len(cases))}


def training_images(member: Segmenter) -> set[str]:
    """Return the image files that a member was trained on; empty without its split.csv."""
    run = member.origin.run
    rows = read_split_csv(run / "split.csv") if (run / "split.csv").is_file() else []
    root = Path(kept.cwd if (kept := read_saved_run(run)) else "", member.origin.config.data.root)
    return {str((root / row["image"]).resolve()) for row in rows if row["split"] == "train"}


def _file(source: Source) -> str:
    return str(replace(source, path=source.path.resolve()))


def held_out_cases(
    members: Sequence[Segmenter], cases: Sequence[Case], data: DataConfig, split: str | None
) -> dict[str, MemberAssignment]:
    """Return the cases of the members' own data that can be scored, each with the members not trained on it.

    "val" holds the cases that at least one member validated on (with folds, every case); "test" those that are test cases of
    all members.

    Args:
        members: at least two.
        cases: all cases of the data.
        data: the data section of the cases, for messages.
        split: as typed; None for val and, if any, test.

    Raises:
        ConfigError: the split contains training cases, or no case was held out.
        DataError: the data changed since a run.
    """
    if split in ("train", "all"):
        raise ConfigError(
            f"split={split} asks for cases that members of the ensemble were trained on",
            f"Such scores would be too good: of its own data below {data.root} an ensemble is scored on what it never saw",
            "Type split=val (each case by the members that held it out), split=test, or data.root=DIR for other data",
        )
    way_out = "Bring the files back, or type data.root=DIR for other data"
    splits = []
    for member in members:
        origin = member.origin
        run = origin.config.updated({"data.root": data.root})
        splits.append(reproduce_split(cases, run, origin, way_out))
    found = {}
    for name in [split] if split else ["val", "test"]:
        wanted = any if name == "val" else all
        own = [case for case in cases if wanted(each[case.id] == name for each in splits)]
        by = [[m for m, each in zip(members, splits, strict=True) if each[case.id] == name] for case in own]
        if own:
            found[name] = MemberAssignment(own, by)
    if not found:
        there = listed(sorted({each for one in splits for each in one.values()}))
        raise ConfigError(
            f"split={split}: there is no case that is one of all {len(members)} members",
            f"Their splits are {there}; a test split that no fold trains on comes from data.test_fraction in training",
            "Type split=val (each case by the members that held it out), or data.root=DIR for other data",
        )
    return found


def is_own_data(members: Sequence[Segmenter], data: DataConfig) -> bool:
    """Return whether a data section has the same images as a member: the same pattern in the same folder."""
    sections = [member.origin.config.data for member in members]
    here = (Path(data.root).resolve(), data.image)
    return here in [(Path(section.root).resolve(), section.image) for section in sections]


@dataclass(frozen=True)
class MemberScores:
    """Scores of the members of an ensemble on one split.

    Attributes:
        dice: mean over cases, of each of the M members.
        gain: Dice of the ensemble minus the mean Dice of the members, paired by case.
    """

    dice: tuple[float, ...]
    gain: Interval

    @property
    def facts(self) -> dict[str, object]:
        """Entries for metrics.json."""
        ends = {"interval": [self.gain.low, self.gain.high]} if np.isfinite(self.gain.low) else {}
        return {
            "dice": [each if np.isfinite(each) else None for each in self.dice],
            "cases": self.gain.cases,
            **({"gain": self.gain.mean, **ends} if self.gain.cases else {}),
        }

    def __str__(self) -> str:
        known = [each for each in self.dice if np.isfinite(each)] or [np.nan]
        low, high, usual = min(known), max(known), float(np.mean(known))
        alone = f"the {len(self.dice)} networks alone have Dice {format_score(low)} to {format_score(high)}, "
        alone += f"{format_score(usual)} on average"
        over = f"95 % interval {format_interval(self.gain, signed=True)}, {pluralise(self.gain.cases, 'case')}"
        if not self.gain.excludes():
            return f"{alone}; the ensemble's {format_score(self.gain.mean, signed=True)} ({over}) shows no difference"
        better = "better" if self.gain.mean > 0 else "worse"
        return f"{alone}; the ensemble is {better} than that: {format_score(self.gain.mean, signed=True)} ({over})"


def score_members(
    split: str, rows: Sequence[Mapping[str, object]], alone: Sequence[Array], background: bool = True
) -> MemberScores | None:
    """Return the scores of the individual members; None if unknown.

    Args:
        split: that was scored.
        rows: of `cases.csv` of the ensemble, for that split.
        alone: for each of the N cases the confusion matrices (M, K, K) of the same members; may be empty.
        background: the first class is the background.
    """
    if not alone:
        return None
    record = record_of_rows(rows, background)
    together = read_case_scores(record, split, parse_metric("dice", [record]))
    each = np.stack([class_scores(matrices).dice[:, int(background) :] for matrices in alone], axis=1)  # (M, N, F)
    gain = bootstrap_interval(case_contributions(together.values - each.mean(axis=0)), resampling_groups(together.groups))
    return MemberScores(tuple(mean_score(values) for values in each), gain)
