"""Which masks of a data set the runs of a study dispute: each case is predicted by the runs that held it out.

Legend: N cases, K classes, H W pixels.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segexp.checking.disagreement import Disagreement, disagreement, ranked
from segexp.checking.findings import Examination
from segexp.checkpoint.data import check_spec
from segexp.comparison.words import counted, number
from segexp.data.inspect import Reader
from segexp.data.labels.overlapping import label_table
from segexp.data.splits import read_split_csv
from segexp.errors import DataError, listed
from segexp.prediction.members import checkpoint_files, load_members, run_of
from segexp.predictor import Predictor
from segexp.segmenter import Segmenter
from segexp.types import DataSpec
from segexp.whole import whole_file

FILE = "label_errors.csv"
NAMED = 10
"""Doubtful masks that are named on the terminal."""

CLASSES = "Type them as in training: data=NAME, or 'data.classes={background: 0, …}'"
Array = np.ndarray[Any, np.dtype[Any]]
Track = Callable[[Iterable[Any], int], Iterator[Any]]


@dataclass(frozen=True, eq=False)
class Disputes:
    """What was found.

    Attributes:
        ranking: N, the most doubtful first.
        notes: what a reader must know about it, in sentences.
        spec: classes and colours.
        runs: names of the runs that predicted each case, by its id.
        look: reads and predicts one case again: image (H, W, C), given mask and predicted mask (H, W).
    """

    ranking: list[Disagreement]
    notes: list[str]
    spec: DataSpec
    runs: Mapping[str, list[str]]
    look: Callable[[Disagreement], tuple[Array, Array, Array]]


def disputes(
    examination: Examination,
    named: Sequence[str],
    device: str,
    trust: Sequence[str],
    track: Track = lambda items, _: iter(items),
) -> Disputes:
    """Rank the cases of an examined data set by how much the runs that held them out dispute their masks.

    Args:
        examination: of the data; the masks are those of now, whatever they were in training.
        named: runs and studies.
        device: to predict on.
        trust: further packages whose networks may be built.
        track: wraps the pass over the cases (items, count), for a progress bar.

    Raises:
        CheckpointError: a run is missing, broken or never finished, or a fold of a study is missing.
        ConfigError: the runs have other classes than the data.
        DataError: the cases that the runs held out are not those of the data, or none of them can be read.
    """
    data: dict[str, Any] = examination.data
    if not data["classes"]:
        raise DataError("The classes of these data are not known", "Masks with a class for each value were expected", CLASSES)
    members = load_members(checkpoint_files(named), device, trust)
    for member in members:
        check_spec(data | {"channels": member.spec.channels}, member.spec)
    spec = Predictor(members).spec
    held = held_out(members)
    cases = {case.id: case for case in examination.cases}
    _check_ids(held, cases, members[0], str(data["root"]))
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
        found.append(disagreement(cases[name], picture.mask, seen.probabilities, seen.classes, of_case[name].labelling))
    if not found:
        raise DataError(f"None of the {len(held)} cases can be read", "Masks to rank were expected", "See the errors above")

    def look(each: Disagreement) -> tuple[Array, Array, Array]:
        picture = read(each.case)
        return picture.image, picture.mask, of_case[each.case.id](picture.image).classes

    runs = {name: [run_of(member).name for member in who] for name, who in held.items()}
    return Disputes(ranked(found), _notes(held, members, len(cases), unread), spec, runs, look)


def held_out(members: Sequence[Segmenter]) -> dict[str, list[Segmenter]]:
    """Return, by id, the cases that some member validated on, with those members.

    Raises:
        DataError: the split.csv of a run is missing or broken.
    """
    found: dict[str, list[Segmenter]] = defaultdict(list)
    for member in members:
        for row in read_split_csv(run_of(member) / "split.csv"):
            if row["split"] == "val":
                found[row["id"]].append(member)
    return dict(sorted(found.items()))


def _check_ids(held: Mapping[str, Any], cases: Mapping[str, Any], member: Segmenter, root: str) -> None:
    gone = [name for name in held if name not in cases]
    if not gone:
        return
    config: Any = member.facts["config"]
    there = f"; there are {listed(sorted(cases), 3)}" if len(gone) == len(held) else ""
    raise DataError(
        f"{len(gone)} of the {len(held)} cases that the runs held out are not among the {len(cases)} below {root}: "
        f"{listed(gone, 3)}{there}",
        "The data that the runs were trained on were expected; their masks may have changed since, their names may not",
        f"Type the data of the runs as in training, which was data.name={config['data']['name']} "
        f"data.root={config['data']['root']}, or train the study again on the data of now",
    )


def _notes(held: Mapping[str, Sequence[Segmenter]], members: Sequence[Segmenter], count: int, unread: list[str]) -> list[str]:
    sections: list[dict[str, Any]] = [dict(member.facts["config"])["data"] for member in members]  # type: ignore[call-overload]
    several = len(members) > 1
    texts = [f"{counted(len(held), 'case')}, each predicted by {'a run' if several else 'the run'} that was not trained on it."]
    left = count - len(held)
    not_ranked = f"{counted(left, 'case')} {'is' if left == 1 else 'are'} not ranked"
    if left and any(data.get("folds") is None for data in sections):
        texts.append(
            f"Only the validation cases of {'runs' if several else 'a run'} without folds can be ranked: {not_ranked}. "
            "A study of folds ranks them all: python -m segexp.train -m data.folds=5 'data.fold=range(5)' …"
        )
    elif left:
        texts.append(f"{not_ranked}: none of these runs validated on them (test cases, other folds, new files).")
    if unread:
        texts.append(f"{counted(len(unread), 'case')} cannot be read, so not ranked: {listed(unread, 3)}.")
    return texts


def lines(found: Disputes) -> list[str]:
    """Return the notes, and a line for each of the first masks."""
    first = [
        f"{rank:3d}. {each.case.id}  label quality {number(each.quality)}, Dice {number(each.dice)}"
        for rank, each in enumerate(found.ranking[:NAMED], start=1)
    ]
    return [*found.notes, *first]


def write_ranking(path: Path, found: Disputes) -> None:
    """Write one row per case, the most doubtful first; the file is whole or not there."""
    columns = ("rank", "id", "group", "quality", "dice", "only_given", "only_predicted", "runs", "image", "mask")
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for rank, each in enumerate(found.ranking, start=1):
            quality = "" if np.isnan(each.quality) else f"{each.quality:.6f}"
            counts = (f"{each.dice:.6f}", each.only_given, each.only_predicted)
            files = (str(each.case.image), ";".join(map(str, each.case.masks)))
            writer.writerow(
                [rank, each.case.id, each.case.group or "", quality, *counts, ";".join(found.runs[each.case.id]), *files]
            )
