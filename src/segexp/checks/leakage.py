"""Cases that belong together on both sides of a split: by their groups, by their names, by how they follow each other."""

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
from segexp.data.layout.groups import grouped
from segexp.data.splits import SPLIT_NAMES
from segexp.errors import SegexpError, listed
from segexp.types import Case

MIN_STEMS = 6
"""Fewer cases show no habit of naming."""
LEVELS = 5
"""Pieces of a name that may make up its stem."""
NAMES = 5
"""So many stems without a number (cities, people) are needed to believe in them; benign and malignant are no patients."""

_ANYWHERE = r"^(?:.*/)?"
_PAGES = r"^(?:train/|val/|test/)?(.*)/"
_YEAR = re.compile(r"(19|20)\d\d")


@dataclass(frozen=True)
class Stems:
    """A habit of naming.

    Attributes:
        regex: what to type as data.groups; it fits every id.
        of: the stem of each id.
        numbered: whether most stems hold a number, as those of patients and scans do.
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
    """Return what the ids of cases have in common in groups, None where each stands for itself.

    Of several ways to cut the ids the coarsest with three or more groups is taken: a patient before a visit of a patient.
    """
    ids = [case.id for case in cases]
    if len(ids) < MIN_STEMS:
        return None
    found = [stems for regex in _regexes(cases) if (stems := _fitted(regex, ids)) is not None]
    return next((stems for stems in found if len(set(stems.of.values())) > 2), found[0] if found else None)


def _regexes(cases: Sequence[Case]) -> list[str]:
    """Return expressions whose bracket would be the group, the coarsest first."""
    rests = [case.id.removeprefix(f"{case.split}/") for case in cases]
    if all("/" in rest for rest in rests):  # pages of stacks
        return [_PAGES]
    out = []
    for count in range(1, LEVELS):
        sign = _shared_sign(rests, count)
        if sign:
            piece = rf"[^/{sign}]+"
            out.append(_ANYWHERE + rf"({rf'{piece}{sign}' * (count - 1)}{piece}){sign}")
    names = [rest.rpartition("/")[2] for rest in rests]
    words = {tuple(re.findall(r"[^\d]+", name)) for name in names}
    if len(words) == 1 and all(re.fullmatch(r"[A-Za-z]*\d+(?:[A-Za-z]+\d+)+", name) for name in names):
        out.append(_ANYWHERE + r"([A-Za-z]*\d+)[A-Za-z]")  # p01s003
    if all(re.fullmatch(r".*\d[A-Za-z]", name) for name in names):
        out.append(_ANYWHERE + r"(.*\d)[A-Za-z]$")  # image_01L, image_01R
    return out


def _shared_sign(rests: Sequence[str], count: int) -> str:
    """Return the sign that parts every name into more than `count` pieces, "" without one."""
    names = [rest.rpartition("/")[2] for rest in rests]
    return next((sign for sign in ("_", "-", " ", ".") if all(name.count(sign) >= count for name in names)), "").replace(
        ".", r"\."
    )


def _fitted(regex: str, ids: Sequence[str]) -> Stems | None:
    """Return the stems that an expression gives, if they group the cases as patients would."""
    try:
        of = grouped(ids, regex, Path())
    except SegexpError:
        return None
    counts = Counter(of.values())
    several = sum(count for count in counts.values() if count > 1)
    if len(counts) < 2 or several < 0.6 * len(ids) or len(ids) < 2 * len(counts):
        return None
    if all(_YEAR.fullmatch(stem) for stem in counts):
        return None
    numbered = sum(any(sign.isdigit() for sign in stem) for stem in counts) >= 0.8 * len(counts)
    if not numbered and regex != _PAGES and len(counts) < NAMES:
        return None
    return Stems(regex, of, numbered)


COLUMNS = ("patient", "subject", "scan", "volume", "series", "study", "slide", "specimen", "donor", "animal", "group", "tile")
"""Words in the heading of a column that names what belongs together, the surer first."""

MOST_BYTES = 2**22
"""Larger tables are not looked into."""


def suggest_groups(cases: Sequence[Case], root: Path) -> tuple[Any, str] | None:
    """Return a value for `data.groups` and why, or None when nothing says that cases belong together.

    Args:
        cases: all cases.
        root: folder of the data, in which tables (CSV) are looked for.
    """
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
            if column not in key and _works(ids, choice, root):
                return choice
    return None


def _works(ids: Sequence[str], choice: dict[str, str], root: Path) -> bool:
    try:
        return bool(_of_several(grouped(ids, choice, root).values()))
    except SegexpError:
        return False


def _of_several(names: Iterable[str]) -> set[str]:
    """Return the different names if there are at least two of them, each for two cases on average; else nothing."""
    listed = list(names)
    different = set(listed)
    return different if 2 <= len(different) <= len(listed) / 2 else set()


MIN_CASES = 8
"""Fewer pictures are no series."""
SERIES, FAR = 0.4, 0.2
"""Median likeness of neighbours from which pictures are slices or frames, and how much less like distant ones must be."""


def check_groups(cases: Sequence[Case], splits: Mapping[str, str]) -> list[Finding]:
    """Return a finding on groups that have cases in several splits, which only a split that lies on disk can have."""
    of = {case.id: case.group for case in cases if case.group is not None}
    torn = _torn(of, splits)
    if not torn:
        return []
    ids = tuple(case.id for case in cases if case.group in torn)
    return [
        Finding(
            "error",
            "leakage",
            f"{_count(len(torn), 'group has', 'groups have')} cases in more than one split: {_sides(torn)}; "
            "validation scores would tell how well the network knows these groups, not how well it does on new ones",
            _anew(splits, of),
            ids,
        )
    ]


def check_names(cases: Sequence[Case], splits: Mapping[str, str], root: Path | None = None) -> list[Finding]:
    """Return a finding on cases without groups of which a table beside them, or their names, say that they belong together.

    Args:
        cases: all cases.
        splits: split by case id.
        root: folder in which tables (CSV) are looked for; None looks at the names alone.
    """
    if any(case.group is not None for case in cases):
        return []
    suggested = suggest_groups(cases, root) if root is not None else None
    if suggested is None or not isinstance(suggested[0], dict):
        return check_stems(cases, splits)
    choice = suggested[0]
    of = grouped([case.id for case in cases], choice, root or Path())
    line = f"'data.groups={{{', '.join(f'{key}: {_quoted(value)}' for key, value in choice.items())}}}'"
    torn = _torn(of, splits)
    on_disk = all(case.split is not None for case in cases)
    if on_disk and not torn:
        return []
    text = f"{choice['file']} names the {choice['column']} of each case, and no groups are declared"
    ids = tuple(case.id for case in cases if of[case.id] in torn)
    if on_disk:
        text += f"; {len(torn)} of {len(set(of.values()))} are in more than one split: {_sides(torn)}"
        return [Finding("error", "leakage", text, _anew(splits, of, line), ids)]
    text += f"; the random split puts {len(torn)} of {len(set(of.values()))} into more than one split" if torn else ""
    return [Finding("warning", "leakage", text, f"Type {line}, so that they are never split apart", ids)]


def check_stems(cases: Sequence[Case], splits: Mapping[str, str]) -> list[Finding]:
    """Return a finding on cases whose names look like parts of a whole, such as slices of a patient.

    A split that lies on disk and keeps the stems apart is right as it is.
    """
    stems = find_stems(cases)
    if stems is None:
        return []
    torn = _torn(stems.of, splits)
    on_disk = all(case.split is not None for case in cases)
    if on_disk and not torn:
        return []
    ids = tuple(case.id for case in cases if stems.of[case.id] in torn) or tuple(stems.of)
    line = _typed(stems)
    if not stems.numbered:
        text = f"{len(cases)} cases share {len(set(stems.of.values()))} stems of names: {stems.example}"
        do = f"If cases of one stem belong together (one person, one place), type {line}"
        return [Finding("note", "leakage", text, do, ids)]
    text = f"Names look like parts of a whole (slices of a patient, say), and no groups are declared: {stems.example}"
    if not on_disk:
        where = f"; the random split puts {len(torn)} of {len(set(stems.of.values()))} into more than one split" if torn else ""
        return [Finding("warning", "leakage", text + where, f"Type {line}, so that they are never split apart", ids)]
    again = _numbered_anew(cases)
    text += f"; {len(torn)} of {len(set(stems.of.values()))} are in more than one split: {_sides(torn)}"
    if again:
        text += ". The same names occur in several splits, so numbers may start anew in each; then it is no leak"
    return [Finding("warning" if again else "error", "leakage", text, _anew(splits, stems.of, line), ids)]


def check_series(looks: Sequence[CaseScan], splits: Mapping[str, str], root: Path) -> list[Finding]:
    """Return a finding on cases without groups that follow each other like slices or frames and are split at random."""
    cases = [look.case for look in looks]
    alone = all(case.group is None and case.split is None for case in cases)
    if not alone or len(looks) < MIN_CASES or check_names(cases, splits, root):
        return []
    near, far = neighbour_likeness([look.picture for look in looks])
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


def _torn(of: Mapping[str, str], splits: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """Return the groups that have cases in several splits: group to split to ids."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for id_, group in of.items():
        if id_ in splits:
            found[group][splits[id_]].append(id_)
    order = SPLIT_NAMES.index
    return {
        group: {split: sides[split] for split in sorted(sides, key=order)} for group, sides in found.items() if len(sides) > 1
    }


