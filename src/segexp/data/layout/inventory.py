"""What lies in a folder, with everything that is wrong about it, where `find_cases` would stop at the first problem."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segexp.data.files.images import SUFFIXES
from segexp.data.layout.cases import list_files
from segexp.data.layout.groups import grouped
from segexp.data.layout.matching import Match, matches, natural, twins
from segexp.data.layout.pairing import expected_mask, lone, partners, same_pages, shared_fields, unlabelled
from segexp.data.layout.patterns import FIELDS, Pattern, parse
from segexp.errors import DataError
from segexp.types import Case

DEPTH = 4
"""Folders below the root in which pictures that no pattern fits are looked for."""


@dataclass(frozen=True)
class Inventory:
    """The files of a data set.

    Attributes:
        cases: images with at least one mask, in natural order of their ids.
        lone_images: images without a mask.
        lone_masks: masks without an image.
        expected: the name that the mask of the first lone image would have; "" without one.
        unlabelled: images of a test split that has no mask at all, as in challenges; training leaves them out.
        unused: pictures that neither pattern fits.
        problems: files that cannot be placed: two with one id, a folder that is no split, a stack that cannot be opened,
            stacks of different length, groups that do not cover all cases.
    """

    cases: tuple[Case, ...]
    lone_images: tuple[str, ...] = ()
    lone_masks: tuple[str, ...] = ()
    expected: str = ""
    unlabelled: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    problems: tuple[DataError, ...] = ()


def take_inventory(root: Path | str, image: str, mask: str, *, groups: Mapping[str, Any] | str | None = None) -> Inventory:
    """Pair the images below a folder with their masks as `find_cases` does, but go on whatever is met.

    Raises:
        DataError: the folder is missing or empty.
        ConfigError: a pattern is wrong, the two have no field in common, or `groups` is written wrongly.
    """
    root = Path(root)
    images, masks = parse(image, "data.image"), parse(mask, "data.mask")
    shared = shared_fields(images, masks)
    files = list_files(root, max(images.depth, masks.depth, DEPTH))
    problems: list[DataError] = []
    found = matches(root, files, images, masks, problems)
    found_masks = matches(root, files, masks, images, problems)
    used = {match.source.path.relative_to(root).as_posix() for match in (*found, *found_masks)}
    found = _first_of_twins(found, images, list(FIELDS), problems)
    found = _first_of_twins(found, images, shared, problems)
    if not masks.many:
        found_masks = _first_of_twins(found_masks, masks, shared, problems)
    set_aside = unlabelled(found, found_masks, shared)
    labelled = [match for match in found if not (set_aside and match.fields["split"] == "test")]
    try:
        same_pages(labelled, found_masks, shared, images, masks)
    except DataError as problem:
        problems.append(problem)
    lone_images, lone_masks = lone(labelled, found_masks, shared)
    sources = partners(labelled, found_masks, shared)
    cases = [
        Case(match.id, match.source, sources[match.id], match.fields.get("split"), match.fields.get("group"))
        for match in sorted(labelled, key=lambda match: natural(match.id))
        if sources[match.id]
    ]
    return Inventory(
        cases=tuple(_with_groups(cases, groups, root, problems)),
        lone_images=tuple(match.name for match in lone_images),
        lone_masks=tuple(match.name for match in lone_masks),
        expected=expected_mask(lone_images[0], images, masks) if lone_images else "",
        unlabelled=tuple(match.name for match in set_aside),
        unused=tuple(name for name in files if name not in used and name.rpartition(".")[2].lower() in SUFFIXES),
        problems=tuple(problems),
    )


def _first_of_twins(found: list[Match], pattern: Pattern, names: list[str], problems: list[DataError]) -> list[Match]:
    """Keep the first of the files that have one id, and note the others."""
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
