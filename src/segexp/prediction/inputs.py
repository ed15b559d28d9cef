"""From what the user calls input to jobs with names. Files are listed and headers read; nothing is written."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from segexp.data.files import nifti
from segexp.data.files.images import SUFFIXES, page_count, read_image
from segexp.data.layout.cases import list_files
from segexp.data.layout.matching import natural
from segexp.errors import DataError, SegexpError, listed
from segexp.prediction.beside import Partners, masks_beside
from segexp.prediction.names import EXTRAS, ending_of, stem_of
from segexp.types import Source

EARLIER, BESIDE = "written by an earlier run", "masks of images here"
"""Why a file is left out."""


@dataclass(frozen=True)
class Job:
    """One file to predict.

    Attributes:
        file: where it is.
        image: its name relative to the input, with "/": how messages and the review call it.
        stem: what its outputs are called, folders included, without suffix and format.
        pages: how many pictures it holds one by one, as a stack or volume; None for a picture of its own.
    """

    file: Path
    image: str
    stem: str
    pages: int | None = None

    @property
    def volume(self) -> bool:
        """Whether it is a NIfTI volume."""
        return nifti.is_nifti(self.file)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Its pictures, in their order."""
        return (Source(self.file),) if self.pages is None else tuple(Source(self.file, page) for page in range(self.pages))

    def label(self, source: Source) -> str:
        """Return what the review calls one of its pictures."""
        return self.image if source.page is None else f"{self.image}[{source.page}]"


@dataclass(frozen=True)
class Earlier:
    """What tells that an earlier run wrote a file.

    Attributes:
        suffix: of the masks' names.
        folders: all output folders, resolved; what lies in them is no input, unless one is the input itself.
        files: masks that the reviews in those folders list, resolved.
    """

    suffix: str = ""
    folders: frozenset[Path] = frozenset()
    files: frozenset[Path] = frozenset()


@dataclass(frozen=True)
class Inventory:
    """What one input holds.

    Attributes:
        input: the folder or file.
        output: the folder of its masks.
        jobs: in natural order of their names (2 before 10).
        masks: names of the masks beside their images, which are left out, by the name of the image.
        notices: what a user should know, in sentences.
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


def take_stock(given: Path, output: Path, channels: int, data: Mapping[str, object], earlier: Earlier) -> Inventory:
    """List the pictures of one input.

    What lies in the output folder, masks beside their images, and what an earlier run wrote are no inputs; a file that is
    named itself always is.

    Args:
        given: a folder, looked through at any depth, or a file.
        output: the folder of its masks.
        channels: that the network takes; a TIFF file with just so many gray pages is one picture.
        data: the data section of the checkpoint's config.
        earlier: how to know what earlier runs wrote.

    Raises:
        DataError: the input does not exist, or holds no image.
    """
    if not given.exists():
        here = "" if given.is_absolute() else f" (from {Path.cwd()})"
        raise DataError(f"input={given} does not exist{here}", "A folder of pictures, or one, was expected", "Type input=DIR")
    root = given if given.is_dir() else given.parent
    names = _pictures(root)
    own = _written(root, names, earlier)
    masks = masks_beside(root, [name for name in names if name not in own], data)
    beside = {mask for partners in masks.values() for mask in partners}
    own |= _suffixed(names, earlier.suffix) - beside  # a mask that no review lists may be the truth
    if given.is_dir():
        chosen = [name for name in names if name not in own | beside]
    elif ending_of(given.name):
        chosen, own, beside = [given.name], set(), set()
    else:
        chosen = []
    if not chosen:
        raise _no_image(given, root, own, beside)
    left_out = [_left_out(own, EARLIER), _left_out(beside, BESIDE)]
    jobs, renamed = _named(root, sorted(chosen, key=natural))
    counted = tuple(replace(job, pages=_pages(job.file, channels)) for job in jobs)
    return Inventory(given, output, counted, masks, tuple(text for text in (*left_out, renamed) if text))


def _pictures(root: Path) -> list[str]:
    try:
        return [name for name in list_files(root, sys.maxsize) if ending_of(name)]
    except DataError:  # the folder holds no file at all
        return []


def _written(root: Path, names: Sequence[str], earlier: Earlier) -> set[str]:
    """Return the names that an earlier run wrote, because they lie in an output folder or a review lists them."""
    base = root.resolve()
    inside = [folder for folder in earlier.folders if folder != base and folder.is_relative_to(base)]
    if base in earlier.folders and earlier.files:
        inside += [base / extra for extra in EXTRAS]
    paths = {name: base / name for name in names}
    return {
        name for name, path in paths.items() if path in earlier.files or any(path.is_relative_to(folder) for folder in inside)
    }


def _suffixed(names: Sequence[str], suffix: str) -> set[str]:
    """Return the names that are another one's with the suffix."""
    stems = {stem_of(name) for name in names}
    pairs = ((name, stem_of(name)) for name in names if suffix)
    return {name for name, stem in pairs if stem.endswith(suffix) and stem.removesuffix(suffix) in stems}


def _named(root: Path, names: Sequence[str]) -> tuple[list[Job], str]:
    """Return a job for each file, and what is to be said about names that keep their format."""
    called = {name: stem_of(name) for name in names}
    while True:
        counts = Counter(called.values())
        same = [name for name, stem in called.items() if counts[stem] > 1 and stem != name]
        if not same:
            break
        called |= {name: name for name in same}
    kept = [name for name, stem in called.items() if stem == name]
    text = f"{len(kept)} files are called alike but for their format, and keep it in their outputs' names: {listed(kept, 4)}"
    return [Job(root / name, name, stem) for name, stem in called.items()], text if kept else ""


def _pages(file: Path, channels: int) -> int | None:
    """Return how many pictures of its own a file holds; None for one picture, also where it cannot be read (told later)."""
    if not (nifti.is_nifti(file) or ending_of(file.name).lower() in (".tif", ".tiff")):
        return None
    try:
        pages = page_count(file)
        if nifti.is_nifti(file):
            return pages
        as_channels = pages == channels and read_image(Source(file, 0)).shape[2] == 1
        return None if pages == 1 or as_channels else pages
    except SegexpError:
        return None


def _left_out(names: set[str], why: str) -> str:
    ordered: list[str] = sorted(names, key=natural)
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
