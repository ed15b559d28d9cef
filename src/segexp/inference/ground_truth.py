"""Ground truth masks of images, for panels.

Shapes: H W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segexp.config.schema import DataConfig
from segexp.data.annotations.files import is_annotation
from segexp.data.io.images import page_count
from segexp.data.labels.class_table import LabelTable, merge_masks, read_labels
from segexp.data.labels.multilabel import OverlappingTable
from segexp.data.layout.discovery import PAIRS
from segexp.data.layout.pairing import list_files
from segexp.data.layout.suggested_patterns import picture_names
from segexp.data.spacing import place_mask
from segexp.errors import ConfigError, DataError
from segexp.inference.inputs import ENDINGS, Inventory, Job, file_safe_names, image_stem, masks_by_patterns
from segexp.types import Array, Case, Source

DEPTH = 16
"""Maximum folder depth below the mask folder."""


def find_truth(inventory: Inventory, where: str | None) -> dict[Job, tuple[Path, ...]]:
    """Return the mask files of the jobs that have some.

    Args:
        inventory: the jobs, and the masks next to their images.
        where: a folder of masks named like their images, optionally with a common suffix such as _mask; a pattern with "{id}"
            for the image name; None for the masks next to the images.

    Raises:
        ConfigError: neither a folder nor a pattern.
        DataError: no mask matches any image.
    """
    if where is None:
        root = inventory.root
        partners = {job: inventory.masks.get(job.image, ()) for job in inventory.jobs}
        return {job: tuple(root / name for name in names) for job, names in partners.items() if names}
    if "{id}" in where:
        found = {job: expand_pattern(where, job) for job in inventory.jobs}
    elif Path(where).is_dir():
        root = Path(where)
        files = {image_stem(name): root / name for name in picture_names(root, list_files(root, DEPTH))}
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
    """Decodes masks with the class table of the network.

    Attributes:
        labels: mask values to classes.
        files: of each job.
    """

    labels: LabelTable
    files: Mapping[Job, tuple[Path, ...]]

    def __call__(self, job: Job, source: Source, size: Sequence[int]) -> Array | None:
        """Return the mask (H, W) uint8 of an image, 255 = ignore; None if unknown.

        Raises:
            DataError: a file is broken, differs in size from the image (H, W), or contains a value without a class.
        """
        masks = []
        for file in self.files.get(job, ()):
            mask = read_labels([_page(file, source)], self.labels, source)
            if mask.shape != tuple(size[:2]):
                raise DataError(f"{file} is {mask.shape[0]}x{mask.shape[1]} (height x width) and its image {size[0]}x{size[1]}")
            masks.append(mask)
        return merge_masks(masks) if masks else None


def expand_pattern(pattern: str, job: Job) -> Path | None:
    """Return the file of a job according to a pattern, with or without its folders; None if absent."""
    stem = image_stem(job.image)
    names = [pattern.replace("{id}", text) for text in (stem, stem.rpartition("/")[2])]
    names += [text.removesuffix(".*") + ending for text in names if text.endswith(".*") for ending in ENDINGS]
    return next((Path(name) for name in names if Path(name).is_file()), None)


def _named(files: Mapping[str, Path], job: Job) -> Path | None:
    stem = image_stem(job.image)
    for image_end, mask_end in PAIRS:
        if not stem.endswith(image_end):
            continue
        name = stem.removesuffix(image_end) + mask_end
        for key in (name, name.rpartition("/")[2]):
            if key in files and files[key].resolve() != job.file.resolve():
                return files[key]
    return None


Layers = dict[str, tuple[Path, ...]]
"""The files of each class."""


def find_layers(inventory: Inventory, where: str | None, data: DataConfig) -> dict[Job, Layers]:
    """Return the mask files of the jobs that have some, by class.

    Args:
        inventory: the jobs, and the masks next to their images.
        where: a pattern with "{id}" for the image name and "{class}" for the class name; None for the masks that the training
            patterns find next to the images.
        data: the data section of the run that trained the network.

    Raises:
        ConfigError: not such a pattern.
        DataError: no mask matches any image.
    """
    classes = list(data.classes or {})[1:]
    if where is None:
        names = [*inventory.masks, *(name for masks in inventory.masks.values() for name in masks)]
        beside = {name: masks_by_patterns(inventory.root, names, data, name) for name in classes}
        each = {
            job: {name: tuple(inventory.root / mask for mask in found.get(job.image, ())) for name, found in beside.items()}
            for job in inventory.jobs
        }
    elif "{id}" in where and "{class}" in where:
        patterns = {name: where.replace("{class}", word) for name, word in zip(classes, file_safe_names(classes), strict=True)}
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
            f"{{class}} stands for {', '.join(file_safe_names(classes))}",
            "Correct the pattern, or leave truth out",
        )
    return found


@dataclass(frozen=True)
class LayersReader:
    """Decodes masks of overlapping classes with the class table of the network.

    Attributes:
        labels: mask values to presence.
        files: of each job, by class; a class without a file is absent.
    """

    labels: OverlappingTable
    files: Mapping[Job, Layers]

    def __call__(self, job: Job, source: Source, size: Sequence[int]) -> Array | None:
        """Return the bit-set mask (H, W) uint8 of an image, 255 = ignore; None if unknown.

        Raises:
            DataError: a file is broken, differs in size from the image (H, W), or contains an unknown value.
        """
        layers = self.files.get(job)
        if not layers:
            return None
        named = [(name, file) for name, files in layers.items() for file in files]
        masks = tuple(_page(file, source) for _, file in named)
        case = Case(job.image, source, masks, classes=tuple(name for name, _ in named))
        return self.labels.read(case, tuple(size[:2]))


def _one(pattern: str, job: Job) -> tuple[Path, ...]:
    file = expand_pattern(pattern, job)
    return () if file is None else (file,)


def _page(file: Path, source: Source) -> Source:
    paged = source.page is not None and not is_annotation(file) and page_count(file, source.orientation) > 1
    return place_mask(replace(source, path=file, page=source.page if paged else None), source)[0]
