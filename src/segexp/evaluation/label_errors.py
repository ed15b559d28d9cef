"""Rank the masks of a data set by their disagreement with predictions of runs that held the cases out.

Shapes: N cases, K classes, H W pixels.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segexp.atomic import atomic_write
from segexp.checkpoint.splits import check_spec
from segexp.checks.issues import Examination
from segexp.config.overrides import shell_words
from segexp.config.schema import DataConfig
from segexp.data.labels.modes import LabelMode
from segexp.data.labels.multilabel import label_table
from segexp.data.splits import read_split_csv
from segexp.data.statistics import Reader
from segexp.errors import DataError, listed, pluralise
from segexp.evaluation.summary_text import format_score
from segexp.inference.predictor import Predictor
from segexp.inference.segmenter import Segmenter
from segexp.types import IGNORE, Array, Case, DataSpec

SLACK = 1e-3
"""Smoothing as a share of the pixels, so that a few uncertain pixels do not lower the quality of a mask without the class."""


@dataclass(frozen=True)
class LabelQuality:
    """Label quality of one case.

    Attributes:
        case: the case.
        quality: mean of `class_qualities` over the classes in the mask or prediction (all classes if there are none); NaN if
            the whole mask is ignored.
        dice: of mask and prediction, mean over the classes in either; 1 if there are none.
        only_given: pixels with a class in the mask and background in the prediction; 0 where no class is the background.
        only_predicted: pixels with background in the mask and a class in the prediction.
    """

    case: Case
    quality: float
    dice: float
    only_given: int
    only_predicted: int


def compare_mask(case: Case, mask: Array, probabilities: torch.Tensor, prediction: Array, labelling: LabelMode) -> LabelQuality:
    """Compare a mask with an out-of-fold prediction.

    Args:
        case: the case.
        mask: (H, W) uint8, 255 = ignore.
        probabilities: (K, H, W) float32 of a network that was not trained on the case.
        prediction: (H, W) uint8, the mask decided from the probabilities.
        labelling: label mode of the masks.
    """
    counts = labelling.confusion(torch.from_numpy(prediction), torch.from_numpy(mask), len(probabilities)).numpy()
    first = labelling.first
    hits, sizes = counts.diagonal()[first:], (counts.sum(axis=0) + counts.sum(axis=1))[first:]
    dice = float((2 * hits[sizes > 0] / sizes[sizes > 0]).mean()) if sizes.any() else 1.0
    each = class_qualities(probabilities, mask, prediction, labelling)
    quality = float(each[sizes > 0].mean() if sizes.any() else each.mean())
    return LabelQuality(case, quality, dice, int(counts[first:, :first].sum()), int(counts[:first, first:].sum()))


def class_qualities(probabilities: torch.Tensor, mask: Array, prediction: Array, labelling: LabelMode) -> Array:
    """Return the agreement (0 to 1) of mask and probabilities for each class that counts.

    The soft Dice of mask and probabilities (Milletari et al., "V-Net", 2016, arXiv:1606.04797, with p instead of its square)
    divided by that of the network's own mask. Uncertain pixels count little, and a generally uncertain network does not make
    every mask suspicious, similar to the per-class thresholds of confident learning (Northcutt et al., 2021,
    arXiv:1911.00068). The soft minimum over pixels of Lad and Mueller (2023, arXiv:2307.05080) was tested as well: it ranks
    eroded masks of small objects too low among border errors of large ones.

    Args:
        probabilities: (K, H, W) float32.
        mask: (H, W) uint8, 255 = ignore; the result is NaN if all of it is ignored.
        prediction: (H, W) uint8, the mask decided from the probabilities.
        labelling: label mode of the masks.
    """
    found = []
    asked = zip(labelling.decisions(mask, len(probabilities)), labelling.decisions(prediction, len(probabilities)), strict=True)
    for (own, answer), (_, guess) in asked:
        chances, known = labelling.decision_probabilities(probabilities, own).numpy(), answer != IGNORE
        for k in range(labelling.first, len(own)):
            chance = chances[k][known].astype(np.float64)
            best = _soft_dice((guess == k)[known], chance)
            found.append(min(1.0, _soft_dice((answer == k)[known], chance) / best) if best else np.nan)
    return np.array(found)


def _soft_dice(inside: Array, chance: Array) -> float:
    slack = SLACK * chance.size
    total = chance.sum() + np.count_nonzero(inside) + slack
    return float((2 * chance[inside].sum() + slack) / total) if total else 0.0


def sort_by_quality(found: Iterable[LabelQuality]) -> list[LabelQuality]:
    """Sort cases by label quality, lowest first; cases without known pixels last."""
    return sorted(found, key=lambda each: (np.isnan(each.quality), each.quality, each.dice, each.case.id))


FILE = "label_errors.csv"
NAMED = 10
"""Number of masks listed on the terminal."""

CLASSES = "Type them as in training: data=NAME, or 'data.classes={background: 0, CLASS: VALUE}'"
Track = Callable[[Iterable[Any], int], Iterator[Any]]


@dataclass(frozen=True, eq=False)
class MaskRanking:
    """A ranking of masks.

    Attributes:
        ranking: N, lowest label quality first.
        notes: explanations for the reader.
        spec: classes and colours.
        runs: names of the runs that predicted each case, by its id.
        look: reads and predicts one case again: image (H, W, C), given mask and predicted mask (H, W).
    """

    ranking: list[LabelQuality]
    notes: list[str]
    spec: DataSpec
    runs: Mapping[str, list[str]]
    look: Callable[[LabelQuality], tuple[Array, Array, Array]]


def rank_masks(
    examination: Examination,
    members: Sequence[Segmenter],
    track: Track = lambda items, _: iter(items),
) -> MaskRanking:
    """Rank the cases of an examined data set by the disagreement of their masks with held-out predictions.

    Args:
        examination: of the data, with the current masks.
        members: networks, each loaded from its run directory.
        track: wraps the iteration over the cases (items, count), for a progress bar.

    Raises:
        ConfigError: the runs have other classes than the data.
        DataError: the held-out cases are not part of the data, or none of them can be read.
    """
    data = examination.data
    check_classes(data)
    for member in members:
        check_spec(data.changed(channels=member.spec.channels), member.spec)
    spec = Predictor(members).spec
    held = held_out_members(members)
    cases = {case.id: case for case in examination.cases}
    _check_ids(held, cases, members[0], data.root)
    read = Reader(spec.channels, label_table(data))
    predictors = {tuple(map(id, each)): Predictor(each) for each in held.values()}
    of_case = {name: predictors[tuple(map(id, each))] for name, each in held.items()}
    found, unread = [], []
    for name in track(list(held), len(held)):
        try:
            picture = read(cases[name])
        except DataError:
            unread.append(name)
            continue
        seen = of_case[name](picture.image)
        found.append(compare_mask(cases[name], picture.mask, seen.probabilities, seen.classes, of_case[name].label_mode))
    if not found:
        raise DataError(f"None of the {len(held)} cases can be read", "Masks to rank were expected", "See the errors above")

    def look(each: LabelQuality) -> tuple[Array, Array, Array]:
        picture = read(each.case)
        return picture.image, picture.mask, of_case[each.case.id](picture.image).classes

    runs = {name: [member.origin.run.name for member in who] for name, who in held.items()}
    return MaskRanking(sort_by_quality(found), _notes(held, members, len(cases), unread), spec, runs, look)


def check_classes(data: DataConfig) -> None:
    """Require known classes, before networks are loaded.

    Raises:
        DataError: they are unknown.
    """
    if not data.classes:
        raise DataError("The classes of these data are not known", "Masks with a class for each value were expected", CLASSES)


def held_out_members(members: Sequence[Segmenter]) -> dict[str, list[Segmenter]]:
    """Return the validation cases of the members by id, with those members.

    Raises:
        DataError: the split.csv of a run is missing or broken.
    """
    found: dict[str, list[Segmenter]] = defaultdict(list)
    for member in members:
        for row in read_split_csv(member.origin.run / "split.csv"):
            if row["split"] == "val":
                found[row["id"]].append(member)
    return dict(sorted(found.items()))


def _check_ids(held: Mapping[str, Any], cases: Mapping[str, Any], member: Segmenter, root: str) -> None:
    gone = [name for name in held if name not in cases]
    if not gone:
        return
    trained = member.origin.config.data
    there = f"; there are {listed(sorted(cases), 3)}" if len(gone) == len(held) else ""
    raise DataError(
        f"{len(gone)} of the {len(held)} cases that the runs held out are not among the {len(cases)} below {root}: "
        f"{listed(gone, 3)}{there}",
        "The data that the runs were trained on were expected; their masks may have changed since, their names may not",
        f"Type the data of the runs as in training, which was "
        f"{shell_words({'data.name': trained.name, 'data.root': trained.root})}, or train the study again on the data of now",
    )


def _notes(held: Mapping[str, Sequence[Segmenter]], members: Sequence[Segmenter], count: int, unread: list[str]) -> list[str]:
    sections = [member.origin.config.data for member in members]
    several = len(members) > 1
    texts = [
        f"{pluralise(len(held), 'case')}, each predicted by {'a run' if several else 'the run'} that was not trained on it."
    ]
    left = count - len(held)
    not_ranked = f"{pluralise(left, 'case')} {'is' if left == 1 else 'are'} not ranked"
    if left and any(data.folds is None for data in sections):
        texts.append(
            f"Only the validation cases of {'runs' if several else 'a run'} without folds can be ranked: {not_ranked}. "
            "A study of folds ranks them all: python -m segexp.train -m data=NAME data.folds=5 'data.fold=range(5)'"
        )
    elif left:
        texts.append(f"{not_ranked}: none of these runs validated on them (test cases, other folds, new files).")
    if unread:
        texts.append(f"{pluralise(len(unread), 'case')} cannot be read, so not ranked: {listed(unread, 3)}.")
    return texts


def ranking_lines(found: MaskRanking) -> list[str]:
    """Return the notes, and one line for each of the first masks."""
    first = [
        f"{rank:3d}. {each.case.id}  label quality {format_score(each.quality)}, Dice {format_score(each.dice)}"
        for rank, each in enumerate(found.ranking[:NAMED], start=1)
    ]
    return [*found.notes, *first]


def write_ranking(path: Path, found: MaskRanking) -> None:
    """Write one row per case, lowest label quality first, atomically."""
    columns = ("rank", "id", "group", "quality", "dice", "only_given", "only_predicted", "runs", "image", "mask")
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for rank, each in enumerate(found.ranking, start=1):
            quality = "" if np.isnan(each.quality) else f"{each.quality:.6f}"
            counts = (f"{each.dice:.6f}", each.only_given, each.only_predicted)
            files = (str(each.case.image), ";".join(map(str, each.case.masks)))
            writer.writerow(
                [rank, each.case.id, each.case.group or "", quality, *counts, ";".join(found.runs[each.case.id]), *files]
            )
