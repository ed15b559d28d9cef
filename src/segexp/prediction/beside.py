"""Masks that lie beside their images: they are no images, and they are the truth where one is wanted."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from segexp.data.layout.candidates import PAIRS, STACKS
from segexp.data.layout.patterns import FIELDS, Pattern, parse
from segexp.prediction.names import stem_of

SHORTEST = 3
"""Characters of an ending that is clear enough: `_L` may also be the left eye."""

ENDINGS = tuple((image, mask) for image, mask in PAIRS if len(mask) >= SHORTEST)
"""Endings of image and mask that tell a mask without a word from the checkpoint."""

Partners = dict[str, tuple[str, ...]]
"""Names of the masks by the name of their image."""


def masks_beside(root: Path, names: Sequence[str], data: Mapping[str, object]) -> Partners:
    """Return the masks among the files of a folder whose image lies there too.

    A mask is what the patterns that the network was trained with call one, as training read them; or what has the name of
    another file but for an ending such as `_mask` or a word such as `masks` for `images`, also of a folder. Without its image
    a file is never taken for a mask.

    Args:
        root: the folder.
        names: files relative to it, with "/".
        data: the data section of the checkpoint's config.
    """
    found = by_patterns(root, names, data)
    masks = {mask for partners in found.values() for mask in partners}
    for image, partners in _by_name([name for name in names if name not in masks]).items():
        found.setdefault(image, partners)
    return found


def by_patterns(root: Path, names: Sequence[str], data: Mapping[str, object], of_class: str | None = None) -> Partners:
    """Return what the patterns that the network was trained with call a mask; with `of_class`, one of that class."""
    patterns = data.get("mask")
    each = list(patterns.items()) if isinstance(patterns, Mapping) else [(None, patterns)]
    found: dict[str, tuple[str, ...]] = {}
    for name, pattern in each:
        if of_class in (None, name):
            for image, masks in _by_pattern(root.resolve(), names, data.get("image"), pattern).items():
                found[image] = (*found.get(image, ()), *masks)
    return found


def _by_pattern(root: Path, names: Sequence[str], image: object, mask: object) -> Partners:
    if not (isinstance(image, str) and isinstance(mask, str)):
        return {}
    images, masks = parse(image, "data.image"), parse(mask, "data.mask")
    shared = [name for name in FIELDS if name in images.fields & masks.fields and name not in (images.page, masks.page)]
    masks_first = (masks.literals, masks.key) > (images.literals, images.key)
    ranked = (masks, images) if masks_first else (images, masks)
    by_key: dict[Pattern, dict[object, list[str]]] = {images: defaultdict(list), masks: defaultdict(list)}
    for name in names:
        for pattern in ranked:  # a file that both fit belongs to the one with more characters of its own
            key = _key(root, name, pattern, shared)
            if key is not None:
                by_key[pattern][key].append(name)
                break
    pairs = {key: by_key[masks][key] for key in by_key[images] if key in by_key[masks]}
    return {name: tuple(sorted(pairs[key])) for key in pairs for name in by_key[images][key]}


def _key(root: Path, name: str, pattern: Pattern, shared: Sequence[str]) -> object:
    """Return where the data set of a file would begin and the fields that pair it, or None where the pattern does not fit.

    The input may be the root of the data set, a folder in it or one above; so the end of the whole path is compared.
    """
    parts = (root / name).parts
    cut = len(parts) - pattern.depth - 1
    fields = pattern.match("/".join(parts[cut:])) if cut > 0 else None
    return None if fields is None else (parts[:cut], tuple(fields[field] for field in shared))


def _by_name(names: Sequence[str]) -> Partners:
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_stem[stem_of(name)].append(name)
    found: Partners = {}
    for stem, masks in by_stem.items():
        partner = next((image for image in _images_of(stem) if image != stem and image in by_stem), None)
        if partner:
            found |= {image: tuple(masks) for image in by_stem[partner]}
    return found


def _images_of(stem: str) -> Iterator[str]:
    """Yield what the image may be called if this is the name of a mask."""
    for image_end, mask_end in ENDINGS:
        if stem.endswith(mask_end):
            yield stem.removesuffix(mask_end) + image_end
    for image_word, mask_word in STACKS:
        if stem.count(mask_word) == 1:
            yield stem.replace(mask_word, image_word)
