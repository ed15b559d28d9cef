"""The certificate of an export: that the file gives what the network gives, what that is worth, and how fast it is."""

import json
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segexp.atomic import atomic_write
from segexp.data.dataset import EvalDataset
from segexp.deployment.quantization import Quantised
from segexp.deployment.runtime import Runner
from segexp.deployment.verification import (
    Agreement,
    Latency,
    agreements,
    batch_of,
    compared,
    compared_classes,
    disagreement,
    sizes_around,
    take_turns,
)
from segexp.devices import usable_cores
from segexp.evaluation.case_scores import of_cases
from segexp.evaluation.grouping import drawn
from segexp.evaluation.scoring import score
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.metrics.scores import class_scores
from segexp.metrics.significance import Interval, bootstrap_interval, paired_interval
from segexp.reporting.export_report import RUNTIME_NAMES

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
    with atomic_write(path) as part:
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


Array = np.ndarray[Any, np.dtype[Any]]
Done = Callable[[], None]


@dataclass(frozen=True)
class Subject:
    """An export to be measured, beside what it was made of.

    Attributes:
        segmenter: the network in float32.
        file: runs the exported file.
        returns: "logits", "probabilities" or "classes".
        bytes: of the file.
        fp32: the float32 file of the same format, where `file` is in fewer bits.
    """

    segmenter: Segmenter
    file: Runner
    returns: str
    bytes: int
    fp32: Runner | None = None


@dataclass(frozen=True)
class Held:
    """The validation cases.

    Attributes:
        cases: prepared, with their truth.
        groups: of each case.
        picture: gives the image (H, W, C) of a case by its position, as it is on disk.
    """

    cases: EvalDataset
    groups: Sequence[str | None]
    picture: Callable[[int], Array]


def certify(
    subject: Subject, images: Sequence[Array], size: tuple[int, int], held: Held | None, done: Done = lambda: None
) -> Certificate:
    """Measure an export.

    Args:
        subject: what is measured.
        images: pictures (H, W, C) as they are on disk, at least one.
        size: about which it is tried, (h, w) of prepared images; (H, W) of pictures where the preprocessing is inside.
        held: the validation cases; None where there are none.
        done: told when a case is scored.
    """
    both = _whole_pictures(subject, images) if subject.returns != "logits" else _prepared(subject, images)
    sizes = sizes_around(size)
    found = agreements(sizes, both)
    scores = None if held is None else compare_scores(subject, held, done)
    latencies = timed(subject, images, sizes[0])
    weights = sum(4 * p.numel() for p in subject.segmenter.network.parameters())
    return Certificate(found, scores, latencies, sizes[0], subject.bytes, weights, machine())


def _prepared(subject: Subject, images: Sequence[Array]) -> Callable[[int, int, int], Agreement]:
    prepared = [subject.segmenter.preprocessing.prepare(image).permute(1, 2, 0).numpy() for image in images]

    def both(batch: int, height: int, width: int) -> Agreement:
        given = torch.from_numpy(batch_of(prepared, batch, height, width)).permute(0, 3, 1, 2).contiguous()
        labelling = subject.segmenter.label_mode
        expected, found = (
            torch.stack([labelling.probabilities_(each.float().clone()) for each in network(given)])
            for network in (subject.segmenter.forward, subject.file)
        )
        return compared(expected, found, labelling)

    return both


def _whole_pictures(subject: Subject, images: Sequence[Array]) -> Callable[[int, int, int], Agreement]:
    def both(batch: int, height: int, width: int) -> Agreement:
        given = batch_of(images, batch, height, width)
        expected = torch.stack([subject.segmenter.probabilities(image) for image in given])
        found = subject.file(torch.from_numpy(given))
        if subject.returns == "probabilities":
            return compared(expected, found, subject.segmenter.label_mode)
        rule = Postprocessing(threshold=subject.segmenter.postprocessing.threshold)
        classes = np.stack([subject.segmenter.label_mode.decide(each, rule) for each in expected])
        return compared_classes(classes, found.numpy())

    return both


