"""Result of a data set check: facts per case and findings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from segexp.config.schema import DataConfig
from segexp.errors import sentence
from segexp.types import Case

LEVELS = ("error", "warning", "note")
"""Levels of findings, most severe first."""


@dataclass(frozen=True)
class Finding:
    """A problem of the data set.

    Attributes:
        level: "error" (training refuses the data), "warning" (a guess, or what may spoil the result) or "note".
        kind: short identifier such as "unmatched", "duplicate", "soft_mask", "leakage".
        found: what is wrong and where, with file names and values.
        do: what to type or change.
        cases: ids of all affected cases, or file names.
        remedy: keys of the data section that resolve it, where what to type is one thing.
    """

    level: str
    kind: str
    found: str
    do: str
    cases: tuple[str, ...] = ()
    remedy: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{self.level}: {sentence(self.found)} {sentence(self.do)}"


@dataclass(frozen=True)
class CaseFacts:
    """Facts of one case.

    Attributes:
        id: of the case.
        size: height and width in pixels.
        channels: of the image.
        dtype: of the image.
        low: minimum of the image.
        high: maximum of the image.
        values: pixels by mask value, of all mask files.
        shares: of each class in the labelled pixels of the merged mask; empty if it cannot be encoded.
        ignored: pixels that are not labelled.
    """

    id: str
    size: tuple[int, int]
    channels: int
    dtype: str
    low: float
    high: float
    values: dict[str, int]
    shares: tuple[float, ...] = ()
    ignored: int = 0

    @property
    def labelled(self) -> int:
        """Number of labelled pixels."""
        return self.size[0] * self.size[1] - self.ignored


def class_shares(facts: Iterable[CaseFacts]) -> list[float]:
    """Return the share of each class in the labelled pixels of all cases whose shares are known; [] if there are none."""
    known = [each for each in facts if each.shares]
    total = max(1, sum(each.labelled for each in known))
    pixels = zip(*([share * each.labelled for share in each.shares] for each in known), strict=True)
    return [sum(of_class) / total for of_class in pixels]


@dataclass
class Examination:
    """Everything found out about a data set.

    Attributes:
        data: the data section, with the inferred keys filled in.
        layout: description of the layout and why it was chosen.
        cases: the image-mask pairs.
        splits: "train", "val" or "test" by case id.
        facts: one entry per readable case, by id.
        findings: errors first.
        stratified: whether the split is drawn at random, stratified by class.
    """

    data: DataConfig
    layout: str
    cases: list[Case] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    facts: dict[str, CaseFacts] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    stratified: bool = False

    @property
    def failed(self) -> bool:
        """Whether a finding is an error."""
        return any(finding.level == "error" for finding in self.findings)


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Sort errors first, then warnings, then notes; stable within each level."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