def _sides(torn: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    return listed(
        [
            f"{group} ({' and '.join(f'{len(ids)} in {split}, as {ids[0]}' for split, ids in sides.items())})"
            for group, sides in torn.items()
        ],
        4,
    )


def _anew(splits: Mapping[str, str], of: Mapping[str, str], line: str = "") -> str:
    """Return what to type to have cases split anew by their groups, as far as that is possible.

    Args:
        splits: split by case id.
        of: group by case id.
        line: what declares the groups, if they are not declared yet.
    """
    groups = {group for id_, group in of.items() if splits.get(id_) != "test"}
    if len(groups) < 2:
        return "Move the cases of a group into one split"
    typed = " ".join([f"data.folds={min(5, len(groups))} data.fold=0", line]).strip()
    if "test" in splits.values():
        return f"Move the cases of a group into one split; train and val alone are split anew by groups if you type {typed}"
    return f"Move the cases of a group into one split, or have train and val split anew by groups: type {typed}"


def _quoted(text: str) -> str:
    return text if text.replace(".", "").replace("_", "").isalnum() else f'"{text}"'


def _numbered_anew(cases: Sequence[Case]) -> bool:
    """Tell whether the same id occurs in several splits."""
    rests = [case.id.removeprefix(f"{case.split}/") for case in cases]
    return len(set(rests)) < len(rests)


def _typed(stems: Stems) -> str:
    return f"'data.groups=\"{stems.regex}\"'"


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
