"""What an examination of a data set says: facts per case, and findings in words."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from segexp.config.schema import DataConfig
from segexp.errors import sentence
from segexp.types import Case

LEVELS = ("error", "warning", "note")
"""From what stops a training to what is good to know."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        level: "error" (training cannot work, or its numbers would be wrong), "warning" (look at it), "note".
        kind: a short word for it, such as "unmatched", "duplicate", "soft_mask", "leakage".
        found: what is wrong and where, with file names and values.
        do: what to type or change; the config line where there is one.
        cases: ids of the cases, or names of the files, that it is about; all of them.
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
    """What was seen of one case: size (height, width) in pixels, channels, dtype, extremes, mask values with their pixels."""

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
    """All that was found out about a data set.

    Attributes:
        data: the data section that was examined, with what was found out filled in.
        layout: the layout in words and why it was taken.
        cases: the cases with their masks that can be read as pairs.
        splits: case id to "train", "val" or "test".
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


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return errors first, then warnings, then notes; in each, the order in which they came."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
