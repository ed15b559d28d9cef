"""From the input paths to named jobs. Only listings and file headers are read."""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from segexp.config.schema import DataConfig
from segexp.data.io import nifti
from segexp.data.io.images import SUFFIXES, page_count, page_placements, read_image
from segexp.data.io.tiff import Placement
from segexp.data.layout.discovery import PAIRS, STACKS
from segexp.data.layout.pairing import list_files
from segexp.data.layout.patterns import FIELDS, Pattern, natural_key, parse_pattern
from segexp.data.layout.suggested_patterns import picture_names
from segexp.errors import DataError, SegexpError, listed
from segexp.inference.out_of_distribution import TrainingStats
from segexp.types import Array, Source

ENDINGS = tuple(f".{ending}" for ending in (*reversed(nifti.ENDINGS), *SUFFIXES))
"""Suffixes of all readable formats, `.nii.gz` first."""

EXTRAS = ("overlay", "probabilities", "labels", "panels", "uncertainty")
"""Folders of the additional outputs, next to the masks."""


def file_safe_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return distinct file-safe names (letters, digits, dashes) of the classes."""
    words: list[str] = []
    for number, name in enumerate(names, start=1):
        word = re.sub(r"[^\w-]+", "_", name).strip("_")
        words.append(word if word and word.lower() not in map(str.lower, words) else f"{word}{number}")
    return tuple(words)


def image_suffix(name: str) -> str:
    """Return the suffix of an image file name as written (`.JPG`, `.nii.gz`); "" for other files."""
    lower = name.lower()
    return next((name[-len(ending) :] for ending in ENDINGS if lower.endswith(ending) and len(name) > len(ending)), "")


def image_stem(name: str) -> str:
    """Return an image's name, including folders, without its suffix."""
    return name.removesuffix(image_suffix(name))


SHORTEST = 3
"""Minimum length of an unambiguous mask suffix: `_L` may also be the left eye."""

PAIR_ENDINGS = tuple((image, mask) for image, mask in PAIRS if len(mask) >= SHORTEST)
"""Suffixes of image and mask names that identify a mask without the checkpoint."""

Partners = dict[str, tuple[str, ...]]
"""Mask names by image name."""


def masks_beside(root: Path, names: Sequence[str], data: DataConfig) -> Partners:
    """Return the masks among the files of a folder, by the image that belongs to them.

    Masks are recognised by the patterns of the training data, or by a name equal to another file's except for a suffix such
    as `_mask` or a word such as `masks` instead of `images`, also in a folder name. A file without its image is never a mask.

    Args:
        root: the folder.
        names: files relative to it, with "/".
        data: the data section of the run that trained the network.
    """
    found = masks_by_patterns(root, names, data)
    masks = {mask for partners in found.values() for mask in partners}
    for image, partners in _by_name([name for name in names if name not in masks]).items():
        found.setdefault(image, partners)
    return found


def masks_by_patterns(root: Path, names: Sequence[str], data: DataConfig, of_class: str | None = None) -> Partners:
    """Return the masks according to the training patterns; with `of_class`, those of one class."""
    patterns = data.mask
    each = list(patterns.items()) if isinstance(patterns, Mapping) else [(None, patterns)]
    found: dict[str, tuple[str, ...]] = {}
    for name, pattern in each:
        if of_class in (None, name):
            for image, masks in _by_pattern(root.resolve(), names, data.image, pattern).items():
                found[image] = (*found.get(image, ()), *masks)
    return found


