"""Pair files like `find_cases`, but collect all problems instead of raising the first."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segexp.data.io.images import SUFFIXES
from segexp.data.layout.groups import grouped
from segexp.data.layout.pairing import (
    assembled,
    expected_mask,
    list_files,
    lone,
    partners,
    same_pages,
    shared_fields,
    unlabelled,
)
from segexp.data.layout.patterns import FIELDS, Match, Pattern, matches, parse, parse_masks, twins
from segexp.errors import DataError
from segexp.types import Case, Source

DEPTH = 4
"""Depth below the root at which unused files are searched."""


@dataclass(frozen=True)
class Inventory:
    """Files of a data set.

    Attributes:
        cases: images with at least one mask, in natural order of their ids.
        lone_images: images without a mask.
        lone_masks: masks without an image.
        expected: expected name of the mask of the first lone image; "" if there is none.
        unlabelled: images of a test split without any mask, which training leaves out.
        unused: image files that match no pattern.
        problems: duplicate ids, unknown splits, unreadable stacks, stacks of different length, missing groups.
    """

    cases: tuple[Case, ...]
    lone_images: tuple[str, ...] = ()
    lone_masks: tuple[str, ...] = ()
    expected: str = ""
    unlabelled: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    problems: tuple[DataError, ...] = ()


def take_inventory(
    root: Path | str,
    image: str,
    mask: str | Mapping[str, str],
    *,
    groups: Mapping[str, Any] | str | None = None,
    optional: Collection[str] = (),
) -> Inventory:
    """Pair the images below a folder with their masks as `find_cases` does, collecting problems.

    Raises:
        DataError: the folder is missing or empty.
        ConfigError: a pattern is wrong, the two share no field, or `groups` is malformed.
    """
    root = Path(root)
    images, patterns = parse(image, "data.image"), parse_masks(mask)
    shared = {name: shared_fields(images, pattern) for name, pattern in patterns.items()}
    files = list_files(root, max(images.depth, *(pattern.depth for pattern in patterns.values()), DEPTH))
    problems: list[DataError] = []
    found = matches(root, files, images, list(patterns.values()), problems)
    masks: dict[str, list[Match]] = {}
    for name, pattern in patterns.items():
        others = [other for other in patterns.values() if other is not pattern]
        masks[name] = matches(root, files, pattern, [images, *others], problems)
    used = {match.source.path.relative_to(root).as_posix() for side in (found, *masks.values()) for match in side}
    found = _first_of_twins(found, images, list(FIELDS), problems)
    sides: dict[str, _Side] = {}
    for name, pattern in patterns.items():
        found = _first_of_twins(found, images, shared[name], problems)
        if not pattern.many:
            masks[name] = _first_of_twins(masks[name], pattern, shared[name], problems)
        sides[name] = _side(found, masks[name], shared[name], images, pattern, name in optional, problems)
    cases = assembled(found, {name: side.sources for name, side in sides.items()})
    return Inventory(
        cases=tuple(_with_groups(cases, groups, root, problems)),
        lone_images=_names(match for side in sides.values() for match in side.lone_images),
        lone_masks=_names(match for side in sides.values() for match in side.lone_masks),
        expected=next((side.expected for side in sides.values() if side.expected), ""),
        unlabelled=_names(match for side in sides.values() for match in side.unlabelled),
        unused=tuple(name for name in files if name not in used and name.rpartition(".")[2].lower() in SUFFIXES),
        problems=tuple(problems),
    )


@dataclass(frozen=True)
class _Side:
    """Result of one mask pattern; `sources` holds the masks of usable cases by id."""

    lone_images: list[Match]
    lone_masks: list[Match]
    expected: str
    unlabelled: list[Match]
    sources: dict[str, tuple[Source, ...]]


def _side(
    found: list[Match],
    masks: list[Match],
    shared: list[str],
    images: Pattern,
    pattern: Pattern,
    optional: bool,
    problems: list[DataError],
) -> _Side:
    set_aside = [] if optional else unlabelled(found, masks, shared)
    labelled = [match for match in found if not (set_aside and match.fields["split"] == "test")]
    try:
        same_pages(labelled, masks, shared, images, pattern)
    except DataError as problem:
        problems.append(problem)
    lone_images, lone_masks = lone(labelled, masks, shared)
    if optional:
        lone_images = []
    sources = {id_: own for id_, own in partners(labelled, masks, shared).items() if own or optional}
    expected = expected_mask(lone_images[0], images, pattern) if lone_images else ""
    return _Side(lone_images, lone_masks, expected, set_aside, sources)


def _names(found: Iterable[Match]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(match.name for match in found))


def _first_of_twins(found: list[Match], pattern: Pattern, names: list[str], problems: list[DataError]) -> list[Match]:
    """Keep the first file of each id, and collect the duplicates."""
    problems += twins(found, pattern, names)
    first: dict[tuple[str, ...], Match] = {}
    ordered = [name for name in names if name in pattern.fields]
    for match in found:
        first.setdefault(match.key(ordered), match)
    return list(first.values())


def _with_groups(
    cases: list[Case], groups: Mapping[str, Any] | str | None, root: Path, problems: list[DataError]
) -> list[Case]:
    if groups is None or not cases:
        return cases
    try:
        of = grouped([case.id for case in cases], groups, root)
    except DataError as problem:
        problems.append(problem)
        return cases
    return [replace(case, group=of[case.id]) for case in cases]
