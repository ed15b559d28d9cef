"""The pattern language that describes where the files of a data set lie.

`{id} {split} {group} {page}` stand for a piece of one path part, `*` for any piece of one path part, `{gif,png}` for one of
several words, `.*` at the end for any picture format, and `[{id}]` or `[{page}]` at the end for every page of a multi-page
file, numbered from 0. Everything else stands for itself; only the file name's ending may differ in case. A field that
occurs twice must hold the same text both times.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segexp.data.io.images import SUFFIXES, page_count
from segexp.errors import ConfigError, DataError, nearest
from segexp.types import Source

FIELDS = ("split", "group", "id", "page")
"""In the order in which they make up the id of a case."""

_TOKEN = re.compile(r"(\{[^{}]*\}|\*)")
_PAGES = re.compile(r"(.*)\[\{(\w+)\}\]")


@dataclass(frozen=True)
class Pattern:
    """A parsed pattern.

    Attributes:
        text: as written.
        key: the configuration key it came from, for messages.
        regex: matches the path of a file relative to the root, with "/" between its parts.
        fields: names of the fields, the page's included.
        page: the field that numbers the pages, or None.
        literals: characters that stand for themselves: of two patterns that fit a file, the one with more is meant.
        many: whether several files may belong to one case, by a `*` that is not the file name's ending.
    """

    text: str
    key: str
    regex: re.Pattern[str]
    fields: frozenset[str]
    page: str | None
    literals: int
    many: bool

    @property
    def of_class(self) -> str:
        """The class whose masks it finds, where each class has a pattern of its own; else ""."""
        return self.key.partition("data.mask.")[2]

    @property
    def depth(self) -> int:
        """Folders above a matching file."""
        return self.text.count("/")

    def match(self, name: str) -> dict[str, str] | None:
        """Return the fields of a path relative to the root, or None; the page's field is not among them."""
        found = self.regex.fullmatch(name)
        return found.groupdict() if found else None

    def fill(self, fields: dict[str, str]) -> str:
        """Return the name that the pattern gives to these fields; unknown fields and `*` stay as they are."""
        return re.sub(r"\{(\w+)\}", lambda found: fields.get(found[1], found[0]), self.text)


def parse(text: str, key: str) -> Pattern:
    """Parse a pattern.

    Raises:
        ConfigError: the text is empty, leaves the root, has an unknown field or none that tells cases apart.
    """
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(
            f"{key} is {text!r}", "A pattern of file names is needed", f"Type for example '{key}=\"images/{{id}}.png\"'"
        )
    plain = re.sub(r"^(\./)+", "", text.strip().replace("\\", "/"))
    if plain.startswith("/") or ".." in plain.split("/"):
        raise ConfigError(
            f"{key}={text} leaves data.root", "Patterns are relative to data.root", "Change data.root=DIR instead"
        )
    paged = _PAGES.fullmatch(plain)
    page = paged[2] if paged else None
    body = paged[1] if paged else plain
    if page not in (None, "id", "page"):
        raise ConfigError(
            f"{key}={text} numbers pages by {{{page}}}", "[{id}] or [{page}] ends a pattern of pages", f"Change {key}"
        )
    stem, ending = _split_ending(body)
    seen: list[str] = []
    regex = _compiled(stem, seen, key, text) + f"(?i:{_ending(ending, seen, key, text)})"
    fields = frozenset(seen) | ({page} if page else set())
    if page and page in seen:
        raise ConfigError(
            f"{key}={text} uses {{{page}}} for the file and for the page", "One field holds one thing", "Write [{page}]"
        )
    if not fields & {"id", "page"}:
        raise ConfigError(f"{key}={text} has no {{id}}", "{id} is what tells one case from another", f"Write {{id}} into {key}")
    literals = len(re.sub(r"\{[^{}]*\}|\*", "", body)) + sum(
        min(map(len, group.split(","))) for group in re.findall(r"\{([^{}]*,[^{}]*)\}", body)
    )
    return Pattern(plain, key, re.compile(regex), fields, page, literals, "*" in stem)


def parse_masks(mask: str | Mapping[str, str] | None) -> dict[str, Pattern]:
    """Parse the pattern of the masks, or that of each class, by the class's name; "" stands for all classes in one mask.

    Raises:
        ConfigError: see `parse`.
    """
    if mask is None:
        return {}
    if isinstance(mask, str):
        return {"": parse(mask, "data.mask")}
    return {name: parse(text, f"data.mask.{name}") for name, text in mask.items()}


def _split_ending(body: str) -> tuple[str, str]:
    """Return the path up to its last dot outside braces in the last part, and the rest."""
    dots = [found.start() for found in re.finditer(r"\.(?![^{}]*\})", body)]
    cut = dots[-1] if dots and dots[-1] > body.rfind("/") else len(body)
    return body[:cut], body[cut:]


def _ending(ending: str, seen: list[str], key: str, text: str) -> str:
    if ending == ".*":
        return rf"\.(?:{'|'.join(SUFFIXES)})"
    return _compiled(ending, seen, key, text)


def _compiled(body: str, seen: list[str], key: str, text: str) -> str:
    return "".join(_piece(token, seen, key, text) for token in _TOKEN.split(body) if token)


def _piece(token: str, seen: list[str], key: str, text: str) -> str:
    if token == "*":
        return "[^/]*"
    if not (token.startswith("{") and token.endswith("}")):
        return re.escape(token)
    name = token[1:-1]
    if "," in name:
        return f"(?:{'|'.join(re.escape(word.strip()) for word in name.split(','))})"
    if name not in FIELDS:
        raise ConfigError(f"{key}={text} has the unknown field {{{name}}}", do=nearest(name, FIELDS))
    if name in seen:
        return f"(?P={name})"
    seen.append(name)
    return f"(?P<{name}>[^/]+?)"


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