def _by_pattern(root: Path, names: Sequence[str], image: object, mask: object) -> Partners:
    if not (isinstance(image, str) and isinstance(mask, str)):
        return {}
    images, masks = parse_pattern(image, "data.image"), parse_pattern(mask, "data.mask")
    shared = [name for name in FIELDS if name in images.fields & masks.fields and name not in (images.page, masks.page)]
    masks_first = (masks.literals, masks.key) > (images.literals, images.key)
    ranked = (masks, images) if masks_first else (images, masks)
    by_key: dict[Pattern, dict[object, list[str]]] = {images: defaultdict(list), masks: defaultdict(list)}
    for name in names:
        for pattern in ranked:  # a file that matches both belongs to the more specific one
            key = _key(root, name, pattern, shared)
            if key is not None:
                by_key[pattern][key].append(name)
                break
    pairs = {key: by_key[masks][key] for key in by_key[images] if key in by_key[masks]}
    return {name: tuple(sorted(pairs[key])) for key in pairs for name in by_key[images][key]}


def _key(root: Path, name: str, pattern: Pattern, shared: Sequence[str]) -> object:
    """Return the root of the data set and the pairing fields of a file; None if the pattern does not match.

    The end of the whole path is compared, because the input may be the data root, a folder in it, or one above.
    """
    parts = (root / name).parts
    cut = len(parts) - pattern.depth - 1
    fields = pattern.match("/".join(parts[cut:])) if cut > 0 else None
    return None if fields is None else (parts[:cut], tuple(fields[field] for field in shared))


def _by_name(names: Sequence[str]) -> Partners:
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_stem[image_stem(name)].append(name)
    found: Partners = {}
    for stem, masks in by_stem.items():
        partner = next((image for image in _images_of(stem) if image != stem and image in by_stem), None)
        if partner:
            found |= {image: tuple(masks) for image in by_stem[partner]}
    return found


def _images_of(stem: str) -> Iterator[str]:
    """Yield the possible image names for a mask name."""
    for image_end, mask_end in PAIR_ENDINGS:
        if stem.endswith(mask_end):
            yield stem.removesuffix(mask_end) + image_end
    for image_word, mask_word in STACKS:
        if stem.count(mask_word) == 1:
            yield stem.replace(mask_word, image_word)


EARLIER, BESIDE = "written by an earlier run", "masks of images here"
"""Reasons for leaving out a file."""


@dataclass(frozen=True)
class Job:
    """One file to process.

    Attributes:
        file: its path.
        image: its name relative to the input, with "/", for messages and tables.
        stem: name of its outputs, including folders, without suffix.
        pages: number of images in a stack or volume; None for a single image.
        orientation: in which a volume is sliced, None as it is stored.
        placements: position and resolution of the pictures of a TIFF file.
        exif: whether the EXIF orientation of a photograph is applied.
        nodata: value of pixels without data, see `Source`.
    """

    file: Path
    image: str
    stem: str
    pages: int | None = None
    orientation: str | None = None
    placements: tuple[Placement, ...] = field(default=(), compare=False, repr=False)
    exif: bool = True
    nodata: float | str | None = None

    @property
    def volume(self) -> bool:
        """Whether it is a NIfTI volume."""
        return nifti.is_nifti(self.file)

    @property
    def georeferenced(self) -> bool:
        """Whether it has a position on the earth, as GeoTIFF; so has its mask."""
        return bool(self.placements) and self.placements[0].georeferenced

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Its images in order."""
        pages = (None,) if self.pages is None else range(self.pages)
        return tuple(Source(self.file, page, self.orientation, self.exif, self.nodata) for page in pages)

    def label(self, source: Source) -> str:
        """Return the name of one of its images in messages and tables."""
        return self.image if source.page is None else f"{self.image}[{source.page}]"


@dataclass(frozen=True)
class EarlierOutputs:
    """Identifies files written by earlier runs.

    Attributes:
        suffix: of mask names.
        folders: all output folders, resolved; files in them are not inputs, unless the folder itself is the input.
        files: masks listed in the tables of those folders, resolved.
    """

    suffix: str = ""
    folders: frozenset[Path] = frozenset()
    files: frozenset[Path] = frozenset()


@dataclass(frozen=True)
class Inventory:
    """Content of one input.

    Attributes:
        input: the folder or file.
        output: the folder of its masks.
        jobs: in natural order of their names (2 before 10).
        masks: excluded masks next to the images, by image name.
        notices: messages for the user.
    """

    input: Path
    output: Path
    jobs: tuple[Job, ...]
    masks: Partners = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The folder that names are relative to."""
        return self.input if self.input.is_dir() else self.input.parent


