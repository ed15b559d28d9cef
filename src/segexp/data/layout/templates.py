"""Templates of the folders below a root, such as {split}/images, and what their names tell."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from segexp.data.layout.patterns import SPLITS, natural_key

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