def compare_scores(subject: Subject, held: Held, done: Done) -> Scores:
    """Score the network and the file on the same cases, at their own size."""
    if subject.returns == "logits":
        before, after = (
            dice_of_cases(replace(subject.segmenter, network=network), held.cases, done)
            for network in (subject.segmenter.network, subject.file)
        )
    else:
        before = dice_of(lambda n: subject.segmenter.probabilities(held.picture(n)), subject, held, done)
        after = dice_of(lambda n: subject.file(torch.from_numpy(held.picture(n)[None]))[0], subject, held, done)
    units = drawn(held.groups)
    return Scores(bootstrap_interval(before, units), bootstrap_interval(after, units), paired_interval(after, before, units))


def dice_of_cases(segmenter: Segmenter, cases: EvalDataset, done: Done = lambda: None) -> Array:
    """Return Dice (N,) of each case, the mean over the foreground classes that are there; NaN where none is."""
    confusions = score(segmenter, cases, done=lambda _: done()).confusions
    return of_cases(class_scores(confusions).dice[:, 1:])


def dice_of(predicted: Callable[[int], torch.Tensor], subject: Subject, held: Held, done: Done) -> Array:
    """Return Dice (N,) of what is predicted of each case: probabilities (K, H, W), or classes (H, W)."""
    labelling, k = subject.segmenter.label_mode, subject.segmenter.spec.num_classes
    rule = Postprocessing(threshold=subject.segmenter.postprocessing.threshold)
    matrices = np.zeros((len(held.cases), k, k), np.int64)
    with torch.inference_mode():
        for n in range(len(held.cases)):
            found = predicted(n)
            mask = found.numpy() if found.ndim == 2 else labelling.decide(found, rule)
            matrices[n] = labelling.confusion(torch.from_numpy(mask), held.cases[n].mask, k).numpy()
            done()
    return of_cases(class_scores(matrices).dice[:, 1:])


def timed(subject: Subject, images: Sequence[Array], size: tuple[int, int]) -> dict[str, Latency]:
    """Return how long one image of `size` takes the network, the file, and the float32 file where there is one."""
    segmenter = subject.segmenter
    if subject.returns == "logits":
        prepared = [segmenter.preprocessing.prepare(images[0]).permute(1, 2, 0).numpy()]
        given = torch.from_numpy(batch_of(prepared, 1, *size)).permute(0, 3, 1, 2).contiguous()
        calls: dict[str, Callable[[], object]] = {"torch": lambda: segmenter.forward(given)}
    else:
        picture = batch_of(images, 1, *size)
        given = torch.from_numpy(picture)
        calls = {"torch": lambda: segmenter.probabilities(picture[0])}
    calls["file"] = lambda: subject.file(given)
    if subject.fp32 is not None:
        fp32 = subject.fp32
        calls["float"] = lambda: fp32(given)
    return dict(zip(calls, take_turns(list(calls.values())), strict=True))


def machine() -> str:
    """Return what the figures were measured on."""
    return f"{processor()}, {torch.get_num_threads()} of {usable_cores()} cores, torch {torch.__version__}"


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def lines(certificate: Certificate, verdict: str, quantised: Quantised | None = None) -> list[str]:
    """Return the certificate as lines of text."""
    found = ["Certificate"]
    for each in certificate.agreements:
        apart = "" if each.largest != each.largest else f"probabilities differ by {each.largest:.1e} at most, "
        share = each.changed / each.pixels
        found.append(
            f"  {each.batch} x {each.height}x{each.width}: {apart}{each.changed} of {each.pixels} pixels "
            f"have another class ({share:.1e})"
        )
    scores = certificate.scores
    if scores is None:
        found.append("  Dice: not measured")
    else:
        found.append(f"  Dice on {scores.before.cases} validation cases: {scores.before} before, {scores.after} after")
        found.append(
            f"  difference {scores.difference.mean:+.4f} [{scores.difference.low:+.4f}, {scores.difference.high:+.4f}]"
        )
    for name, taken in certificate.latencies.items():
        times = f"{taken.median:.1f} ms, 95th percentile {taken.p95:.1f} ms ({taken.rounds} times)"
        found.append(f"  {RUNTIME_NAMES[name]}: {times}")
    found.append(f"  timed with one image of {certificate.size[0]}x{certificate.size[1]} on {certificate.machine}")
    found.append(f"  {certificate.bytes / 1e6:.2f} MB; the weights in float32 are {certificate.weights / 1e6:.2f} MB")
    if quantised is not None:
        kept = ", ".join(quantised.kept) or "none"
        found.append(f"  in float32 of {quantised.layers} layers: {kept}")
    return [*found, verdict]
