"""Infer the layout of an unknown folder: the candidate that pairs most files wins."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from segexp.data.io.images import SUFFIXES, page_count
from segexp.data.layout.infer_classes import infer_channels, infer_classes
from segexp.data.layout.inventory import Inventory, take_inventory
from segexp.data.layout.pairing import find_cases, list_files
from segexp.data.layout.patterns import SPLITS, natural_key
from segexp.errors import DataError, UnreadableError, listed

MASK_WORDS = (
    "mask",
    "label",
    "groundtruth",
    "ground_truth",
    "segmentationclass",
    "annot",
    "segm",
    "truth",
    "manual",
    "gt",
    "target",
)
"""Parts of the names of mask folders, most reliable first."""

MOST = 24
"""Maximum number of folder templates that are compared; those with most files win."""

Key = tuple[str, ...]
"""Field values of a template for a file, and its name without extension."""


@dataclass(eq=False)
class Folder:
    """All folders that match a template.

    Attributes:
        template: "{split}/images", "Tile {group}/masks", or a plain path; "" is the root.
        files: (field values, name relative to the root) of each image file.
    """

    template: str
    files: list[tuple[Key, str]] = field(default_factory=list)
    _endings: dict[str, dict[Key, str]] = field(default_factory=dict)

    @property
    def holes(self) -> list[str]:
        """Fields of the template in order."""
        return re.findall(r"\{\w+\}", self.template)

    @property
    def prefix(self) -> str:
        """Pattern prefix before the file name."""
        return f"{self.template}/" if self.template else ""

    @cached_property
    def common_ending(self) -> str:
        """Most frequent name suffix, starting at the last "_", "-" or "."; "" if it is not that of most names."""
        stems = (name.rpartition("/")[2].rpartition(".")[0] for _, name in self.files)
        ends = Counter(found.group() for stem in stems if (found := re.search(r"[_.-][^_.-]+$", stem)))
        (end, count), *_ = ends.most_common(1) or [("", 0)]
        return end if 2 * count > len(self.files) else ""

    def ending(self, end: str) -> dict[Key, str]:
        """Return the files whose names end with a suffix, by field values and the rest of the name."""
        if end not in self._endings:
            stems = ((values, name, name.rpartition("/")[2].rpartition(".")[0]) for values, name in self.files)
            self._endings[end] = {
                (*values, stem.removesuffix(end)): name for values, name, stem in stems if stem.endswith(end) and stem != end
            }
        return self._endings[end]

    def by_hole(self) -> dict[Key, list[str]]:
        """Return the files by field values."""
        out: dict[Key, list[str]] = defaultdict(list)
        for values, name in self.files:
            out[values].append(name)
        return out


def mask_rank(template: str) -> int:
    """Return how clearly a folder name indicates masks: 0 not at all, higher is better.

    -1: neither masks nor images, such as visualisations.
    """
    last = template.rpartition("/")[2].lower()
    name = template.lower() if last.startswith("{") else last
    if any(word in name for word in ("object", "instance", "visual", "overlay")):
        return -1
    return max((len(MASK_WORDS) - k for k, word in enumerate(MASK_WORDS) if _has(name, word)), default=0)


def image_rank(template: str) -> int:
    """Return 1 if a folder name indicates images, else 0."""
    return int(re.search(r"im(age|g)|jpe?g|photo|picture|scan|slice", template.lower()) is not None)


def folder_templates(files: list[str]) -> list[Folder]:
    """Return the templates of all folders with image files, those with most files first."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in files:
        by_folder[name.rpartition("/")[0]].append(name)
    found: dict[str, Folder] = {}
    prefixes = _numbered(by_folder)
    for path, names in by_folder.items():
        for template, values in _templates(path, prefixes):
            folder = found.setdefault(template, Folder(template))
            folder.files += [(values, name) for name in names]
    kept = [folder for folder in found.values() if "{group}" not in folder.template or len(folder.by_hole()) > 1]
    return sorted(kept, key=lambda folder: (-len(folder.files), natural_key(folder.template)))[:MOST]


