"""Image and mask by the fields they share; whatever is left over is named."""

import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from segexp.data.layout.matching import Match, matches, natural, unique
from segexp.data.layout.patterns import FIELDS, Pattern
from segexp.errors import ConfigError, DataError, listed
from segexp.types import Source

SHOWN = 10
"""Unmatched files named in a message; the rest is counted."""

_log = logging.getLogger(__name__)


def paired(
    root: Path, files: list[str], found: list[Match], images: Pattern, masks: Pattern, strict: bool
) -> dict[str, tuple[Source, ...]]:
    """Return the masks of each case by its id; the images of an unlabelled test split are not in it."""
    shared = [name for name in FIELDS if name in images.fields and name in masks.fields]
    if not shared:
        raise ConfigError(
            f"data.image={images.text} and data.mask={masks.text} have no field in common",
            "A field that both have, {id} as a rule, pairs them",
            "Write {id} into both",
        )
    found_masks = matches(root, files, masks, images)
    if not masks.many:
        unique(found_masks, masks, shared)
    by_key: dict[tuple[str, ...], list[Match]] = defaultdict(list)
    for match in found_masks:
        by_key[match.key(shared)].append(match)
    if strict:
        unlabelled = _unlabelled(found, found_masks, shared)
        found = [match for match in found if not (unlabelled and match.fields["split"] == "test")]
        _same_pages(found, found_masks, shared, images, masks)
        _check_partners(found, by_key, shared, images, masks)
    pairs = {}
    for match in found:
        mine = sorted(by_key.get(match.key(shared), ()), key=lambda mask: natural(mask.name))
        pairs[match.id] = tuple(mask.source for mask in mine)
    return pairs


def _unlabelled(found: list[Match], masks: list[Match], shared: list[str]) -> bool:
    """Tell whether there is a test split without any mask."""
    if "split" not in shared or not masks or any(match.fields["split"] == "test" for match in masks):
        return False
    count = sum(match.fields["split"] == "test" for match in found)
    if count:
        _log.warning("The test split has no masks: its %d images are left out.", count)
    return count > 0


def _check_partners(
    found: list[Match], by_key: dict[tuple[str, ...], list[Match]], shared: list[str], images: Pattern, masks: Pattern
) -> None:
    unique(found, replace(images, fields=frozenset(shared)))
    keys = {match.key(shared) for match in found}
    lone_images = [match for match in found if match.key(shared) not in by_key]
    lone_masks = [match.name for key, group in by_key.items() if key not in keys for match in group]
    if not (lone_images or lone_masks):
        return
    parts = []
    if lone_images:
        example = lone_images[0]
        words = images.match(example.name.removesuffix(f"[{example.source.page}]")) or {}
        parts.append(
            f"{len(lone_images)} of {len(found)} images have no mask: {listed((m.name for m in lone_images), SHOWN)} "
            f"(for {example.name} it would be {masks.fill(example.fields | words)})"
        )
    if lone_masks:
        parts.append(f"{len(lone_masks)} masks have no image: {listed(lone_masks, SHOWN)}")
    raise DataError(
        "; ".join(parts),
        f"data.image={images.text} and data.mask={masks.text} pair files with the same {', '.join(shared)}",
        "Add the missing files, move the others out, or correct the patterns; one that names a folder leaves the others out",
    )


def _same_pages(found: list[Match], masks: list[Match], shared: list[str], images: Pattern, by: Pattern) -> None:
    """Refuse an image stack and a mask stack of different length."""
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
            raise DataError(
                f"{group[0].source.path} has {len(group)} pages and {others[0].source.path} has {len(others)}",
                "Page k of the masks belongs to page k of the images",
                "Make both stacks the same length",
            )
