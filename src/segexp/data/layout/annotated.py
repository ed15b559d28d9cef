"""Annotation files that list many images: which image an entry is of, and which patterns fit a folder."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from segexp.data.annotations.files import format_of, is_annotation, read_annotations
from segexp.data.layout.patterns import SPLITS, Match, Pattern
from segexp.data.layout.templates import folder_templates
from segexp.errors import DataError, UnreadableError, listed

SHOWN = 4
LOOKED_AT = 3
"""Number of files beside images that are looked at to know their format."""

_SPLIT_WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?![a-z])", re.IGNORECASE)


class ImageNames:
    """Finds image files by the names that annotation files give them."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take the names relative to the root, with "/"."""
        self.names = set(names)
        self.by_base: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self.names):
            self.by_base[posixpath.basename(name)].append(name)

    def find(self, entry: str, file: str) -> str | None:
        """Return the image of an entry of a file, None if there is none.

        It is found by its path from the root or from the file, else by the end of its path, else by its name alone.

        Raises:
            DataError: several images have this name.
        """
        path = posixpath.normpath(entry.replace("\\", "/"))
        for whole in (path, posixpath.normpath(posixpath.join(posixpath.dirname(file), path))):
            if whole in self.names:
                return whole
        alike = self.by_base.get(posixpath.basename(path), [])
        options = [name for name in alike if name.endswith(f"/{path}")] or alike
        if len(options) > 1:
            raise DataError(
                f"{file} names the image {entry}, and {listed(options, SHOWN)} are called so",
                "A name that only one image has, or its path from data.root, was expected",
                "Write the paths into the annotation file, or name one folder in data.image, or {split} in both patterns",
            )
        return options[0] if options else None


def match_entries(
    files: Iterable[Match], found: Sequence[Match], exclude: Collection[str], problems: list[DataError]
) -> list[Match]:
    """Return the entries of annotation files with the fields of the images that they are of.

    Args:
        files: the annotation files.
        found: the images.
        exclude: names of images whose entries are skipped.
        problems: collects those of files and entries, which are then skipped.
    """
    entries: list[Match] = []
    for file in files:
        try:
            images = read_annotations(file.source.path).images
        except UnreadableError as problem:  # leaving the file out would leave out everything
            problems.append(DataError(problem.found, problem.expected, problem.do))
            continue
        own = {each.name: each for each in found if file.fields.items() <= {**file.fields, **each.fields}.items()}
        names = ImageNames([*own, *exclude])
        for image in images:
            try:
                name = names.find(image.name, file.name)
            except DataError as problem:
                problems.append(problem)
                continue
            if name is None or name in own:
                of = own[name].fields if name else {field: image.name for each in found[:1] for field in each.fields}
                source = replace(file.source, entry=image.name)
                entries.append(Match(f"{file.name}[{image.name}]", {**of, **file.fields}, source))
    return entries


def add_splits(found: list[Match], masks: Iterable[Match], images: Pattern) -> list[Match]:
    """Return the images with the split of the annotation file that lists them, where their own pattern has none."""
    if "split" in images.fields:
        return found
    splits = {each.key(images.fields): {"split": each.fields["split"]} for each in masks if "split" in each.fields}
    return [replace(each, fields={**each.fields, **splits.get(each.key(images.fields), {})}) for each in found]


@dataclass(frozen=True)
class AnnotatedLayout:
    """Two patterns, the number of images that they give annotations, and a description."""

    images: int
    image: str
    mask: str
    name: str

    @property
    def preference(self) -> tuple[int, ...]:
        """Of two layouts with as many images, the one with the higher tuple is taken."""
        return self.mask.count("{split}"), 0, 0, -self.image.count("{group}"), int("instances" in self.mask)


def annotated_layouts(root: Path, pictures: Sequence[str], seen: Sequence[str]) -> Iterator[AnnotatedLayout]:
    """Yield the layouts of pictures with annotation files among all files that are `seen`."""
    files = [name for name in seen if is_annotation(name)]
    if not (files and pictures):
        return
    stems = {_stem(name) for name in pictures}
    yield from _one_for_each(root, pictures, files)
    yield from _one_for_many(root, pictures, [name for name in files if _stem(name) not in stems])


def _stem(name: str) -> str:
    return posixpath.basename(name).rpartition(".")[0]


def _one_for_each(root: Path, pictures: Sequence[str], files: Sequence[str]) -> Iterator[AnnotatedLayout]:
    """Pair `{id}.png` with `{id}.json`."""
    for images, jsons in product(folder_templates(list(pictures)), folder_templates(list(files))):
        if images.holes != jsons.holes:
            continue
        pairs = sorted(images.ending("").keys() & jsons.ending("").keys())
        if pairs and all(_is_of_one(root / jsons.ending("")[key]) for key in pairs[:LOOKED_AT]):
            image = f"{images.prefix}{{id}}.{formats_of(images.ending('')[key] for key in pairs)}"
            yield AnnotatedLayout(len(pairs), image, f"{jsons.prefix}{{id}}.json", "a file of shapes for each image")


def _is_of_one(path: Path) -> bool:
    try:
        return format_of(path) is not None and len(read_annotations(path).images) == 1
    except UnreadableError:  # of a known format, and broken: said when it is read
        return True


def _one_for_many(root: Path, pictures: Sequence[str], files: Sequence[str]) -> Iterator[AnnotatedLayout]:
    """Find the images of files that list many; those of train, val and test go together."""
    names = ImageNames(pictures)
    of_file = {name: found for name in files if (found := _listed_images(root, name, names))}
    families: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for file, found in of_file.items():
        families[_SPLIT_WORD.sub("{split}", file, count=1)][file] = found
    for template, members in families.items():
        if len(members) > 1:
            image = _image_pattern([name for found in members.values() for name in found], with_split=True)
            count = sum(map(len, members.values()))
            yield AnnotatedLayout(count, image, template, "a file of shapes for the images of each split")
        for file, found in members.items():
            yield AnnotatedLayout(len(found), _image_pattern(found), file, "one file of shapes for all images")


def _listed_images(root: Path, file: str, names: ImageNames) -> list[str]:
    """Return the images that a file lists, [] for other files and one that cannot be read."""
    try:
        if format_of(root / file) is None:
            return []
        found = (names.find(image.name, file) for image in read_annotations(root / file).images)
        return list(dict.fromkeys(name for name in found if name is not None))
    except DataError:
        return []


def _image_pattern(images: Sequence[str], with_split: bool = False) -> str:
    """Return the pattern of some images: of one folder for each split, or of the most common template of folders."""
    folders = {posixpath.dirname(name) for name in images}
    split = {_SPLIT_WORD.sub("{split}", folder, count=1) for folder in folders}
    if with_split and len(folders) > 1 and len(split) == 1:
        prefix = f"{split.pop()}/"
    else:
        prefix = max(folder_templates(list(images)), key=lambda each: (len(each.files), "{group}" not in each.template)).prefix
    return f"{prefix}{{id}}.{formats_of(images)}"


def formats_of(names: Iterable[str]) -> str:
    """Return the extension, or alternatives in braces."""
    endings = sorted({name.rpartition(".")[2].lower() for name in names})
    return endings[0] if len(endings) == 1 else f"{{{','.join(endings)}}}"
