r"""Ids that share a stem, as slices of one patient do: p01_001, p01_002, scan3-slice12, TCGA_CS_4941_19960909_7.

One running number (ISIC_0000001, 007, image_12) has no stem: all cases would share it, or none.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segexp.data.layout.groups import grouped
from segexp.errors import SegexpError
from segexp.types import Case

LEAST = 6
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
    if len(ids) < LEAST:
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
