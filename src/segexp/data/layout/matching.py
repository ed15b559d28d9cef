"""What a pattern finds among the files of a folder."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segexp.data.files.images import page_count
from segexp.data.layout.patterns import FIELDS, Pattern
from segexp.errors import ConfigError, DataError, nearest
from segexp.types import Source

SPLITS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
"""Words met in paths, in small letters, and the split they mean."""


@dataclass(frozen=True)
class Match:
    """One picture that a pattern found: its name relative to the root, its fields (split normalised), and where it is."""

    name: str
    fields: dict[str, str]
    source: Source

    def key(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the values of some fields."""
        return tuple(self.fields[name] for name in names)

    @property
    def id(self) -> str:
        """The id of the case, for an image."""
        return "/".join(self.fields[name] for name in FIELDS if name in self.fields)


def matches(root: Path, files: Iterable[str], pattern: Pattern, other: Pattern | None = None) -> list[Match]:
    """Return what a pattern finds, without the files that `other` fits better, one entry per page where it says so.

    Raises:
        DataError: {split} stands for a word that is no split.
        ConfigError: both patterns are the same.
    """
    if other and other.text == pattern.text:
        raise ConfigError(
            f"data.image and data.mask are both {pattern.text}", "They name different files", "Change one of them"
        )
    rank = (pattern.literals, pattern.key)
    found = []
    for name in files:
        fields = pattern.match(name)
        if fields is None or (other and (other.literals, other.key) > rank and other.regex.fullmatch(name)):
            continue
        if "split" in fields:
            fields["split"] = _split(fields["split"], name, pattern)
        path = root / name
        if pattern.page is None:
            found.append(Match(name, fields, Source(path)))
            continue
        for page in range(page_count(path)):
            found.append(Match(f"{name}[{page}]", {**fields, pattern.page: str(page)}, Source(path, page)))
    return found


def unique(found: Iterable[Match], pattern: Pattern, names: Iterable[str] = FIELDS) -> None:
    """Refuse two files with one id.

    Raises:
        DataError: naming both.
    """
    names = [name for name in names if name in pattern.fields]
    first: dict[tuple[str, ...], Match] = {}
    for match in found:
        same = first.setdefault(match.key(names), match)
        if same is not match:
            raise DataError(
                f"{same.name} and {match.name} both have the id {'/'.join(match.key(names))}",
                f"{pattern.key}={pattern.text} must give each file an id of its own",
                f"Remove one of the two files, or tell them apart in {pattern.key} (by the ending, or {{group}} instead of *)",
            )


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts 2 before 10."""
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part)


def _split(word: str, name: str, pattern: Pattern) -> str:
    try:
        return SPLITS[word.lower()]
    except KeyError:
        raise DataError(
            f"{word!r} in {name} is not a split",
            f"{{split}} in {pattern.key}={pattern.text} stands for train, val or test",
            f"{nearest(word.lower(), SPLITS)} Rename the folder or move it out, or write {{group}} instead of {{split}}",
        ) from None
