"""Annotation files, recognised by their content and parsed once in each process.

A format is a module with `recognise(content)` and `parse(content)`.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from segexp.data.annotations import coco, labelme
from segexp.data.annotations.shapes import AnnotatedImage, Annotations
from segexp.errors import UnreadableError
from segexp.types import Source

FORMATS: tuple[ModuleType, ...] = (coco, labelme)
"""COCO and LabelMe."""

SUFFIX = ".json"

_CACHED = 8
_lock = threading.Lock()


def is_annotation(name: str | Path) -> bool:
    """Return whether a file has the ending of annotation files."""
    return str(name).lower().endswith(SUFFIX)


def read_annotations(path: Path) -> Annotations:
    """Return the content of an annotation file.

    Raises:
        UnreadableError: the file is missing, no JSON, of no known format, or wrong, which one sentence says.
    """
    return _read(path).content


def format_of(path: Path) -> ModuleType | None:
    """Return the format of a file, None for other JSON files.

    Raises:
        UnreadableError: it is of a known format and wrong.
    """
    try:
        return _read(path).format
    except UnreadableError as problem:
        if isinstance(problem.__cause__, _NoAnnotationsError):
            return None
        raise


def read_image_annotations(source: Source) -> AnnotatedImage:
    """Return the annotations of one image: an entry of a file, or its only one.

    Raises:
        UnreadableError: see `read_annotations`, or there is no such entry.
    """
    file = _read(source.path)
    if source.entry is None and len(file.content.images) == 1:
        return file.content.images[0]
    if source.entry is not None and source.entry in file.by_name:
        return file.by_name[source.entry]
    raise UnreadableError(
        f"{source.path} has {len(file.by_name)} images" + (f", and {source.entry} is none of them" if source.entry else ""),
        "One image was expected",
        "Name the file without {id}, so that its images are found by the names in it: 'data.mask=\"annotations.json\"'",
        file=str(source.path),
    )


@dataclass(frozen=True)
class _File:
    format: ModuleType
    content: Annotations
    by_name: Mapping[str, AnnotatedImage]


class _NoAnnotationsError(ValueError):
    """The file is no JSON, or of no known format."""


def _read(path: Path) -> _File:
    try:
        stat = path.stat()
        with _lock:  # several threads that read cases would each parse the file
            return _parse(path, stat.st_size, stat.st_mtime_ns)
    except FileNotFoundError:
        raise UnreadableError(f"{path} does not exist", do="Put the file back, or check data.mask", file=str(path)) from None
    except Exception as error:  # content of the right keys may hold anything
        reason = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise UnreadableError(
            f"{path} cannot be read ({reason})",
            "Annotations of COCO or LabelMe were expected",
            "Correct it with the tool that made it",
            file=str(path),
        ) from error


@lru_cache(maxsize=_CACHED)
def _parse(path: Path, _size: int, _time: int) -> _File:
    try:
        content: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise _NoAnnotationsError(f"it is no JSON: {error}") from error
    for each in FORMATS:
        if each.recognise(content):
            parsed: Annotations = each.parse(content)
            return _File(each, parsed, {image.name: image for image in parsed.images})
    raise _NoAnnotationsError("its keys are not those of annotations")
