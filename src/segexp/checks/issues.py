"""Result of a data set check: facts per case and findings."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from segexp.config.schema import DataConfig
from segexp.errors import sentence
from segexp.types import Case

LEVELS = ("error", "warning", "note")
"""Levels of findings, most severe first."""


@dataclass(frozen=True)
class Finding:
    """A problem of the data set.

    Attributes:
        level: "error" (training cannot work, or its scores would be wrong), "warning" or "note".
        kind: short identifier such as "unmatched", "duplicate", "soft_mask", "leakage".
        found: what is wrong and where, with file names and values.
        do: what to type or change.
        cases: ids of all affected cases, or file names.
    """

    level: str
    kind: str
    found: str
    do: str
    cases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.level}: {sentence(self.found)} {sentence(self.do)}"


@dataclass(frozen=True)
class CaseFacts:
    """Facts of one case: size (height, width) in pixels, channels, dtype, minimum and maximum, pixels by mask value."""

    id: str
    size: tuple[int, int]
    channels: int
    dtype: str
    low: float
    high: float
    values: dict[str, int]
    shares: tuple[float, ...] = ()


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
    """

    data: DataConfig
    layout: str
    cases: list[Case] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    facts: dict[str, CaseFacts] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether a finding is an error."""
        return any(finding.level == "error" for finding in self.findings)


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Sort errors first, then warnings, then notes; stable within each level."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
