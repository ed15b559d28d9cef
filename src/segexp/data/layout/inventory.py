"""Pair files like `find_cases`, but collect all problems instead of raising the first."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segexp.data.io import nifti
from segexp.data.layout.annotated import add_splits
from segexp.data.layout.groups import assign_groups
from segexp.data.layout.pairing import (
    assemble_cases,
    better_patterns,
    check_page_counts,
    expected_mask,
    list_files,
    masks_by_case,
    match_masks,
    misread_id,
    shared_fields,
    unlabelled_test_images,
    unmatched_files,
    without_excluded,
)
from segexp.data.layout.patterns import FIELDS, Match, Pattern, duplicate_ids, match_files, parse_masks, parse_pattern
from segexp.data.layout.suggested_patterns import Suggestion, picture_names
from segexp.data.spacing import place_masks
from segexp.errors import DataError
from segexp.types import Case

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
        misread: how a pattern with `*` reads the id of the first lone mask; "" if there is none.
        better: patterns that pair more files; None if nothing is known.
        unlabelled: images of a test split without any mask, which training leaves out.
        unused: image files that match no pattern.
        problems: duplicate ids, unknown splits, unreadable stacks, stacks of different length, misplaced masks, missing groups.
        unplaced: mask volumes that are laid on their images by index, since a header gives no position.
    """

    cases: tuple[Case, ...]
    lone_images: tuple[str, ...] = ()
    lone_masks: tuple[str, ...] = ()
    expected: str = ""
    misread: str = ""
    better: Suggestion | None = None
    unlabelled: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    problems: tuple[DataError, ...] = ()
    unplaced: tuple[str, ...] = ()


def take_inventory(
    root: Path | str,
    image: str,
    mask: str | Mapping[str, str],
    *,
    groups: Mapping[str, Any] | str | None = None,
    optional: Collection[str] = (),
    exclude: Sequence[str] = (),
    orientation: str | None = None,
    exif: str = "apply",
) -> Inventory:
    """Pair the images below a folder with their masks as `find_cases` does, collecting problems.

    Raises:
        DataError: the folder is missing or empty.
        ConfigError: a pattern is wrong, the two share no field, or `groups` is malformed.
    """
    root = Path(root)
    images = parse_pattern(image, "data.image", orientation)
    patterns = parse_masks(mask, images, orientation)
    shared = {name: shared_fields(images, pattern) for name, pattern in patterns.items()}
    files = list_files(root, max(images.depth, *(pattern.depth for pattern in patterns.values()), DEPTH))
    files = without_excluded(files, exclude, images, patterns.values())
    problems: list[DataError] = []
    found = match_files(root, files, images, list(patterns.values()), problems)
    masks = match_masks(root, files, images, patterns, problems, found, exclude)
    found = add_splits(found, (match for each in masks.values() for match in each if match.source.entry), images)
    used = {match.source.path.relative_to(root).as_posix() for side in (found, *masks.values()) for match in side}
    found = _first_of_twins(found, images, list(FIELDS), problems)
    lone_images: list[Match] = []
    lone_masks: list[Match] = []
    set_aside: list[Match] = []
    expected, misread, of_class = "", "", {}
    for name, pattern in patterns.items():
        found = _first_of_twins(found, images, shared[name], problems)
        if not pattern.many:
            masks[name] = _first_of_twins(masks[name], pattern, shared[name], problems)
        aside = [] if name in optional else unlabelled_test_images(found, masks[name], shared[name])
        labelled = [match for match in found if not (aside and match.fields["split"] == "test")]
        try:
            check_page_counts(labelled, masks[name], shared[name], images, pattern)
        except DataError as problem:
            problems.append(problem)
        without, without_image = unmatched_files(labelled, masks[name], shared[name])
        if name not in optional:
            expected = expected or (expected_mask(without[0], images, pattern) if without else "")
            lone_images += without
        misread = misread or misread_id(without_image, pattern)
        lone_masks += without_image
        set_aside += aside
        sources = masks_by_case(labelled, masks[name], shared[name])
        of_class[name] = {id_: own for id_, own in sources.items() if own or name in optional}
    unplaced: set[Path] = set()
    paired = place_masks(assemble_cases(found, of_class), problems, unplaced, exif)
    cases = _with_groups(paired, groups, root, problems)
    alone = "" in patterns and ((lone_images and lone_masks) or not cases)
    return Inventory(
        cases=tuple(cases),
        lone_images=_names(lone_images),
        lone_masks=_names(lone_masks),
        expected=expected,
        misread=misread,
        better=better_patterns(root, files, len(cases)) if alone else None,
        unlabelled=_names(set_aside),
        unused=tuple(name for name in picture_names(root, files) if name not in used and not nifti.is_nifti(Path(name))),
        problems=tuple(problems),
        unplaced=tuple(sorted(path.relative_to(root).as_posix() for path in unplaced)),
    )


def _names(found: Iterable[Match]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(match.name for match in found))


def _first_of_twins(found: list[Match], pattern: Pattern, names: list[str], problems: list[DataError]) -> list[Match]:
    """Keep the first file of each id, and collect the duplicates."""
    problems += duplicate_ids(found, pattern, names)
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
        of = assign_groups([case.id for case in cases], groups, root)
    except DataError as problem:
        problems.append(problem)
        return cases
    return [replace(case, group=of[case.id]) for case in cases]
