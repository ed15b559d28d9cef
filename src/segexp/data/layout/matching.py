"""What a pattern finds among the files of a folder."""

import re
from collections.abc import Iterable, Iterator, Sequence
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


def matches(
    root: Path,
    files: Iterable[str],
    pattern: Pattern,
    others: Sequence[Pattern] = (),
    problems: list[DataError] | None = None,
) -> list[Match]:
    """Return what a pattern finds, without the files that one of `others` fits better, one entry per page where it says so.

    Args:
        root: the folder.
        files: names relative to it.
        pattern: what to look for.
        others: the patterns of the other side, and of other classes.
        problems: takes what is wrong with single files, which are then left out; None raises at the first.

    Raises:
        DataError: {split} stands for a word that is no split, or the pages of a file cannot be counted.
        ConfigError: two patterns are the same.
    """
    for other in others:
        if other.text == pattern.text:
            raise ConfigError(
                f"{pattern.key} and {other.key} are both {pattern.text}", "They name different files", "Change one of them"
            )
    rank = (pattern.literals, pattern.key)
    better = [other for other in others if (other.literals, other.key) > rank]
    found: list[Match] = []
    for name in files:
        fields = pattern.match(name)
        if fields is None or any(other.regex.fullmatch(name) for other in better):
            continue
        try:
            pages = _pages(root, name, fields, pattern)
        except DataError as problem:
            if problems is None:
                raise
            problems.append(problem)
            continue
        if not pages and problems is not None:
            problems.append(DataError(f"{root / name} has no page that can be read", do="Copy the file again"))
        found += pages
    return found


def _pages(root: Path, name: str, fields: dict[str, str], pattern: Pattern) -> list[Match]:
    """Return the one match of an ordinary file, or one for each page of a stack."""
    if "split" in fields:
        fields["split"] = _split(fields["split"], name, pattern)
    if pattern.page is None:
        return [Match(name, fields, Source(root / name))]
    return [
        Match(f"{name}[{page}]", {**fields, pattern.page: str(page)}, Source(root / name, page))
        for page in range(page_count(root / name))
    ]


def unique(found: Iterable[Match], pattern: Pattern, names: Iterable[str] = FIELDS) -> None:
    """Refuse two files with one id.

    Raises:
        DataError: naming both.
    """
    for problem in twins(found, pattern, names):
        raise problem


def twins(found: Iterable[Match], pattern: Pattern, names: Iterable[str] = FIELDS) -> Iterator[DataError]:
    """Yield, for each file whose id another one had before, the error that names both."""
    names = [name for name in names if name in pattern.fields]
    first: dict[tuple[str, ...], Match] = {}
    for match in found:
        same = first.setdefault(match.key(names), match)
        if same is not match:
            yield DataError(
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