def list_inputs(given: Path, output: Path, channels: int, data: DataConfig, earlier: EarlierOutputs) -> Inventory:
    """List the images of one input, without masks, files in output folders, and files written by earlier runs.

    Args:
        given: a folder, searched recursively, or a file, which is always accepted.
        output: the folder of its masks.
        channels: of the network; a TIFF file with exactly this number of gray pages is one image.
        data: the data section of the run that trained the network.
        earlier: identifies files written by earlier runs.

    Raises:
        DataError: the input does not exist, or contains no image.
    """
    if not given.exists():
        here = "" if given.is_absolute() else f" (from {Path.cwd()})"
        raise DataError(f"input={given} does not exist{here}", "A folder of pictures, or one, was expected", "Type input=DIR")
    root = given if given.is_dir() else given.parent
    names = _pictures(root)
    own = _written(root, names, earlier)
    masks = masks_beside(root, [name for name in names if name not in own], data)
    beside = {mask for partners in masks.values() for mask in partners}
    own |= _suffixed(names, earlier.suffix) - beside  # masks not listed in a review may be ground truth
    if given.is_dir():
        chosen = [name for name in names if name not in own | beside]
    elif image_suffix(given.name):
        chosen, own, beside = [given.name], set(), set()
    else:
        chosen = []
    if not chosen:
        raise _no_image(given, root, own, beside)
    left_out = [_left_out(own, EARLIER), _left_out(beside, BESIDE)]
    jobs, renamed = _named(root, sorted(chosen, key=natural_key))
    exif = data.exif == "apply"
    turned = [replace(job, orientation=data.orientation if job.volume else None, exif=exif) for job in jobs]
    counted = tuple(
        replace(job, pages=_pages(job, channels), placements=_placements(job), nodata=data.nodata) for job in turned
    )
    return Inventory(given, output, counted, masks, tuple(text for text in (*left_out, renamed) if text))


def _pictures(root: Path) -> list[str]:
    try:
        return picture_names(root, list_files(root, sys.maxsize))
    except DataError:  # the folder is empty
        return []


def _written(root: Path, names: Sequence[str], earlier: EarlierOutputs) -> set[str]:
    """Return the names written by an earlier run: in an output folder, or listed in a review."""
    base = root.resolve()
    inside = [folder for folder in earlier.folders if folder != base and folder.is_relative_to(base)]
    if base in earlier.folders and earlier.files:
        inside += [base / extra for extra in EXTRAS]
    paths = {name: base / name for name in names}
    return {
        name for name, path in paths.items() if path in earlier.files or any(path.is_relative_to(folder) for folder in inside)
    }


def _suffixed(names: Sequence[str], suffix: str) -> set[str]:
    """Return the names that equal another one plus the suffix."""
    stems = {image_stem(name) for name in names}
    pairs = ((name, image_stem(name)) for name in names if suffix)
    return {name for name, stem in pairs if stem.endswith(suffix) and stem.removesuffix(suffix) in stems}


def _named(root: Path, names: Sequence[str]) -> tuple[list[Job], str]:
    """Return a job for each file, and a notice about names that keep their suffix to stay distinct."""
    called = {name: image_stem(name) for name in names}
    while True:
        counts = Counter(called.values())
        same = [name for name, stem in called.items() if counts[stem] > 1 and stem != name]
        if not same:
            break
        called |= {name: name for name in same}
    kept = [name for name, stem in called.items() if stem == name]
    text = f"{len(kept)} files are called alike but for their format, and keep it in their outputs' names: {listed(kept, 4)}"
    return [Job(root / name, name, stem) for name, stem in called.items()], text if kept else ""


