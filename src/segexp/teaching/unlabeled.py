"""The images of `data.unlabeled`: found, and held against the labelled ones before anything is trained."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segexp.data.datamodule import SegmentationDataModule
from segexp.data.inspect import Picture, glance, read_all
from segexp.errors import DataError, listed
from segexp.prediction.inputs import Earlier, take_stock
from segexp.types import Case, Source

MOVE = "Move them out of {folder}, or name another folder: data.unlabeled=DIR"


def find_unlabeled(folder: Path, data: SegmentationDataModule) -> tuple[list[Case], str]:
    """Return a case without masks for each image of a folder that is no training image, and a sentence.

    Images that the training split has with their masks are left out.

    Args:
        folder: looked through at any depth.
        data: the labelled images, set up.

    Raises:
        DataError: the folder is missing or holds no image, one is broken or of other channels or values, or one is
            scored: a validation or test image, or equal to one pixel for pixel.
    """
    try:
        jobs = take_stock(folder, folder, data.spec.channels, data.data, Earlier()).jobs
    except DataError as problem:  # its words are about the key that predict has
        texts = (text.replace("input=", "data.unlabeled=") for text in (problem.found, problem.expected, problem.do))
        raise DataError(*texts) from problem
    cases = [Case(job.label(source), source, ()) for job in jobs for source in job.sources]
    known = _Known(data)
    twins: dict[str, list[tuple[Case, Case, str]]] = defaultdict(list)
    for case, picture in zip(cases, data.track(read_all(data.reader, cases), len(cases)), strict=True):
        known.check_values(case, picture)
        if (twin := known.twin(case.image, picture)) is not None:
            twins[data.splits[twin[0].id]].append((case, *twin))
    scored = {split: found for split, found in twins.items() if split != "train"}
    if scored:
        raise _scored(folder, scored)
    labelled = {case.id for case, _, _ in twins["train"]}
    left = [case for case in cases if case.id not in labelled]
    if not left:
        raise DataError(
            f"All {len(cases)} images of data.unlabeled={folder} are training images that have masks",
            "Further images, without masks, were expected",
            "Name another folder: data.unlabeled=DIR",
        )
    note = f"; {len(labelled)} more are training images and left out" if labelled else ""
    return left, f"Unlabelled: {len(left)} images in {folder}{note}"


class _Known:
    """The labelled images, by their files and by what they show at the working size."""

    def __init__(self, data: SegmentationDataModule) -> None:
        self.data = data
        self.files = {_place(case.image): n for n, case in enumerate(data.cases)}
        self.alike: dict[int, list[int]] = defaultdict(list)
        for position, seen in enumerate(data.glances):
            self.alike[seen.checksum].append(position)
        self.bytes = data.store[data.members("train")[0]].image.dtype == np.uint8

    def check_values(self, case: Case, picture: Picture) -> None:
        """Refuse values of another kind.

        Raises:
            DataError: it is 8-bit and the training images are not, or the other way round.
        """
        if (picture.image.dtype == np.uint8) != self.bytes:
            kinds = ("8-bit", "not 8-bit")[:: 1 if self.bytes else -1]
            raise DataError(
                f"{case.image} in data.unlabeled is {kinds[1]}, and the training images are {kinds[0]}",
                "Values of one kind were expected: their scales cannot be told from each other",
                "Convert the images to one type, or name another folder: data.unlabeled=DIR",
            )

    def twin(self, source: Source, picture: Picture) -> tuple[Case, str] | None:
        """Return the labelled case that is the same image, a scored one first, and how it is the same; None if none is."""
        cases, splits, image = self.data.cases, self.data.splits, picture.image
        if (position := self.files.get(_place(source))) is not None:
            return cases[position], "the same file"
        if image.min() == image.max():  # blank pictures are no copies
            return None
        same = [n for n in self.alike[glance(picture).checksum] if np.array_equal(self.data.store[n].image, image)]
        found = min(same, key=lambda n: splits[cases[n].id] == "train", default=None)
        return None if found is None else (cases[found], "the same picture")


def _place(source: Source) -> tuple[Path, int | None]:
    return source.path.resolve(), source.page


def _scored(folder: Path, found: Mapping[str, Sequence[tuple[Case, Case, str]]]) -> DataError:
    pairs = [f"{one.id} is {other.id} of {split}, {how}" for split, each in found.items() for one, other, how in each]
    count = f"{len(pairs)} image{'s' * (len(pairs) > 1)}"
    return DataError(
        f"{count} of data.unlabeled={folder} {'are' if len(pairs) > 1 else 'is'} also scored: {listed(pairs, 4)}",
        "What is scored must be new to the network, also without its mask",
        MOVE.format(folder=folder),
    )
