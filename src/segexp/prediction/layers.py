"""The true masks of classes that may overlap, for a panel: each class has files of its own.

Legend: H W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segexp.data.files.images import page_count
from segexp.data.labels.overlapping import OverlappingTable
from segexp.errors import ConfigError, DataError
from segexp.prediction.beside import by_patterns
from segexp.prediction.inputs import Inventory, Job
from segexp.prediction.names import file_words
from segexp.prediction.truth import filled
from segexp.types import Case, Source

Array = np.ndarray[Any, np.dtype[Any]]

Layers = dict[str, tuple[Path, ...]]
"""The files of each class."""


def find_layers(inventory: Inventory, where: str | None, data: Mapping[str, Any]) -> dict[Job, Layers]:
    """Return the mask files of the jobs that have some, by class.

    Args:
        inventory: the jobs, and the masks that lie beside their images.
        where: a pattern with "{id}" for the image's name and "{class}" for that of the class, as in the names of what is
            predicted; None takes the masks that the patterns of the training find beside the images.
        data: the data section of the checkpoint's config.

    Raises:
        ConfigError: it is no such pattern.
        DataError: no mask fits any image.
    """
    classes = list(data["classes"])[1:]
    if where is None:
        names = [*inventory.masks, *(name for masks in inventory.masks.values() for name in masks)]
        beside = {name: by_patterns(inventory.root, names, data, name) for name in classes}
        each = {
            job: {name: tuple(inventory.root / mask for mask in found.get(job.image, ())) for name, found in beside.items()}
            for job in inventory.jobs
        }
    elif "{id}" in where and "{class}" in where:
        patterns = {name: where.replace("{class}", word) for name, word in zip(classes, file_words(classes), strict=True)}
        each = {job: {name: _one(pattern, job) for name, pattern in patterns.items()} for job in inventory.jobs}
    else:
        raise ConfigError(
            f"truth={where} names one mask for each image, and the classes of the network may overlap",
            "The names of the masks with {id} for that of the image and {class} for that of the class were expected",
            "Type 'truth=\"DIR/{id}_{class}.png\"'",
        )
    found = {job: {name: files for name, files in layers.items() if files} for job, layers in each.items()}
    found = {job: layers for job, layers in found.items() if layers}
    if where is not None and not found:
        raise DataError(
            f"truth={where} has a mask for none of the {len(inventory.jobs)} images, such as {inventory.jobs[0].image}",
            f"{{class}} stands for {', '.join(file_words(classes))}",
            "Correct the pattern, or leave truth out",
        )
    return found


@dataclass(frozen=True)
class LayersReader:
    """Decodes true masks by the class table that the network was trained with.

    Attributes:
        labels: mask values to presence.
        files: of each job, by class; a class without a file is nowhere in its image.
    """

    labels: OverlappingTable
    files: Mapping[Job, Layers]

    def __call__(self, job: Job, source: Source, size: Sequence[int]) -> Array | None:
        """Return the mask (H, W) uint8 of one picture, bit sets, 255 where it does not count; None where nothing is known.

        Raises:
            DataError: a file is broken, of another size than the image (H, W), or holds a value that its class does not have.
        """
        layers = self.files.get(job)
        if not layers:
            return None
        named = [(name, file) for name, files in layers.items() for file in files]
        masks = tuple(Source(file, _page(file, source)) for _, file in named)
        case = Case(job.image, source, masks, classes=tuple(name for name, _ in named))
        return self.labels.read(case, tuple(size[:2]))


def _one(pattern: str, job: Job) -> tuple[Path, ...]:
    file = filled(pattern, job)
    return () if file is None else (file,)


def _page(file: Path, source: Source) -> int | None:
    return source.page if source.page is not None and page_count(file) > 1 else None
