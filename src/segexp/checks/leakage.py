"""Leakage between splits: related cases by group, by name, or in series."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

from segexp.checks.duplicates import neighbour_likeness
from segexp.checks.issues import Finding
from segexp.checks.scan import CaseScan
from segexp.config.overrides import shell_words
from segexp.data.layout.groups import assign_groups
from segexp.data.splits import SPLIT_NAMES
from segexp.errors import SegexpError, listed
from segexp.types import Case

MIN_STEMS = 6
"""Minimum number of cases to infer a naming scheme."""
LEVELS = 5
"""Maximum number of name parts in a stem."""
NAMES = 5
"""Minimum number of stems without digits (cities, people), so that class names such as benign and malignant are not groups."""

_ANYWHERE = r"^(?:.*/)?"
_PAGES = r"^(?:train/|val/|test/)?(.*)/"
_YEAR = re.compile(r"(19|20)\d\d")


@dataclass(frozen=True)
class Stems:
    """A naming scheme.

    Attributes:
        regex: value for data.groups; it matches every id.
        of: stem by id.
        numbered: whether most stems contain a digit, as those of patients and scans do.
    """

    regex: str
    of: dict[str, str]
    numbered: bool

    @property
    def example(self) -> str:
        """The largest groups with their sizes, for messages."""
        counts = Counter(self.of.values())
        return ", ".join(f"{stem} ({count} cases)" for stem, count in sorted(counts.items(), key=lambda item: -item[1])[:3])


def find_stems(cases: Sequence[Case]) -> Stems | None:
    """Return the common stems of the ids, None without groups; the coarsest scheme with three or more groups wins."""
    ids = [case.id for case in cases]
    if len(ids) < MIN_STEMS:
        return None
    found = [stems for regex in _regexes(cases) if (stems := _stems_of(regex, ids)) is not None]
    return next((stems for stems in found if len(set(stems.of.values())) > 2), found[0] if found else None)


def _regexes(cases: Sequence[Case]) -> list[str]:
    """Return candidate expressions whose capture group is the stem, coarsest first."""
    rests = [case.id.removeprefix(f"{case.split}/") for case in cases]
    if all("/" in rest for rest in rests):  # pages of stacks
        return [_PAGES]
    out = []
    for count in range(1, LEVELS):
        separator = _shared_separator(rests, count)
        if separator:
            piece = rf"[^/{separator}]+"
            out.append(_ANYWHERE + rf"({rf'{piece}{separator}' * (count - 1)}{piece}){separator}")
    names = [rest.rpartition("/")[2] for rest in rests]
    words = {tuple(re.findall(r"[^\d]+", name)) for name in names}
    if len(words) == 1 and all(re.fullmatch(r"[A-Za-z]*\d+(?:[A-Za-z]+\d+)+", name) for name in names):
        out.append(_ANYWHERE + r"([A-Za-z]*\d+)[A-Za-z]")  # p01s003
    if all(re.fullmatch(r".*\d[A-Za-z]", name) for name in names):
        out.append(_ANYWHERE + r"(.*\d)[A-Za-z]$")  # image_01L, image_01R
    return out


def _shared_separator(rests: Sequence[str], count: int) -> str:
    """Return the separator that splits every name into more than `count` parts, "" without one."""
    names = [rest.rpartition("/")[2] for rest in rests]
    found = (separator for separator in "_- ." if all(name.count(separator) >= count for name in names))
    return next(found, "").replace(".", r"\.")


def _stems_of(regex: str, ids: Sequence[str]) -> Stems | None:
    """Return the stems that an expression gives, None if they do not look like groups."""
    try:
        of = assign_groups(ids, regex, Path())
    except SegexpError:
        return None
    counts = Counter(of.values())
    several = sum(count for count in counts.values() if count > 1)
    if len(counts) < 2 or several < 0.6 * len(ids) or len(ids) < 2 * len(counts):
        return None
    if all(_YEAR.fullmatch(stem) for stem in counts):
        return None
    numbered = sum(any(character.isdigit() for character in stem) for stem in counts) >= 0.8 * len(counts)
    if not numbered and regex != _PAGES and len(counts) < NAMES:
        return None
    return Stems(regex, of, numbered)


COLUMNS = ("patient", "subject", "scan", "volume", "series", "study", "slide", "specimen", "donor", "animal", "group", "tile")
"""Words in the names of columns that hold groups, most reliable first."""

MOST_BYTES = 2**22
"""Larger tables are skipped."""


def suggest_groups(cases: Sequence[Case], root: Path) -> tuple[Any, str] | None:
    """Return a value for `data.groups` and the reason, or None; tables (CSV) are searched in `root`."""
    ids = [case.id for case in cases]
    for file in sorted(root.glob("*.csv")):
        if file.stat().st_size <= MOST_BYTES and (found := _by_table(ids, root, file)):
            return found, f"{file.name} names the {found['column']} of each case; null if each case stands alone"
    stems = find_stems(cases)
    if stems is None or not stems.numbered:
        return None
    return stems.regex, f"names look like parts of a whole: {stems.example}; null if each case stands alone"


def _by_table(ids: Sequence[str], root: Path, file: Path) -> dict[str, str] | None:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            first = text.readline()
            text.seek(0)
            rows = list(csv.DictReader(text, delimiter=max(",;\t", key=first.count)))
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    names = [name for name in (rows[0] if rows else {}) if name]
    groups = [name for word in COLUMNS for name in names if word in name.lower()]
    keys = [(name,) for name in names] + list(permutations(names[:8], 2))
    for key in keys if groups else []:
        found = {"/".join(str(row.get(name)) for name in key) for row in rows}
        if not found.issuperset(ids):
            continue
        match = "/".join(f"{{{name}}}" for name in key)
        for column in groups:
            choice = {"file": file.name, "match": match, "column": column}
            if column not in key and _table_fits(ids, choice, root):
                return choice
    return None


def _table_fits(ids: Sequence[str], choice: dict[str, str], root: Path) -> bool:
    try:
        return bool(_distinct_groups(assign_groups(ids, choice, root).values()))
    except SegexpError:
        return False


def _distinct_groups(names: Iterable[str]) -> set[str]:
    """Return the distinct names if there are at least two, with two cases each on average; else an empty set."""
    listed = list(names)
    different = set(listed)
    return different if 2 <= len(different) <= len(listed) / 2 else set()


MIN_CASES = 8
"""Minimum number of images in a series."""
SERIES, FAR = 0.4, 0.2
"""Minimum median similarity of neighbours in a series, and by how much distant images must be less similar."""


def check_groups(cases: Sequence[Case], splits: Mapping[str, str]) -> list[Finding]:
    """Return findings on groups with cases in several splits; only possible for splits on disk."""
    of = {case.id: case.group for case in cases if case.group is not None}
    divided = _groups_across_splits(of, splits)
    if not divided:
        return []
    ids = tuple(case.id for case in cases if case.group in divided)
    have = "group has" if len(divided) == 1 else "groups have"
    text = (
        f"{len(divided)} {have} cases in more than one split: {_describe_divided(divided)}; "
        "validation scores would tell how well the network knows these groups, not how well it does on new ones"
    )
    return [Finding("error", "leakage", text, _resplit_advice(splits, of), ids)]


def check_names(cases: Sequence[Case], splits: Mapping[str, str], root: Path | None = None) -> list[Finding]:
    """Return findings on ungrouped cases that a table (CSV in `root`, unless None) or their names relate to each other."""
    if any(case.group is not None for case in cases):
        return []
    suggested = suggest_groups(cases, root) if root is not None else None
    if suggested is None or not isinstance(suggested[0], dict):
        return check_stems(cases, splits)
    choice = suggested[0]
    of = assign_groups([case.id for case in cases], choice, root or Path())
    line = shell_words({"data.groups": choice})
    divided = _groups_across_splits(of, splits)
    on_disk = all(case.split is not None for case in cases)
    if on_disk and not divided:
        return []
    text = f"{choice['file']} names the {choice['column']} of each case, and no groups are declared"
    ids = tuple(case.id for case in cases if of[case.id] in divided)
    if on_disk:
        text += f"; {len(divided)} of {len(set(of.values()))} are in more than one split: {_describe_divided(divided)}"
        return [Finding("error", "leakage", text, _resplit_advice(splits, of, line), ids)]
    text += f"; the random split puts {len(divided)} of {len(set(of.values()))} into more than one split" if divided else ""
    return [Finding("warning", "leakage", text, f"Type {line}, so that they are never split apart", ids, {"groups": choice})]


def check_stems(cases: Sequence[Case], splits: Mapping[str, str]) -> list[Finding]:
    """Return findings on cases whose names suggest groups, such as slices of a patient, that are not kept together."""
    stems = find_stems(cases)
    if stems is None:
        return []
    divided = _groups_across_splits(stems.of, splits)
    on_disk = all(case.split is not None for case in cases)
    if on_disk and not divided:
        return []
    ids = tuple(case.id for case in cases if stems.of[case.id] in divided) or tuple(stems.of)
    line = shell_words({"data.groups": stems.regex})
    if not stems.numbered:
        text = f"{len(cases)} cases share {len(set(stems.of.values()))} stems of names: {stems.example}"
        do = f"If cases of one stem belong together (one person, one place), type {line}"
        return [Finding("note", "leakage", text, do, ids)]
    text = f"Names look like parts of a whole (slices of a patient, say), and no groups are declared: {stems.example}"
    if not on_disk:
        where = (
            f"; the random split puts {len(divided)} of {len(set(stems.of.values()))} into more than one split"
            if divided
            else ""
        )
        do = f"Type {line}, so that they are never split apart"
        return [Finding("warning", "leakage", text + where, do, ids, {"groups": stems.regex})]
    again = len({case.id.removeprefix(f"{case.split}/") for case in cases}) < len(cases)  # the same id in several splits
    text += f"; {len(divided)} of {len(set(stems.of.values()))} are in more than one split: {_describe_divided(divided)}"
    if again:
        text += ". The same names occur in several splits, so numbers may start anew in each; then it is no leak"
    return [Finding("warning" if again else "error", "leakage", text, _resplit_advice(splits, stems.of, line), ids)]


def check_series(scans: Sequence[CaseScan], splits: Mapping[str, str], root: Path) -> list[Finding]:
    """Return a finding on ungrouped cases that look like consecutive slices or frames and are split at random."""
    cases = [scan.case for scan in scans]
    alone = all(case.group is None and case.split is None for case in cases)
    if not alone or len(scans) < MIN_CASES or check_names(cases, splits, root):
        return []
    near, far = neighbour_likeness([scan.picture for scan in scans])
    if near < SERIES or near - far < FAR:
        return []
    parted = sum(splits.get(a.id) != splits.get(b.id) for a, b in pairwise(cases))
    text = (
        f"Pictures that follow each other are alike (correlation of detail {near:.2f}, of distant ones {far:.2f}), as slices "
        f"of a scan or frames of a film are, no groups are declared, and the random split parts {parted} neighbours"
    )
    do = (
        "Put a table with the columns id and group (the scan or film of each case) beside the pictures and type "
        "'data.groups={file: groups.csv, match: \"{id}\", column: group}'"
    )
    return [Finding("warning", "leakage", text, do)]


def _groups_across_splits(of: Mapping[str, str], splits: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """Return the groups with cases in several splits: group to split to ids."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for id_, group in of.items():
        if id_ in splits:
            found[group][splits[id_]].append(id_)
    order = SPLIT_NAMES.index
    return {
        group: {split: sides[split] for split in sorted(sides, key=order)} for group, sides in found.items() if len(sides) > 1
    }


def _describe_divided(divided: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    return listed(
        [
            f"{group} ({' and '.join(f'{len(ids)} in {split}, as {ids[0]}' for split, ids in sides.items())})"
            for group, sides in divided.items()
        ],
        4,
    )


def _resplit_advice(splits: Mapping[str, str], of: Mapping[str, str], line: str = "") -> str:
    """Return advice for splitting the cases by group; `line` is an override that declares the groups, if needed."""
    groups = {group for id_, group in of.items() if splits.get(id_) != "test"}
    pool = {id_: group for id_, group in of.items() if splits.get(id_) != "test"}
    if len(groups) < 2 or not _groups_across_splits(pool, splits):  # nothing changes, or they are split by groups already
        return "Move the cases of a group into one split"
    typed = " ".join([f"data.folds={min(5, len(groups))} data.fold=0", line]).strip()
    if "test" in splits.values():
        return f"Move the cases of a group into one split; train and val alone are split anew by groups if you type {typed}"
    return f"Move the cases of a group into one split, or have train and val split anew by groups: type {typed}"
