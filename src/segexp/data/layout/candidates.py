"""Patterns that could describe a folder.

Folders that hold pictures are written as templates ("train/images" is also "{split}/images", "Tile 1/images" beside "Tile
2/images" is also "Tile {group}/images"). Pairs of templates, with the endings that masks and images commonly have, are
candidates.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segexp.data.files.images import page_count
from segexp.data.layout import templates
from segexp.data.layout.templates import Folder, image_rank, mask_rank

PAIRS = (
    ("", "_mask"),
    ("", "_segmentation"),
    ("", "_Segmentation"),
    ("", "_label"),
    ("", "_labels"),
    ("", "_seg"),
    ("", "_gt"),
    ("", "_GT"),
    ("", "_annotation"),
    ("", "_L"),
    ("", "-mask"),
    ("_sat", "_mask"),
    ("_image", "_mask"),
    ("_image", "_label"),
    ("_img", "_mask"),
    ("_training", "_manual1"),
    ("_0000", ""),
    ("", ""),
)
"""Endings of the names (without format) of an image and its mask."""

STACKS = (
    ("volume", "labels"),
    ("volume", "label"),
    ("images", "masks"),
    ("image", "mask"),
    ("images", "labels"),
    ("image", "label"),
)
"""Words that tell the two stacks of a data set apart."""


@dataclass(frozen=True, order=True)
class Candidate:
    """Two patterns and how many files they pair; the order is from worse to better."""

    files: int
    preference: tuple[int, ...]
    image: str
    mask: str
    name: str


def candidates(root: Path, files: list[str]) -> list[Candidate]:
    """Return all patterns that pair at least one image with a mask."""
    folders = templates.folders(files)
    found = [*_stacks(root, files)]
    for images in folders:
        for masks in folders:
            if images.holes == masks.holes:
                found += _endings(root, images, masks)
                found += _objects(images, masks)
    return list({(c.image, c.mask): c for c in found}.values())


def _endings(root: Path, images: Folder, masks: Folder) -> Iterable[Candidate]:
    """Pair `{id}` with `{id}_mask` and the like, in one folder or two."""
    rank = mask_rank(masks.template)
    for position, (end, mask_end) in enumerate((*PAIRS, *_own(images, masks))):
        if not mask_end and (images is masks or rank <= 0 or mask_rank(images.template)):
            continue  # without an ending, the folders' names must tell which are the masks
        pairs = images.ending(end).keys() & masks.ending(mask_end).keys()
        if not pairs:
            continue
        image = f"{images.prefix}{{id}}{end}.{_formats(images.ending(end)[key] for key in pairs)}"
        mask = f"{masks.prefix}{{id}}{mask_end}.{_formats(masks.ending(mask_end)[key] for key in pairs)}"
        pages = _pages(root, images, masks, end, mask_end, min(pairs))
        where = "side by side" if images is masks else f"in {images.template or '.'} and {masks.template or '.'}"
        yield Candidate(
            2 * len(pairs),
            (images.template.count("{split}"), rank, image_rank(images.template), -images.template.count("{group}"), -position),
            image + pages,
            mask + pages,
            f"images and masks {where}"
            + (f', masks end in "{mask_end}"' if mask_end else "")
            + (", one case per page" * bool(pages)),
        )


def _own(images: Folder, masks: Folder) -> Iterable[tuple[str, str]]:
    """Return endings that are nobody's habit but that most names of a folder have, of which one must be called a mask folder.

    "photos/001.jpg" and "segmentations/001_lesion.png", say, or "photos/001_rgb.jpg" and "segmentations/001_lesion.png".
    """
    if images is masks or mask_rank(masks.template) <= 0 or mask_rank(images.template):
        return
    for end in dict.fromkeys(("", images.common_ending)):
        for mask_end in dict.fromkeys(("", masks.common_ending)):
            if end != mask_end and (end, mask_end) not in PAIRS:
                yield end, mask_end


def _objects(images: Folder, masks: Folder) -> Iterable[Candidate]:
    """Pair the one picture of `{id}/images` with the several of `{id}/masks`."""
    if images is masks or "{group}" not in images.template or mask_rank(masks.template) <= 0 or mask_rank(images.template):
        return
    one, several = images.by_hole(), masks.by_hole()
    if one.keys() != several.keys() or max(map(len, one.values())) > 1 or max(map(len, several.values())) < 2:
        return
    image, mask = (folder.prefix.replace("{group}", "{id}") for folder in (images, masks))
    yield Candidate(
        len(one) + sum(map(len, several.values())),
        (images.template.count("{split}"), mask_rank(masks.template), image_rank(images.template), 0, 0),
        f"{image}*.{_formats(name for names in one.values() for name in names)}",
        f"{mask}*.{_formats(name for names in several.values() for name in names)}",
        "one folder per image, with a mask file per object",
    )


def _stacks(root: Path, files: list[str]) -> Iterable[Candidate]:
    """Pair multi-page TIFF files such as train-volume.tif and train-labels.tif."""
    known = set(files)
    for name in files:
        folder, slash, file = name.rpartition("/")
        for position, (image, label) in enumerate(STACKS):
            partner = folder + slash + file.replace(image, label)
            if file.count(image) != 1 or partner not in known or not file.lower().endswith(("tif", "tiff")):
                continue
            pages = page_count(root / name)
            if pages > 1 and page_count(root / partner) > 1:
                yield Candidate(
                    2, (0, 1, 0, 0, -position), f"{name}[{{id}}]", f"{partner}[{{id}}]", f"two stacks of {pages} pages"
                )


def _pages(root: Path, images: Folder, masks: Folder, end: str, mask_end: str, key: tuple[str, ...]) -> str:
    """Return "[{page}]" when image and mask are stacks of pages."""
    image, mask = images.ending(end)[key], masks.ending(mask_end)[key]
    if not (image.lower().endswith(("tif", "tiff")) and mask.lower().endswith(("tif", "tiff"))):
        return ""
    return "[{page}]" if page_count(root / image) > 1 and page_count(root / mask) > 1 else ""


def _formats(names: Iterable[str]) -> str:
    """Return the file name ending, or the alternatives in braces."""
    endings = sorted({name.rpartition(".")[2].lower() for name in names})
    return endings[0] if len(endings) == 1 else f"{{{','.join(endings)}}}"
