"""Suggest patterns for a folder whose layout is unknown, from the names of its files and the values of a few of them."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from pathlib import Path

import numpy as np

from segexp.config.overrides import shell_words
from segexp.data.io import nifti, npy
from segexp.data.io.images import SUFFIXES, page_count, read_mask
from segexp.data.layout.templates import Key, folder_templates, mask_rank
from segexp.errors import DataError
from segexp.types import Source

LOOKED_AT = 3
"""Number of files of each side whose values are looked at."""


@dataclass(frozen=True)
class Suggestion:
    """Patterns that pair files of a folder.

    Attributes:
        image: pattern of the images.
        mask: pattern of the masks.
        pairs: number of pairs of files.
        groups: value for data.groups, or None.
        plain: share of the pixels of a few masks with one of the two most frequent values; small for photographs.
    """

    image: str
    mask: str
    pairs: int
    groups: str | None = None
    plain: float = 0.0

    @property
    def overrides(self) -> str:
        """The patterns as typed on the command line."""
        groups = {"data.groups": self.groups} if self.groups else {}
        return shell_words({"data.image": self.image, "data.mask": self.mask, **groups})


@dataclass(frozen=True)
class _Side:
    """Files of one format in the folders of a template; their ids are what is left without a prefix and a suffix."""

    template: str
    ending: str
    files: tuple[tuple[Key, str], ...]
    prefix: str = ""
    suffix: str = ""

    @cached_property
    def names(self) -> dict[Key, str]:
        """File names by the field values of the template and the id."""
        found = {}
        for values, name in self.files:
            stem = name.rpartition("/")[2][: -len(self.ending) - 1]
            if stem.startswith(self.prefix) and stem.endswith(self.suffix) and len(stem) > len(self.prefix + self.suffix):
                found[(*values, stem.removeprefix(self.prefix).removesuffix(self.suffix))] = name
        return found

    @property
    def pattern(self) -> str:
        """The pattern of the files."""
        return f"{self.template}/".lstrip("/") + f"{self.prefix}{{id}}{self.suffix}.{self.ending}"

    @property
    def fields(self) -> list[str]:
        """Fields of the template."""
        return [field for field in ("{split}", "{group}") if field in self.template]

    def stripped(self) -> "_Side":
        """Return the side without what all names begin and end with."""
        ids = [key[-1] for key in self.names]
        prefix = _shared_start(ids)
        suffix = _shared_start([id_.removeprefix(prefix)[::-1] for id_ in ids])[::-1]
        return replace(self, prefix=prefix, suffix=suffix) if len(ids) > 1 else self

    def with_ending_of(self, other: "_Side") -> "_Side":
        """Return `other` with the ending that most of its names add to a name of this side."""
        ends = Counter(id_[k:] for *values, id_ in other.names for k in range(1, len(id_)) if (*values, id_[:k]) in self.names)
        return replace(other, suffix=max(ends, key=lambda end: (ends[end], len(end)), default=""))

    def mask_evidence(self, root: Path, keys: Sequence[Key]) -> tuple[float, int]:
        """Return the share of pixels with one of the two most frequent values, and how clearly the folder is named."""
        shares = []
        for key in keys:
            try:
                counts = np.unique(read_mask(Source(root / self.names[key], 0)), return_counts=True)[1]
            except (DataError, IndexError):
                continue
            shares.append(np.sort(counts)[-2:].sum() / counts.sum())
        return round(float(np.mean(shares)), 2) if shares else 0.0, mask_rank(self.template)


def root_override(root: Path | str) -> str:
    """Return data=auto with its folder as typed on the command line."""
    return f"data=auto {shell_words({'data.root': os.fspath(root)})}"


def _shared_start(texts: Sequence[str]) -> str:
    """Return the characters with which all texts begin."""
    first, last = min(texts), max(texts)
    return first[: next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def is_image_name(name: str) -> bool:
    """Return whether a file has the extension of an image or a volume."""
    return _ending(name) != ""


def picture_names(root: Path, files: Iterable[str]) -> list[str]:
    """Return the files with the extension of an image or a volume, without `NAME_seg.npy` of Cellpose and its like."""
    return [name for name in files if is_image_name(name) and not npy.holds_objects(root, name)]


def suggest_patterns(root: Path | str, files: Sequence[str]) -> Suggestion | None:
    """Return the patterns that pair most of the files, None if they leave out more than half of them.

    Names of a pair may be equal, may differ in what all of a side share ("01" and "labels0001"), or the mask adds an ending to
    the name of its image. Of two sides the masks are those with fewer values.

    Args:
        root: the folder.
        files: names relative to it; others than images are skipped.
    """
    root = Path(root)
    names = picture_names(root, files)
    found = ((len(one.names.keys() & other.names.keys()), one, other) for one, other in _pairings(_sides(names)))
    best = max(found, key=lambda each: (each[0], "{group}" not in each[1].fields), default=None)
    if best is None or 4 * best[0] < max(len(names), 4):
        return None
    count, one, other = best
    keys = sorted(one.names.keys() & other.names.keys())[:LOOKED_AT]
    evidence = other.mask_evidence(root, keys)
    if not (other.suffix and not one.suffix) and one.mask_evidence(root, keys) > evidence:
        one, other, evidence = other, one, one.mask_evidence(root, keys)
    paged = all(_pages(root / side.names[keys[0]]) > 1 for side in (one, other))
    image, mask = (side.pattern + "[{page}]" * paged for side in (one, other))
    return Suggestion(image, mask, count, "^(.*)/" if paged and count > 1 else None, evidence[0])


def _sides(names: Sequence[str]) -> list[_Side]:
    found = []
    for folder in folder_templates(list(names)):
        by_ending: dict[str, list[tuple[Key, str]]] = defaultdict(list)
        for values, name in folder.files:
            by_ending[_ending(name)].append((values, name))
        found += [_Side(folder.template, ending, tuple(own)) for ending, own in by_ending.items()]
    return found


def _pairings(sides: Sequence[_Side]) -> Iterator[tuple[_Side, _Side]]:
    """Yield what may be images and masks; the simplest names come first."""
    alike = [(one, other) for one, other in combinations(sides, 2) if one.fields == other.fields]
    yield from alike
    longer = [(one, one.with_ending_of(other)) for one, other in product(sides, repeat=2) if one.fields == other.fields]
    yield from ((one, other) for one, other in longer if other.suffix)
    yield from ((one.stripped(), other.stripped()) for one, other in alike)


def _ending(name: str) -> str:
    """Return the extension as written, "" if it is not that of an image or a volume."""
    known = (*sorted(nifti.ENDINGS, key=len, reverse=True), *SUFFIXES)
    return next((name[-len(end) :] for end in known if name.lower().endswith(f".{end}")), "")


def _pages(path: Path) -> int:
    try:
        return page_count(path)
    except DataError:
        return 1
