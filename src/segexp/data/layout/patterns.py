"""File patterns.

`{id} {split} {group} {page}` match text within one path part, `*` any text within one path part, `{gif,png}` one of several
words, `.*` at the end any image extension, and `[{id}]` or `[{page}]` at the end every page of a multi-page file, counted from
0. Everything else is literal; only the extension is case-insensitive. Repeated fields must match the same text.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segexp.data.annotations.files import is_annotation
from segexp.data.io import npy
from segexp.data.io.images import SUFFIXES, page_count
from segexp.errors import ConfigError, DataError, nearest
from segexp.types import Source

FIELDS = ("split", "group", "id", "page")
"""In the order in which they form the id of a case."""

_TOKEN = re.compile(r"(\{[^{}]*\}|\*)")
_PAGES = re.compile(r"(.*)\[\{(\w+)\}\]")


@dataclass(frozen=True)
class Pattern:
    """A parsed pattern.

    Attributes:
        text: as written.
        key: its configuration key, for messages.
        regex: matches a path relative to the root, with "/".
        fields: names of the fields, including that of the page.
        page: field that numbers the pages, or None.
        literals: number of literal characters; of two matching patterns, the one with more wins.
        many: whether several files may belong to one case, by a `*` that is not the extension.
        orientation: of volumes, None as they are stored.
        lists_images: whether each file is one of annotations that lists many images, which have their fields from their names.
    """

    text: str
    key: str
    regex: re.Pattern[str]
    fields: frozenset[str]
    page: str | None
    literals: int
    many: bool
    orientation: str | None = None
    lists_images: bool = False

    @property
    def of_class(self) -> str:
        """Class of a mask pattern of overlapping labels; else ""."""
        return self.key.partition("data.mask.")[2]

    @property
    def depth(self) -> int:
        """Number of folders above a matching file."""
        return self.text.count("/")

    def match(self, name: str) -> dict[str, str] | None:
        """Return the fields (without the page) of a path relative to the root, or None."""
        found = self.regex.fullmatch(name)
        return found.groupdict() if found else None

    def fill(self, fields: dict[str, str]) -> str:
        """Fill in fields; unknown fields and `*` are kept."""
        return re.sub(r"\{(\w+)\}", lambda found: fields.get(found[1], found[0]), self.text)


def parse_pattern(text: str, key: str, orientation: str | None = None) -> Pattern:
    """Parse a pattern.

    Raises:
        ConfigError: it is empty, leaves the root, has an unknown field or no id.
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
    lists_images = key.startswith("data.mask") and is_annotation(body) and not fields & {"id", "page"}
    if not (lists_images or fields & {"id", "page"}):
        raise ConfigError(f"{key}={text} has no {{id}}", "{id} is what tells one case from another", f"Write {{id}} into {key}")
    literals = len(re.sub(r"\{[^{}]*\}|\*", "", body)) + sum(
        min(map(len, group.split(","))) for group in re.findall(r"\{([^{}]*,[^{}]*)\}", body)
    )
    return Pattern(plain, key, re.compile(regex), fields, page, literals, "*" in stem, orientation, lists_images)


def parse_masks(mask: str | Mapping[str, str] | None, images: Pattern, orientation: str | None = None) -> dict[str, Pattern]:
    """Parse the mask pattern (key "") or one pattern per class; entries of annotation files have the fields of the images.

    Raises:
        ConfigError: see `parse_pattern`.
    """
    if mask is None:
        return {}
    texts = {"": mask} if isinstance(mask, str) else mask
    keys = {name: f"data.mask.{name}" if name else "data.mask" for name in texts}
    parsed = {name: parse_pattern(text, keys[name], orientation) for name, text in texts.items()}
    return {
        name: replace(pattern, fields=images.fields, many=False) if pattern.lists_images else pattern
        for name, pattern in parsed.items()
    }


def _split_ending(body: str) -> tuple[str, str]:
    """Split a path at the extension, ignoring dots in braces."""
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
"""Path words and the splits they mean."""


@dataclass(frozen=True)
class Match:
    """A matched file: name relative to the root, fields (split normalised) and source."""

    name: str
    fields: dict[str, str]
    source: Source

    def key(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the values of some fields."""
        return tuple(self.fields[name] for name in names)

    @property
    def id(self) -> str:
        """Case id of an image."""
        return "/".join(self.fields[name] for name in FIELDS if name in self.fields)


def match_files(
    root: Path, files: Iterable[str], pattern: Pattern, others: Sequence[Pattern], problems: list[DataError]
) -> list[Match]:
    """Return the files that match a pattern, except those that another pattern matches better; one entry per page.

    Args:
        root: the folder.
        files: names relative to it.
        pattern: of the files.
        others: competing patterns.
        problems: collects those of single files, which are then skipped: {split} matches no split, or the pages cannot be
            counted.

    Raises:
        ConfigError: two patterns are equal.
    """
    for other in others:
        if other.text == pattern.text:
            raise ConfigError(
                f"{pattern.key} and {other.key} are both {pattern.text}", "They name different files", "Change one of them"
            )
    found: list[Match] = []
    for name in files:
        if owner(name, [pattern, *others]) is pattern and (fields := pattern.match(name)) is not None:
            if npy.holds_objects(root, name) and not pattern.text.lower().endswith(".npy"):
                continue  # `NAME_seg.npy` of Cellpose beside the picture NAME
            if pattern.lists_images and fields.get("split", "train").lower() not in SPLITS:
                continue  # another JSON file beside those of the splits
            try:
                found += _pages(root, name, fields, pattern)
            except DataError as problem:
                problems.append(problem)
    return found


def owner(name: str, patterns: Iterable[Pattern]) -> Pattern | None:
    """Return the most specific of the patterns that match a file."""
    matching = [pattern for pattern in patterns if pattern.regex.fullmatch(name)]
    return max(matching, key=lambda pattern: (pattern.literals, pattern.key), default=None)


def _pages(root: Path, name: str, fields: dict[str, str], pattern: Pattern) -> list[Match]:
    """Return one match, or one per page."""
    if "split" in fields:
        fields["split"] = _split(fields["split"], name, pattern)
    if pattern.page is None:
        return [Match(name, fields, Source(root / name, None, pattern.orientation))]
    return [
        Match(f"{name}[{page}]", {**fields, pattern.page: str(page)}, Source(root / name, page, pattern.orientation))
        for page in range(page_count(root / name, pattern.orientation))
    ]


def check_unique(found: Iterable[Match], pattern: Pattern, names: Iterable[str] = FIELDS) -> None:
    """Refuse duplicate ids.

    Raises:
        DataError: names both files.
    """
    for problem in duplicate_ids(found, pattern, names):
        raise problem


def duplicate_ids(found: Iterable[Match], pattern: Pattern, names: Iterable[str] = FIELDS) -> Iterator[DataError]:
    """Yield an error for each file with the id of an earlier one."""
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


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
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
