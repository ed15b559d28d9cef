"""Folders of pictures written with fields, so that many folders of one kind become one."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from segexp.data.layout.matching import SPLITS, natural

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
"""Parts of folder names that hold masks, the better known first."""

MOST = 24
"""Templates that are compared with each other; of more, those with most pictures."""

Key = tuple[str, ...]
"""What the fields of a template hold for a picture, and the picture's name without format."""


@dataclass(eq=False)
class Folder:
    """All folders that one template fits.

    Attributes:
        template: "{split}/images", "Tile {group}/masks", or a plain path; "" is the root.
        files: (values of the fields, name relative to the root) of each picture.
    """

    template: str
    files: list[tuple[Key, str]] = field(default_factory=list)
    _endings: dict[str, dict[Key, str]] = field(default_factory=dict)

    @property
    def holes(self) -> list[str]:
        """Fields of the template in their order."""
        return re.findall(r"\{\w+\}", self.template)

    @property
    def prefix(self) -> str:
        """What stands before the file name in a pattern."""
        return f"{self.template}/" if self.template else ""

    @cached_property
    def common_ending(self) -> str:
        """What most names end in, from their last "_", "-" or "." on; "" where most end differently."""
        stems = (name.rpartition("/")[2].rpartition(".")[0] for _, name in self.files)
        ends = Counter(found.group() for stem in stems if (found := re.search(r"[_.-][^_.-]+$", stem)))
        (end, count), *_ = ends.most_common(1) or [("", 0)]
        return end if 2 * count > len(self.files) else ""

    def ending(self, end: str) -> dict[Key, str]:
        """Return the pictures whose names end so, by what is left of the name."""
        if end not in self._endings:
            stems = ((values, name, name.rpartition("/")[2].rpartition(".")[0]) for values, name in self.files)
            self._endings[end] = {
                (*values, stem.removesuffix(end)): name for values, name, stem in stems if stem.endswith(end) and stem != end
            }
        return self._endings[end]

    def by_hole(self) -> dict[Key, list[str]]:
        """Return the pictures of each single folder."""
        out: dict[Key, list[str]] = defaultdict(list)
        for values, name in self.files:
            out[values].append(name)
        return out


def mask_rank(template: str) -> int:
    """Return how well a folder's name says that masks are in it: 0 not at all, higher is better.

    -1 stands for pictures that are neither masks nor images, such as one colour per object.
    """
    last = template.rpartition("/")[2].lower()
    name = template.lower() if last.startswith("{") else last
    if any(word in name for word in ("object", "instance", "visual", "overlay")):
        return -1
    return max((len(MASK_WORDS) - k for k, word in enumerate(MASK_WORDS) if _has(name, word)), default=0)


def image_rank(template: str) -> int:
    """Return 1 if a folder's name says that images are in it, else 0."""
    return int(re.search(r"im(age|g)|jpe?g|photo|picture|scan|slice", template.lower()) is not None)


def folders(files: list[str]) -> list[Folder]:
    """Return the templates of all folders with pictures, those with most pictures first."""
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
    return sorted(kept, key=lambda folder: (-len(folder.files), natural(folder.template)))[:MOST]


def _templates(path: str, prefixes: dict[tuple[str, str], str]) -> list[tuple[str, Key]]:
    """Return the templates that fit a folder, with what their fields hold."""
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
    """Return, for folders such as "Tile 1", "Tile 2", …, the text before the number, by (parent, name)."""
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
    """Tell whether a word is in a name; a short one only as a word of its own or the name's end."""
    return word in text if len(word) > 2 else re.search(rf"(^|[^a-z]){word}([^a-z]|$)", text) is not None