def _templates(path: str, prefixes: dict[tuple[str, str], str]) -> list[tuple[str, Key]]:
    """Return the templates that match a folder, with their field values."""
    parts = path.split("/") if path else []
    plain = ["{split}" if part.lower() in SPLITS else part for part in parts]
    words = tuple(SPLITS[part.lower()] for part in parts if part.lower() in SPLITS)
    out = [("/".join(plain), words)]
    for k, part in enumerate(plain):
        if part == "{split}" or mask_rank(part):
            continue
        before = prefixes.get(("/".join(parts[:k]), part), "")
        values = [SPLITS.get(p.lower(), "") for p in parts]
        values[k] = part[len(before) :]
        kept = tuple(value for value, p in zip(values, [*plain[:k], "{split}", *plain[k + 1 :]], strict=True) if p == "{split}")
        out.append(("/".join([*plain[:k], before + "{group}", *plain[k + 1 :]]), kept))
    return out


def _numbered(paths: dict[str, list[str]]) -> dict[tuple[str, str], str]:
    """Return the text before the number of folders such as "Tile 1", "Tile 2", by (parent, name)."""
    children: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        parts = path.split("/") if path else []
        for k, part in enumerate(parts):
            children["/".join(parts[:k])].add(part)
    out: dict[tuple[str, str], str] = {}
    for parent, names in children.items():
        heads = {name.rstrip("0123456789") for name in names}
        if len(names) > 1 and len(heads) == 1 and all(name[-1].isdigit() for name in names):
            out |= {(parent, name): next(iter(heads)) for name in names}
    return out


def _has(text: str, word: str) -> bool:
    """Return whether a name contains a word; short words must be delimited."""
    return word in text if len(word) > 2 else re.search(rf"(^|[^a-z]){word}([^a-z]|$)", text) is not None


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
        image = f"{images.prefix}{{id}}{end}.{_formats(images.ending(end)[key] for key in pairs)}"
        mask = f"{masks.prefix}{{id}}{mask_end}.{_formats(masks.ending(mask_end)[key] for key in pairs)}"
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


def _formats(names: Iterable[str]) -> str:
    """Return the extension, or alternatives in braces."""
    endings = sorted({name.rpartition(".")[2].lower() for name in names})
    return endings[0] if len(endings) == 1 else f"{{{','.join(endings)}}}"


T = TypeVar("T")

DEPTH = 4
"""Maximum folder depth below the root."""

_EXAMPLE = (
    "'data.image=\"images/{id}.jpg\"' 'data.mask=\"masks/{id}_mask.png\"' 'data.classes={background: 0, foreground: 255}'"
)


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


def discover_layout(root: Path | str, *, strict: bool = True, exclude: Sequence[str] = ()) -> DiscoveredLayout:
    """Infer layout, classes and channels of the images below a folder, without the files of `exclude`.

    With `strict`, unpaired files raise; otherwise what is possible is inferred. Files that cannot be read are skipped.

    Raises:
        DataError: no layout fits, several fit equally well, or the best one is broken.
    """
    root = Path(root)
    files = [name for name in list_files(root, DEPTH) if name.rpartition(".")[2].lower() in SUFFIXES and name not in exclude]
    best, others = _best(root, files)
    find = find_cases if strict else take_inventory
    found = find(root, best.image, best.mask, exclude=exclude)
    cases = found.cases if isinstance(found, Inventory) else found
    problems: list[DataError] = []

    def found_out(ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except DataError as problem:
            if strict:
                raise
            problems.append(problem)
            return None

    classes = found_out(lambda: infer_classes([case.masks for case in cases], strict=False))
    channels = found_out(lambda: infer_channels([case.image for case in cases], strict=False))
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
    return DiscoveredLayout(layout, best.name, reason, rest, tuple(problems))


def _best(root: Path, files: list[str]) -> tuple[Candidate, list[Candidate]]:
    """Return the best candidate, and the others in descending order.

    Raises:
        DataError: there is none, several are equally good, or it leaves out more than half of the files.
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
    """Return the overrides for a candidate."""
    return f"'data.image=\"{candidate.image}\"' 'data.mask=\"{candidate.mask}\"'"


def _samples(files: list[str]) -> list[str]:
    """Return two names from each folder."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in files:
        by_folder[name.rpartition("/")[0]].append(name)
    return [name for names in by_folder.values() for name in names[:2]]
