"""The true masks of images, for a panel: where they are, and which class each value means.

Legend: H W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segexp.data.files.images import page_count, read_mask
from segexp.data.labels.table import LabelTable, merge
from segexp.data.layout.candidates import PAIRS
from segexp.data.layout.cases import list_files
from segexp.errors import ConfigError, DataError
from segexp.prediction.inputs import Inventory, Job
from segexp.prediction.names import ENDINGS, ending_of, stem_of
from segexp.types import Source

Array = np.ndarray[Any, np.dtype[Any]]
DEPTH = 16
"""Folders below that of the masks that are looked into."""


def find_truth(inventory: Inventory, where: str | None) -> dict[Job, tuple[Path, ...]]:
    """Return the mask files of the jobs that have some.

    Args:
        inventory: the jobs, and the masks that lie beside their images.
        where: a folder, in which a mask has the name of its image, or one of the endings that masks commonly have; a pattern
            with "{id}" in place of the image's name; None takes the masks beside the images.

    Raises:
        ConfigError: no such folder, and no pattern.
        DataError: no mask fits any image.
    """
    if where is None:
        root = inventory.root
        partners = {job: inventory.masks.get(job.image, ()) for job in inventory.jobs}
        return {job: tuple(root / name for name in names) for job, names in partners.items() if names}
    if "{id}" in where:
        found = {job: filled(where, job) for job in inventory.jobs}
    elif Path(where).is_dir():
        files = {stem_of(name): Path(where) / name for name in list_files(Path(where), DEPTH) if ending_of(name)}
        found = {job: _named(files, job) for job in inventory.jobs}
    else:
        raise ConfigError(
            f"truth={where} is neither a folder nor a pattern",
            "The folder of the masks, or their names with {id} for that of the image, was expected",
            "Type truth=DIR or 'truth=\"DIR/{id}_mask.png\"'",
        )
    if not any(found.values()):
        raise DataError(
            f"truth={where} has a mask for none of the {len(inventory.jobs)} images, such as {inventory.jobs[0].image}",
            "Masks with the names of the images, or an ending such as _mask more, were expected",
            "Type 'truth=\"DIR/{id}_mask.png\"' with the masks' own ending, or leave truth out",
        )
    return {job: (file,) for job, file in found.items() if file is not None}


@dataclass(frozen=True)
class TruthReader:
    """Decodes true masks by the class table that the network was trained with.

    Attributes:
        labels: mask values to classes.
        files: of each job.
    """

    labels: LabelTable
    files: Mapping[Job, tuple[Path, ...]]

    def __call__(self, job: Job, source: Source, size: Sequence[int]) -> Array | None:
        """Return the mask (H, W) uint8 of one picture, 255 where it does not count; None where nothing is known.

        Raises:
            DataError: a file is broken, of another size than the image (H, W), or holds a value that no class claims.
        """
        masks = []
        for file in self.files.get(job, ()):
            page = source.page if source.page is not None and page_count(file) > 1 else None
            mask = self.labels.encode(read_mask(Source(file, page), self.labels.by_value), str(file))
            if mask.shape != tuple(size[:2]):
                raise DataError(f"{file} is {mask.shape[0]}x{mask.shape[1]} (height x width) and its image {size[0]}x{size[1]}")
            masks.append(mask)
        return merge(masks) if masks else None


def filled(pattern: str, job: Job) -> Path | None:
    """Return the file that a pattern gives to a job, with or without its folders; None where there is none."""
    stem = stem_of(job.image)
    names = [pattern.replace("{id}", text) for text in (stem, stem.rpartition("/")[2])]
    names += [text.removesuffix(".*") + ending for text in names if text.endswith(".*") for ending in ENDINGS]
    return next((Path(name) for name in names if Path(name).is_file()), None)


def _named(files: Mapping[str, Path], job: Job) -> Path | None:
    stem = stem_of(job.image)
    for image_end, mask_end in PAIRS:
        if not stem.endswith(image_end):
            continue
        name = stem.removesuffix(image_end) + mask_end
        for key in (name, name.rpartition("/")[2]):
            if key in files and files[key].resolve() != job.file.resolve():
                return files[key]
    return None
