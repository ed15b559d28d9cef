"""Pair images and masks by the fields they share."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from segexp.config.overrides import shell_words
from segexp.config.schema import DataConfig
from segexp.data.annotations.files import is_annotation
from segexp.data.damaged import UnreadableFilesError
from segexp.data.io.images import SUFFIXES
from segexp.data.io.nifti import is_nifti
from segexp.data.layout.annotated import add_splits, match_entries
from segexp.data.layout.groups import assign_groups
from segexp.data.layout.patterns import (
    FIELDS,
    SPLITS,
    Match,
    Pattern,
    check_unique,
    match_files,
    natural_key,
    owner,
    parse_masks,
    parse_pattern,
)
from segexp.data.layout.suggested_patterns import Suggestion, root_override, suggest_patterns
from segexp.data.spacing import place_masks
from segexp.errors import ConfigError, DataError, UnreadableError, listed
from segexp.types import Case, Source

SHOWN = 10
"""Maximum number of unmatched files named in a message."""

_log = logging.getLogger(__name__)


def pair_masks(
    root: Path,
    found: list[Match],
    found_masks: list[Match],
    images: Pattern,
    masks: Pattern,
    strict: bool,
    optional: bool = False,
) -> dict[str, tuple[Source, ...]]:
    """Return the masks of each case by id, without images of an unlabelled test split.

    Args:
        root: the folder.
        found: the images.
        found_masks: the masks (of one class).
        images: pattern of the images.
        masks: pattern of the masks.
        strict: every image must have a mask and every mask an image.
        optional: an image need not have a mask.

    Raises:
        DataError: see `find_cases`.
    """
    shared = shared_fields(images, masks)
    if not masks.many:
        check_unique(found_masks, masks, shared)
    if optional and not found_masks:
        raise DataError(
            f"No file below {root} matches {masks.key}={masks.text}",
            "A class without a file in some cases has one in others",
            "Correct the pattern, or remove the class from data.classes and data.mask",
        )
    if strict:
        if not optional and (set_aside := unlabelled_test_images(found, found_masks, shared)):
            _log.warning("The test split has no masks: its %d images are left out.", len(set_aside))
            found = [match for match in found if match.fields["split"] != "test"]
        check_page_counts(found, found_masks, shared, images, masks)
        _check_partners(root, found, found_masks, shared, images, masks, optional)
    return masks_by_case(found, found_masks, shared)


def assemble_cases(found: Iterable[Match], of_class: Mapping[str, Mapping[str, tuple[Source, ...]]]) -> list[Case]:
    """Return the cases with masks of all classes ("" for exclusive classes), in natural order of their ids."""
    return [
        Case(
            match.id,
            match.source,
            tuple(source for pairs in of_class.values() for source in pairs[match.id]),
            match.fields.get("split"),
            match.fields.get("group"),
            tuple(name for name, pairs in of_class.items() if name for _ in pairs[match.id]),
        )
        for match in sorted(found, key=lambda match: natural_key(match.id))
        if all(match.id in pairs for pairs in of_class.values())
    ]


def shared_fields(images: Pattern, masks: Pattern) -> list[str]:
    """Return the fields of both patterns.

    Raises:
        ConfigError: there is none.
    """
    shared = [name for name in FIELDS if name in images.fields and name in masks.fields]
    if not shared:
        raise ConfigError(
            f"data.image={images.text} and {masks.key}={masks.text} have no field in common",
            "A field that both have, {id} as a rule, pairs them",
            "Write {id} into both",
        )
    return shared


def masks_by_case(found: list[Match], masks: list[Match], shared: list[str]) -> dict[str, tuple[Source, ...]]:
    """Return the masks of each image by case id, in natural order."""
    by_key: dict[tuple[str, ...], list[Match]] = defaultdict(list)
    for match in masks:
        by_key[match.key(shared)].append(match)
    return {
        match.id: tuple(mask.source for mask in sorted(by_key.get(match.key(shared), ()), key=lambda m: natural_key(m.name)))
        for match in found
    }


def unmatched_files(found: list[Match], masks: list[Match], shared: list[str]) -> tuple[list[Match], list[Match]]:
    """Return images without a mask and masks without an image."""
    keys, mask_keys = ({match.key(shared) for match in matched} for matched in (found, masks))
    lone_masks: dict[tuple[str, ...], list[Match]] = defaultdict(list)
    for match in masks:
        if match.key(shared) not in keys:
            lone_masks[match.key(shared)].append(match)
    lone_images = [match for match in found if match.key(shared) not in mask_keys]
    return lone_images, [match for group in lone_masks.values() for match in group]


def expected_mask(image: Match, images: Pattern, masks: Pattern) -> str:
    """Return the expected name of the mask of an image."""
    if masks.lists_images:
        return f"an entry of {masks.text}"
    words = images.match(image.name.removesuffix(f"[{image.source.page}]")) or {}
    return masks.fill(image.fields | words)


def misread_id(lone_masks: Sequence[Match], masks: Pattern) -> str:
    """Return how a pattern such as `{id}_*.png` reads the id of the first mask without an image; "" for other patterns."""
    if not lone_masks or not re.search(r"\{id\}[^/]*\*", masks.text):
        return ""
    return f" ({{id}} in {masks.key}={masks.text} is read as {lone_masks[0].fields['id']} from {lone_masks[0].name})"


def better_patterns(root: Path, files: Sequence[str], pairs: int) -> Suggestion | None:
    """Return patterns that pair more than `pairs` files, None if nothing is known."""
    suggested = suggest_patterns(root, files)
    return suggested if suggested and suggested.pairs > pairs else None


def unlabelled_test_images(found: list[Match], masks: list[Match], shared: list[str]) -> list[Match]:
    """Return the images of a test split without any mask, as in challenges."""
    if "split" not in shared or not masks or any(match.fields["split"] == "test" for match in masks):
        return []
    return [match for match in found if match.fields["split"] == "test"]


def _check_partners(
    root: Path,
    found: list[Match],
    found_masks: list[Match],
    shared: list[str],
    images: Pattern,
    masks: Pattern,
    optional: bool,
) -> None:
    check_unique(found, replace(images, fields=frozenset(shared)))
    lone_images, lone_masks = unmatched_files(found, found_masks, shared)
    lone_images = [] if optional else lone_images
    if not (lone_images or lone_masks):
        return
    parts, missing = [], ""
    if lone_images:
        if name := masks.of_class:
            missing = (
                f"; or type {shell_words({'data.optional_masks': [name]})} if {name} is not there where its file is missing"
            )
        parts.append(
            f"{len(lone_images)} of {len(found)} images have no mask{f' of {name}' if name else ''}: "
            f"{listed((m.name for m in lone_images), SHOWN)} "
            f"(for {lone_images[0].name} it would be {expected_mask(lone_images[0], images, masks)})"
        )
    if lone_masks:
        shown = listed((m.name for m in lone_masks), SHOWN)
        parts.append(f"{len(lone_masks)} masks have no image: {shown}{misread_id(lone_masks, masks)}")
    better = None
    if lone_images and lone_masks:
        names = dict.fromkeys(match.source.path.relative_to(root).as_posix() for match in (*found, *found_masks))
        better = better_patterns(root, list(names), len(found) - len(lone_images))
    raise DataError(
        "; ".join(parts),
        f"data.image={images.text} and {masks.key}={masks.text} pair files with the same {', '.join(shared)}",
        f"Add the missing files, move the others out, or {f'type {better.overrides}' if better else 'correct the patterns'}; "
        f"one that names a folder leaves the others out{missing}",
    )


def check_page_counts(found: list[Match], masks: list[Match], shared: list[str], images: Pattern, by: Pattern) -> None:
    """Refuse image and mask stacks of different length.

    Raises:
        DataError: names both.
    """
    if images.page is None or images.page != by.page:
        return
    whole = [name for name in shared if name != images.page]
    counts: dict[tuple[str, ...], list[Match]] = defaultdict(list)
    for match in masks:
        counts[match.key(whole)].append(match)
    pages: dict[tuple[str, ...], list[Match]] = defaultdict(list)
    for match in found:
        pages[match.key(whole)].append(match)
    for key, group in pages.items():
        others = counts.get(key, [])
        if others and len(others) != len(group):
            volume = is_nifti(group[0].source.path) and group[0].source.orientation != "stored"
            raise DataError(
                f"{group[0].source.path} has {len(group)} pages and {others[0].source.path} has {len(others)}",
                "Page k of the masks belongs to page k of the images",
                "Make both stacks the same length"
                + (", or type data.orientation=stored if the axes in their headers are wrong" if volume else ""),
            )


_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


def find_cases(
    root: Path | str,
    image: str,
    mask: str | Mapping[str, str] | None,
    *,
    groups: Mapping[str, Any] | str | None = None,
    splits: Iterable[str] | None = None,
    require_masks: bool = True,
    optional: Collection[str] = (),
    exclude: Sequence[str] = (),
    orientation: str | None = None,
) -> list[Case]:
    """Pair the images below a folder with their masks by the fields of both patterns.

    A file that matches both patterns belongs to the one with more literal characters (`{id}_mask.png` over `{id}.png`). The
    images of a test split without any mask are left out, with a log message.

    Args:
        root: the folder.
        image: pattern of the images.
        mask: pattern of the masks (with `*`, several files make one mask), or one per overlapping class; None: images only.
        groups: see `assign_groups`; None uses the field {group} if there is one.
        splits: keep only cases of these splits.
        require_masks: every image must have a mask (of each class) and every mask an image.
        optional: classes whose masks may be missing.
        exclude: see `without_excluded`.
        orientation: of volumes, None as they are stored.

    Returns:
        Cases in natural order of their ids (2 before 10).

    Raises:
        DataError: the folder is missing or empty, nothing matches, files are unmatched or have the same id, or stacks cannot
            be read, all of which are named.
        ConfigError: a pattern is wrong, or the two share no field.
    """
    root = Path(root)
    images = parse_pattern(image, "data.image", orientation)
    patterns = parse_masks(mask, images, orientation)
    files = list_files(root, max(pattern.depth for pattern in (images, *patterns.values())))
    files = without_excluded(files, exclude, images, patterns.values())
    problems: list[DataError] = []
    found = match_files(root, files, images, list(patterns.values()), problems)
    masks = match_masks(root, files, images, patterns, problems, found, exclude)
    found = add_splits(found, (match for each in masks.values() for match in each if match.source.entry), images)
    if damaged := [problem for problem in problems if isinstance(problem, UnreadableError)]:
        raise UnreadableFilesError(damaged, root, exclude)
    if problems:
        raise problems[0]
    if not found:
        raise _nothing(root, files, images)
    check_unique(found, images)
    of_class = {
        name: pair_masks(root, found, masks[name], images, pattern, require_masks, name in optional)
        for name, pattern in patterns.items()
    }
    wanted = None if splits is None else set(splits)
    cases = [case for case in assemble_cases(found, of_class) if wanted is None or case.split in wanted]
    if groups is None:
        return cases
    of = assign_groups([case.id for case in cases], groups, root)
    return [replace(case, group=of[case.id]) for case in cases]


def match_masks(
    root: Path,
    files: Sequence[str],
    images: Pattern,
    patterns: Mapping[str, Pattern],
    problems: list[DataError],
    found: Sequence[Match],
    exclude: Collection[str] = (),
) -> dict[str, list[Match]]:
    """Return the masks of the images `found` by class; see `match_files`, and `match_entries` for files that list images.

    Raises:
        ConfigError: a pattern of masks and that of the images share no field, or are equal.
    """
    masks = {}
    for name, pattern in patterns.items():
        shared_fields(images, pattern)
        others = [other for other in patterns.values() if other.text != pattern.text or not is_annotation(other.text)]
        others = [other for other in others if other is not pattern]
        masks[name] = match_files(root, files, pattern, [images, *others], problems)
        if pattern.lists_images:
            masks[name] = match_entries(masks[name], found, exclude, problems)
    return masks


def without_excluded(files: list[str], exclude: Sequence[str], images: Pattern, masks: Collection[Pattern]) -> list[str]:
    """Return the files without those of `data.exclude` and without their partners, the images or masks they are paired with.

    An excluded name without a file gives a log message.
    """
    if not exclude:
        return files
    if missing := sorted(set(exclude).difference(files)):
        _log.warning("data.exclude names %s, which the data folder does not hold.", listed(missing, SHOWN))
    gone, owners = set(exclude), {name: owner(name, (images, *masks)) for name in files}
    named = [pattern for pattern in masks if not pattern.lists_images]
    for pattern in (*named, *named):  # the second time from an image to its masks of other classes
        shared = [field for field in shared_fields(images, pattern) if field not in (images.page, pattern.page)]
        keys = {
            name: tuple(SPLITS.get(found[field].lower(), found[field]) for field in shared)
            for name, of in owners.items()
            if of in (images, pattern) and (found := of.match(name)) is not None
        }
        partners = {keys[name] for name in gone if name in keys}
        gone |= {name for name, key in keys.items() if key in partners}
    return [name for name in files if name not in gone]


def list_files(root: Path, depth: int) -> list[str]:
    """Return all files up to `depth` folders below the root, with "/", without hidden and system files.

    An empty folder that is named as an image counts as a file, so that it is reported.

    Raises:
        DataError: the folder is missing, is a file, or is empty.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        here = "" if root.is_absolute() else f" (from {Path.cwd()})"
        raise DataError(
            f"The data folder {root} {what}{here}", "data.root is the folder that holds the pictures", "Type data.root=DIR"
        )
    files: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        stat = Path(folder).stat()
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        cycle = (stat.st_dev, stat.st_ino) in seen  # a symlink cycle
        seen.add((stat.st_dev, stat.st_ino))
        names += [name for name in folders if name.rpartition(".")[2].lower() in SUFFIXES and _is_empty(Path(folder, name))]
        folders[:] = [] if cycle or prefix.count("/") >= depth else sorted(filter(_wanted, folders))
        files += [] if cycle else [prefix + name for name in sorted(filter(_wanted, names))]
    if not files:
        raise DataError(
            f"The data folder {root} holds no files", "Pictures and masks were expected in it", "Type data.root=DIR"
        )
    return files


