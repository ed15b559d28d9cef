"""Recognise the layout of a folder of which nothing is known but where it is: the candidate that pairs most files is taken."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from segexp.data.files.images import SUFFIXES
from segexp.data.layout.candidates import Candidate, candidates
from segexp.data.layout.cases import find_cases, list_files
from segexp.data.layout.inventory import take_inventory
from segexp.data.layout.survey import channels_of, classes_of
from segexp.errors import DataError, listed

T = TypeVar("T")

DEPTH = 4
"""Folders below the root that are looked into."""

_EXAMPLE = (
    "'data.image=\"images/{id}.jpg\"' 'data.mask=\"masks/{id}_mask.png\"' 'data.classes={background: 0, foreground: 255}'"
)


@dataclass(frozen=True)
class Recognised:
    """What was found.

    Attributes:
        layout: the keys image, mask, groups, classes, ignore, threshold and channels of a data configuration.
        name: the layout in words.
        reason: why this one, in one or two sentences.
        unexplained: pictures that are no part of it.
        problems: what kept classes or channels from being found out; their keys are then None.
    """

    layout: dict[str, Any]
    name: str
    reason: str
    unexplained: tuple[str, ...] = ()
    problems: tuple[DataError, ...] = ()


def recognise(root: Path | str, *, strict: bool = True) -> Recognised:
    """Find out layout, classes and channels of the pictures below a folder.

    Args:
        root: the folder.
        strict: refuse a layout that is broken (a file without partner or that cannot be read, say); otherwise tell what can
            be told all the same.

    Raises:
        DataError: nothing, or more than one thing, fits; or what fits is broken.
    """
    root = Path(root)
    files = [name for name in list_files(root, DEPTH) if name.rpartition(".")[2].lower() in SUFFIXES]
    best, others = _best(root, files)
    cases = find_cases(root, best.image, best.mask) if strict else take_inventory(root, best.image, best.mask).cases
    problems: list[DataError] = []

    def found_out(ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except DataError as problem:
            if strict:
                raise
            problems.append(problem)
            return None

    classes = found_out(lambda: classes_of([case.masks for case in cases], strict))
    channels = found_out(lambda: channels_of([case.image for case in cases], strict))
    used = {source.path.relative_to(root).as_posix() for case in cases for source in (case.image, *case.masks)}
    rest = tuple(name for name in files if name not in used)
    layout = {
        "image": best.image,
        "mask": best.mask,
        "groups": "^(.*)/" if best.image.endswith("[{page}]") else None,
        "classes": classes.classes if classes else None,
        "ignore": classes.ignore if classes else [],
        "threshold": classes.threshold if classes else None,
        "channels": channels,
    }
    reason = (
        f"image={best.image} mask={best.mask} pairs {best.files} of {len(files)} picture files"
        + (f"; not used: {listed(rest, 4)}" if rest else "")
        + (f"; next best would pair {others[0].files}" if others else "")
        + f". {classes.reason if classes else 'The masks do not tell the classes'}"
    )
    return Recognised(layout, best.name, reason, rest, tuple(problems))


def _best(root: Path, files: list[str]) -> tuple[Candidate, list[Candidate]]:
    """Return the candidate that pairs most files, and the others, better ones first.

    Raises:
        DataError: there is none, it is not the only one as good, or it leaves out more than half of the pictures.
    """
    found = sorted(candidates(root, files), reverse=True)
    if not found:
        raise DataError(
            f"No known layout fits {root}; seen there: {listed(_samples(files) or ['no picture'], 6)}",
            "Images and masks in two folders, or side by side with an ending such as _mask, were expected",
            f"Describe it: data=paired_folders {_EXAMPLE}",
        )
    best = found[0]
    rivals = [other for other in found[1:] if (other.files, other.preference) == (best.files, best.preference)]
    if rivals:
        options = " or ".join(map(_typed, (best, *rivals[:2])))
        raise DataError(
            f"{root} fits {len(rivals) + 1} layouts equally well, {best.files} files each",
            "One image pattern and one mask pattern were expected",
            f"Type data=paired_folders {options}, with data.classes",
        )
    if 2 * best.files < len(files) and not best.image.endswith("[{id}]"):
        raise DataError(
            f"The best fit for {root}, {best.name}, pairs {best.files} of {len(files)} picture files",
            f"At least half were expected to be images and masks; seen there: {listed(_samples(files), 6)}",
            f"If it is right, type data=paired_folders {_typed(best)}, with data.classes",
        )
    return best, found[1:]


def _typed(candidate: Candidate) -> str:
    """Return what to type on a command line to get these patterns."""
    return f"'data.image=\"{candidate.image}\"' 'data.mask=\"{candidate.mask}\"'"


def _samples(files: list[str]) -> list[str]:
    """Return two names from each folder."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in files:
        by_folder[name.rpartition("/")[0]].append(name)
    return [name for names in by_folder.values() for name in names[:2]]
