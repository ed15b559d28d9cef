"""The certificate of an export: that the file gives what the network gives, what that is worth, and how fast it is."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexp.exporting.agreement import Agreement, disagreement
from segexp.exporting.latency import Latency
from segexp.metrics.statistics import Interval
from segexp.whole import whole_file

FALL = 0.01
"""By how much Dice may fall for an export in fewer bits to be called a success."""


@dataclass(frozen=True)
class Scores:
    """Dice on the validation cases, the mean over cases of the mean over the foreground classes that are there.

    Attributes:
        before: of the network in float32.
        after: of the exported file.
        difference: after - before, paired by case.
    """

    before: Interval
    after: Interval
    difference: Interval


@dataclass(frozen=True)
class Certificate:
    """What was measured.

    Attributes:
        agreements: at several sizes.
        scores: None where there are no validation cases.
        latencies: by name: "torch" is the network, "file" the export, "float" its float32 file where that is another one.
        size: (H, W) of the image that was timed.
        bytes: of the file.
        weights: bytes of the network's weights in float32.
        machine: what it was measured on.
    """

    agreements: list[Agreement]
    scores: Scores | None
    latencies: dict[str, Latency]
    size: tuple[int, int]
    bytes: int
    weights: int
    machine: str

    @property
    def wrong(self) -> str:
        """What a float export must not be, in words; empty where it is right."""
        return disagreement(self.agreements)

    @property
    def poor(self) -> str:
        """Why an export in fewer bits is no success, in words; empty where it is one."""
        reasons = []
        if self.scores is None:
            reasons.append("its Dice is not known, for there are no validation images")
        elif math.isnan(self.scores.difference.mean):
            reasons.append("its Dice is not known, for no validation mask has any class but the background")
        elif not self.scores.difference.mean >= -FALL:
            reasons.append(f"Dice falls by {-self.scores.difference.mean:.4f}, more than {FALL:g}")
        fast, slow = self.latencies["file"].median, self.latencies.get("float", self.latencies["torch"]).median
        if fast >= slow:
            reasons.append(f"it is not faster than the float32 file ({fast:.1f} ms for {slow:.1f} ms)")
        return " and ".join(reasons)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        scores = self.scores
        return {
            "agreement": [each.as_dict() for each in self.agreements],
            "dice": None if scores is None else {key: _plain(value) for key, value in vars(scores).items()},
            "latency": {
                "unit": "ms of one image",
                "height": self.size[0],
                "width": self.size[1],
                **{name: each.as_dict() for name, each in self.latencies.items()},
            },
            "bytes": {"file": self.bytes, "weights in float32": self.weights},
            "machine": self.machine,
        }


def record(facts: dict[str, Any], certificate: Certificate, verdict: str) -> dict[str, Any]:
    """Return what the certificate's JSON holds.

    Args:
        facts: of the sidecar that identify the export.
        certificate: what was measured.
        verdict: in words.
    """
    values: dict[str, Any] = finite({"what": "segexp-certificate", **facts, "verdict": verdict, **certificate.as_dict()})
    return values


def write_record(path: Path, values: dict[str, Any]) -> None:
    """Write the certificate as JSON."""
    with whole_file(path) as part:
        part.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def finite(values: Any) -> Any:
    """Return plain values with None where a number is not finite, which JSON cannot say."""
    if isinstance(values, dict):
        return {key: finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _plain(interval: Interval) -> dict[str, Any]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "cases": interval.cases}