def _is_empty(folder: Path) -> bool:
    return not any(folders or names for _, folders, names in islice(os.walk(folder), 1))


def _wanted(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _CLUTTER


def _nothing(root: Path, files: list[str], pattern: Pattern) -> DataError:
    better = better_patterns(root, files, 0)
    typed = f"Type {better.overrides}" if better else "Name the patterns as the files are named"
    return DataError(
        f"No file below {root} matches {pattern.key}={pattern.text}; seen there: {listed(files, 3)}",
        "The pattern is relative to data.root and must fit a whole path",
        f"{typed}, or see what the layout is taken for: python -m segexp.check {root_override(root)}",
    )


def mask_patterns(data: DataConfig) -> str | Mapping[str, str] | None:
    """Return `data.mask`; for overlapping labels from one file of annotated shapes, that file for each foreground class."""
    if data.multilabel and isinstance(data.mask, str) and is_annotation(data.mask):
        return dict.fromkeys(list(data.classes or {})[1:], data.mask)
    return data.mask


def find_data_cases(data: DataConfig) -> list[Case]:
    """Return the cases of a data section.

    Raises:
        ConfigError: a pattern is wrong or missing.
        DataError: unpaired files, or no files; or a mask lies elsewhere than its image.
    """
    cases = find_cases(
        *(Path(data.root), data.image or "", mask_patterns(data)),
        groups=data.groups,
        optional=data.optional_masks,
        exclude=data.exclude,
        orientation=data.orientation,
    )
    problems: list[DataError] = []
    placed = place_masks(cases, problems, exif=data.exif)
    if problems:
        raise problems[0]
    return [case.with_nodata(data.nodata) for case in placed]