def _pages(job: Job, channels: int) -> int | None:
    """Return the number of pages of a stack or volume; None for a single or unreadable image (reported later)."""
    file = job.file
    if not (nifti.is_nifti(file) or _named_tiff(file) or image_suffix(file.name).lower() == ".npy"):
        return None
    try:
        pages = page_count(file, job.orientation)
        if nifti.is_nifti(file):
            return pages
        as_channels = pages == channels and read_image(Source(file, 0, nodata="nan")).shape[2] == 1
        return None if pages == 1 or as_channels else pages
    except SegexpError:
        return None


def _placements(job: Job) -> tuple[Placement, ...]:
    """Return where the pictures of a TIFF file lie; rows and columns that were not turned on reading stay as they are."""
    found = page_placements(job.file) if _named_tiff(job.file) else ()
    return found if job.exif else tuple(replace(place, orientation=1) for place in found)


def _named_tiff(file: Path) -> bool:
    return image_suffix(file.name).lower() in (".tif", ".tiff")


def _left_out(names: set[str], why: str) -> str:
    ordered: list[str] = sorted(names, key=natural_key)
    return f"{len(names)} file{'s' if len(names) > 1 else ''} left out ({why}): {listed(ordered, 3)}" if names else ""


def _no_image(given: Path, root: Path, own: set[str], beside: set[str]) -> DataError:
    formats = ", ".join((*SUFFIXES, *nifti.ENDINGS))
    if not given.is_dir():
        found = f"input={given} is no picture that can be read, by its name"
    elif own or beside:
        reasons = [text for text in (_left_out(own, EARLIER), _left_out(beside, BESIDE)) if text]
        found = f"input={given} holds no image to predict; {'; '.join(reasons)}"
    else:
        there = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
        found = f"input={given} holds no image" + (f"; seen there: {listed(there)}" if there else "; it is empty")
    return DataError(
        found, f"Files ending in {formats}, at any depth, were expected", "Type input=DIR with the folder that holds them"
    )


FIRST = 8
"""Number of images checked."""
HANDFUL = 16
"""Number of distinct values or colours that is plausible for a mask but not for an image."""
ENOUGH = 1 << 20
"""Number of pixels checked per image."""


def refuse_masks(jobs: Sequence[Job], training: TrainingStats) -> None:
    """Refuse inputs whose first images look like masks, unless the training images did.

    Args:
        jobs: to be predicted.
        training: statistics of the training images.

    Raises:
        DataError: the images have only a few distinct values.
    """
    if not len(training.mean) or training.two_valued:
        return
    counts: dict[str, int] = {}
    for job in jobs[:FIRST]:
        try:
            counts[job.image] = different_values(read_image(job.sources[len(job.sources) // 2]))
        except SegexpError:  # reported when it is processed
            continue
        if counts[job.image] > HANDFUL:
            return
    if max(counts.values(), default=0) < 2:  # blank images are flagged, not refused
        return
    first = listed((f"{name} ({count})" for name, count in counts.items()), 3)
    files = f"The first {len(counts)} files hold" if len(counts) > 1 else "The file holds"
    raise DataError(
        f"{files} only a handful of different values, as masks do: {first}",
        "Images with many values, like those of the training, were expected",
        "Type input=DIR with the folder of the images; or check=false if these are the images",
    )


def different_values(image: Array) -> int:
    """Count the distinct values or colours of an image (H, W, C) in evenly spread pixels, up to `HANDFUL` + 1."""
    pixels = image.reshape(-1, image.shape[2])
    pixels = pixels[:: max(1, len(pixels) // ENOUGH)]
    found = 0
    while len(pixels) and found <= HANDFUL:
        found += 1
        pixels = pixels[(pixels != pixels[0]).any(axis=1)]
    return found
