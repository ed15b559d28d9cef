"""Infer the layout of an unknown folder: the candidate that pairs most files wins."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from segexp.config.overrides import shell_words
from segexp.data.io.images import SUFFIXES, page_count
from segexp.data.layout.annotated import annotated_layouts, formats_of
from segexp.data.layout.infer_classes import describe_transparency, infer_channels, infer_classes
from segexp.data.layout.inventory import Inventory, take_inventory
from segexp.data.layout.pairing import find_cases, list_files
from segexp.data.layout.suggested_patterns import is_image_name, picture_names, root_override, suggest_patterns
from segexp.data.layout.templates import Folder, Key, folder_templates, image_rank, mask_rank
from segexp.errors import DataError, UnreadableError, listed
from segexp.types import Case

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
"""Name suffixes (without extension) of an image and its mask."""

STACKS = (
    ("volume", "labels"),
    ("volume", "label"),
    ("images", "masks"),
    ("image", "mask"),
    ("images", "labels"),
    ("image", "label"),
)
"""Words that distinguish an image stack and its mask stack."""


PLAIN = 0.5
"""Share of pixels with one of two values from which on files that pair by their names are taken for masks."""


@dataclass(frozen=True, order=True)
class Candidate:
    """Two patterns and the number of files they pair, ordered from worse to better."""

    files: int
    preference: tuple[int, ...]
    image: str
    mask: str
    name: str


def candidates(root: Path, files: list[str]) -> list[Candidate]:
    """Return all pattern pairs that pair at least one image and mask."""
    found = [*_stacks(root, files)]
    for images, masks in product(folder_templates(files), repeat=2):
        if images.holes == masks.holes:
            found += [*_endings(root, images, masks), *_objects(images, masks)]
    return list({(c.image, c.mask): c for c in found}.values())


def _endings(root: Path, images: Folder, masks: Folder) -> Iterable[Candidate]:
    """Pair `{id}` with `{id}_mask` and the like, in one folder or two."""
    rank = mask_rank(masks.template)
    for position, (end, mask_end) in enumerate((*PAIRS, *_own(images, masks))):
        if not mask_end and (images is masks or rank <= 0 or mask_rank(images.template)):
            continue  # without a suffix, folder names must identify the masks
        pairs = images.ending(end).keys() & masks.ending(mask_end).keys()
        if not pairs:
            continue
        image = f"{images.prefix}{{id}}{end}.{formats_of(images.ending(end)[key] for key in pairs)}"
        mask = f"{masks.prefix}{{id}}{mask_end}.{formats_of(masks.ending(mask_end)[key] for key in pairs)}"
        pages = _pages(root, images, masks, end, mask_end, pairs)
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
    """Yield uncommon suffixes shared by most names, if one folder is named as a mask folder ("001.jpg", "001_lesion.png")."""
    if images is masks or mask_rank(masks.template) <= 0 or mask_rank(images.template):
        return
    for end in dict.fromkeys(("", images.common_ending)):
        for mask_end in dict.fromkeys(("", masks.common_ending)):
            if end != mask_end and (end, mask_end) not in PAIRS:
                yield end, mask_end


def _objects(images: Folder, masks: Folder) -> Iterable[Candidate]:
    """Pair the single file of `{id}/images` with the several of `{id}/masks`."""
    if images is masks or "{group}" not in images.template or mask_rank(masks.template) <= 0 or mask_rank(images.template):
        return
    one, several = images.by_hole(), masks.by_hole()
    if one.keys() != several.keys() or max(map(len, one.values())) > 1 or max(map(len, several.values())) < 2:
        return
    image, mask = (folder.prefix.replace("{group}", "{id}") for folder in (images, masks))
    yield Candidate(
        len(one) + sum(map(len, several.values())),
        (images.template.count("{split}"), mask_rank(masks.template), image_rank(images.template), 0, 0),
        f"{image}*.{formats_of(name for names in one.values() for name in names)}",
        f"{mask}*.{formats_of(name for names in several.values() for name in names)}",
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
            pages = _count(root / name)
            if pages > 1 and _count(root / partner) > 1:
                yield Candidate(
                    2, (0, 1, 0, 0, -position), f"{name}[{{id}}]", f"{partner}[{{id}}]", f"two stacks of {pages} pages"
                )


def _pages(root: Path, images: Folder, masks: Folder, end: str, mask_end: str, pairs: Iterable[Key]) -> str:
    """Return "[{page}]" if image and mask of the first readable pair are multi-page files."""
    for key in sorted(pairs):
        image, mask = images.ending(end)[key], masks.ending(mask_end)[key]
        if not (image.lower().endswith(("tif", "tiff")) and mask.lower().endswith(("tif", "tiff"))):
            return ""
        if fewest := min(_count(root / image), _count(root / mask)):
            return "[{page}]" if fewest > 1 else ""
    return ""


def _count(path: Path) -> int:
    """Return the number of pages, 0 for a file that cannot be read."""
    try:
        return page_count(path)
    except UnreadableError:
        return 0


T = TypeVar("T")

DEPTH = 4
"""Maximum folder depth below the root."""


class UnknownLayoutError(DataError):
    """No layout fits a folder."""


@dataclass(frozen=True)
class InferredFacts:
    """What the files of the cases say.

    Attributes:
        keys: the keys classes, ignore, threshold and channels of a data section, as far as they are asked for and found.
        reason: for the classes.
        problems: why classes or channels could not be inferred; those keys are None.
    """

    keys: dict[str, Any]
    reason: str
    problems: tuple[DataError, ...] = ()


def infer_facts(cases: Sequence[Case], known: Collection[str] = (), strict: bool = True) -> InferredFacts:
    """Infer classes and channels of cases, without the keys of a data section that are `known`.

    Files that cannot be read are skipped. With `strict`, classes or channels that cannot be told raise.

    Raises:
        DataError: see `infer_classes` and `infer_channels`.
    """
    problems: list[DataError] = []

    def found_out(ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except DataError as problem:
            if strict:
                raise
            problems.append(problem)
            return None

    keys: dict[str, Any] = {}
    reason = "The classes are as configured" if "classes" in known else "The masks do not tell the classes"
    if "classes" not in known:
        classes = found_out(lambda: infer_classes([case.masks for case in cases], strict=False))
        reason = classes.reason if classes else reason
        keys |= {"classes": classes.classes if classes else None, "ignore": classes.ignore if classes else []}
        keys["threshold"] = classes.threshold if classes else None
    if "channels" not in known:
        images = [case.image for case in cases]
        keys["channels"] = found_out(lambda: infer_channels(images, strict=False))
        reason = ". ".join(filter(None, (reason, describe_transparency(images))))
    return InferredFacts(keys, reason, tuple(problems))


@dataclass(frozen=True)
class DiscoveredLayout:
    """An inferred layout.

    Attributes:
        layout: the keys image, mask, groups, classes, ignore, threshold and channels of a data section.
        name: description of the layout.
        reason: why it was chosen.
        unexplained: image files that are not part of it.
        problems: why classes or channels could not be inferred; those keys are None.
    """

    layout: dict[str, Any]
    name: str
    reason: str
    unexplained: tuple[str, ...] = ()
    problems: tuple[DataError, ...] = ()


def discover_layout(
    root: Path | str,
    *,
    known: Collection[str] = (),
    strict: bool = True,
    exclude: Sequence[str] = (),
    orientation: str | None = None,
) -> DiscoveredLayout:
    """Infer layout, classes and channels of the images below a folder, without the files of `exclude`.

    Keys of a data section that are `known` are not inferred. With `strict`, unpaired files raise; otherwise what is possible is
    inferred. Files that cannot be read are skipped. Volumes have any one orientation, unless it is `orientation`.

    Raises:
        DataError: no layout fits, several fit equally well, or the best one is broken.
    """
    root = Path(root)
    seen = [name for name in list_files(root, DEPTH) if name not in exclude]
    files = picture_names(root, seen)
    best, others = _best(root, files, seen)
    find = find_cases if strict else take_inventory
    found = find(root, best.image, best.mask, exclude=exclude, orientation=orientation or "RAS")
    cases = found.cases if isinstance(found, Inventory) else found
    facts = infer_facts(cases, known, strict)
    used = {source.path.relative_to(root).as_posix() for case in cases for source in (case.image, *case.masks)}
    rest = tuple(name for name in files if name not in used)
    layout = {
        "image": best.image,
        "mask": best.mask,
        "groups": "^(.*)/" if best.image.endswith("[{page}]") else None,
        **facts.keys,
    }
    reason = (
        f"image={best.image} mask={best.mask} pairs {best.files} of {len(files)} picture files"
        + (f"; not used: {listed(rest, 4)}" if rest else "")
        + (f"; next best would pair {others[0].files}" if others else "")
        + f". {facts.reason}"
    )
    return DiscoveredLayout(layout, best.name, reason, rest, facts.problems)


def _best(root: Path, files: list[str], seen: Sequence[str]) -> tuple[Candidate, list[Candidate]]:
    """Return the best candidate, and the others in descending order.

    Raises:
        DataError: there is none, several are equally good, or it leaves out more than half of the files.
    """
    pictures = [name for name in files if name.rpartition(".")[2].lower() in SUFFIXES]
    annotated = [Candidate(a.images, a.preference, a.image, a.mask, a.name) for a in annotated_layouts(root, pictures, seen)]
    found = sorted([*candidates(root, pictures), *annotated], reverse=True)
    if not found and (suggested := suggest_patterns(root, files)) and suggested.plain >= PLAIN:
        name = "images and masks that pair by the names of their files"
        return Candidate(2 * suggested.pairs, (), suggested.image, suggested.mask, name), []
    if not found:
        raise UnknownLayoutError(
            f"No known layout fits {root}; seen there: {'' if any(map(is_image_name, seen)) else 'no picture, but '}"
            f"{listed(_samples(seen), 6)}",
            "Images and masks in two folders, or side by side with an ending such as _mask, were expected",
            describe_patterns(root, seen),
        )
    best = found[0]
    rivals = [other for other in found[1:] if (other.files, other.preference) == (best.files, best.preference)]
    if rivals:
        options = " or ".join(map(_typed, (best, *rivals[:2])))
        raise DataError(
            f"{root} fits {len(rivals) + 1} layouts equally well, {best.files} files each",
            "One image pattern and one mask pattern were expected",
            f"Type {root_override(root)} {options}",
        )
    if 2 * best.files < len(files) and not best.image.endswith("[{id}]"):
        raise DataError(
            f"The best fit for {root}, {best.name}, pairs {best.files} of {len(files)} picture files",
            f"At least half were expected to be images and masks; seen there: {listed(_samples(files), 6)}",
            f"If it is right, type {root_override(root)} {_typed(best)}",
        )
    return best, found[1:]


def describe_patterns(root: Path, seen: Sequence[str]) -> str:
    """Return what to type to describe a folder by patterns, made from its files."""
    if suggested := suggest_patterns(root, seen):
        return f"If the files pair like this, type {root_override(root)} {suggested.overrides}"
    images = picture_names(Path(root), seen)
    if not images:
        return f"Put pictures there ({', '.join(SUFFIXES)}, nii, nii.gz), or type data.root=DIR"
    image = re.sub(r"[^/]+(?=\.[^.]+$)", "{id}", images[0], count=1)
    patterns = shell_words({"data.image": image, "data.mask": "DIR/{id}.png"})
    return f"Type where their masks are: {root_override(root)} {patterns}"


def _typed(candidate: Candidate) -> str:
    """Return the overrides for a candidate."""
    return shell_words({"data.image": candidate.image, "data.mask": candidate.mask})


def _samples(files: Sequence[str]) -> list[str]:
    """Return two names from each folder."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in files:
        by_folder[name.rpartition("/")[0]].append(name)
    return [name for names in by_folder.values() for name in names[:2]]
