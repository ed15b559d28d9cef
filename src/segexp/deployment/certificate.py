"""The certificate of an export: agreement with the network, Dice on the validation cases, and latency."""

import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segexp.atomic import write_json
from segexp.data.dataset import EvalDataset
from segexp.deployment.quantization import QuantisationResult
from segexp.deployment.runtime import Runner
from segexp.deployment.verification import (
    Agreement,
    Latency,
    compare_classes,
    compare_probabilities,
    describe_disagreement,
    make_batch,
    measure_agreements,
    sizes_around,
    time_alternately,
)
from segexp.devices import usable_cores
from segexp.evaluation.case_scores import mean_over_classes
from segexp.evaluation.grouping import resampling_groups
from segexp.evaluation.scoring import score_cases
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.metrics.scores import class_scores
from segexp.metrics.significance import Interval, bootstrap_interval, paired_interval
from segexp.reporting.export_report import RUNTIME_NAMES
from segexp.types import Array

FALL = 0.01
"""Largest accepted loss of Dice for a low-precision export."""


@dataclass(frozen=True)
class Scores:
    """Mean validation Dice (over cases, of the mean over the foreground classes present).

    Attributes:
        before: of the float32 network.
        after: of the exported file.
        difference: after - before, paired by case.
    """

    before: Interval
    after: Interval
    difference: Interval


@dataclass(frozen=True)
class Certificate:
    """Measurements of an export.

    Attributes:
        agreements: one for each size and batch size.
        scores: None if there are no validation cases.
        latencies: "torch" is the network, "file" the export, "float" the float32 file of a low-precision export.
        size: (H, W) of the timed image.
        bytes: size of the file.
        weights: size in bytes of the float32 weights.
        machine: description of the hardware.
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
        """How a float export differs from the network; "" if it does not."""
        return describe_disagreement(self.agreements)

    @property
    def poor(self) -> str:
        """Why a low-precision export fails; "" if it does not."""
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


def certificate_record(facts: dict[str, Any], certificate: Certificate, verdict: str) -> dict[str, Any]:
    """Return the content of the certificate's JSON: identifying `facts` of the sidecar, verdict and measurements."""
    values: dict[str, Any] = finite({"what": "segexp-certificate", **facts, "verdict": verdict, **certificate.as_dict()})
    return values


def write_certificate(path: Path, values: dict[str, Any]) -> None:
    """Write the certificate as JSON."""
    write_json(path, values)


def finite(values: Any) -> Any:
    """Replace non-finite numbers in plain values by None, for JSON."""
    if isinstance(values, dict):
        return {key: finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _plain(interval: Interval) -> dict[str, Any]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "cases": interval.cases}


Done = Callable[[], None]


@dataclass(frozen=True)
class ExportedModel:
    """An exported file and its source.

    Attributes:
        segmenter: with the float32 network.
        file: runs the exported file.
        returns: "logits", "probabilities" or "classes".
        bytes: size of the file.
        fp32: the float32 file of the same format, if `file` has a lower precision.
    """

    segmenter: Segmenter
    file: Runner
    returns: str
    bytes: int
    fp32: Runner | None = None


@dataclass(frozen=True)
class ValidationData:
    """Validation cases with their masks and groups; `picture(n)` returns the raw image (H, W, C) of a case."""

    cases: EvalDataset
    groups: Sequence[str | None]
    picture: Callable[[int], Array]


def certify(
    subject: ExportedModel,
    images: Sequence[Array],
    size: tuple[int, int],
    held: ValidationData | None,
    done: Done = lambda: None,
) -> Certificate:
    """Measure an export.

    Args:
        subject: the exported file.
        images: raw images (H, W, C), at least one.
        size: training size, (h, w) of prepared images, or (H, W) of raw images with built-in preprocessing.
        held: validation data; None if absent.
        done: called after each case.
    """
    both = _whole_pictures(subject, images) if subject.returns != "logits" else _prepared(subject, images)
    sizes = sizes_around(size)
    found = measure_agreements(sizes, both)
    scores = None if held is None else compare_scores(subject, held, done)
    latencies = measure_latencies(subject, images, sizes[0])
    weights = sum(4 * p.numel() for p in subject.segmenter.network.parameters())
    return Certificate(found, scores, latencies, sizes[0], subject.bytes, weights, machine())


def _prepared(subject: ExportedModel, images: Sequence[Array]) -> Callable[[int, int, int], Agreement]:
    prepared = [subject.segmenter.preprocessing.prepare(image).permute(1, 2, 0).numpy() for image in images]

    def both(batch: int, height: int, width: int) -> Agreement:
        given = torch.from_numpy(make_batch(prepared, batch, height, width)).permute(0, 3, 1, 2).contiguous()
        labelling = subject.segmenter.label_mode
        expected, found = (
            torch.stack([labelling.probabilities_(each.float().clone()) for each in network(given)])
            for network in (subject.segmenter.forward, subject.file)
        )
        return compare_probabilities(expected, found, labelling)

    return both


def _whole_pictures(subject: ExportedModel, images: Sequence[Array]) -> Callable[[int, int, int], Agreement]:
    def both(batch: int, height: int, width: int) -> Agreement:
        given = make_batch(images, batch, height, width)
        expected = torch.stack([subject.segmenter.probabilities(image) for image in given])
        found = subject.file(torch.from_numpy(given))
        if subject.returns == "probabilities":
            return compare_probabilities(expected, found, subject.segmenter.label_mode)
        rule = Postprocessing(threshold=subject.segmenter.postprocessing.threshold)
        classes = np.stack([subject.segmenter.label_mode.decide(each, rule) for each in expected])
        return compare_classes(classes, found.numpy())

    return both


def compare_scores(subject: ExportedModel, held: ValidationData, done: Done) -> Scores:
    """Score the network and the file on the same cases at original size."""
    if subject.returns == "logits":
        before, after = (
            dice_of_cases(replace(subject.segmenter, network=network), held.cases, done)
            for network in (subject.segmenter.network, subject.file)
        )
    else:
        before = dice_of_predictions(lambda n: subject.segmenter.probabilities(held.picture(n)), subject, held, done)
        after = dice_of_predictions(lambda n: subject.file(torch.from_numpy(held.picture(n)[None]))[0], subject, held, done)
    units = resampling_groups(held.groups)
    return Scores(bootstrap_interval(before, units), bootstrap_interval(after, units), paired_interval(after, before, units))


def dice_of_cases(segmenter: Segmenter, cases: EvalDataset, done: Done = lambda: None) -> Array:
    """Return Dice (N,) of each case, averaged over the foreground classes present; NaN if there is none."""
    confusions = score_cases(segmenter, cases, done=lambda _: done()).confusions
    return mean_over_classes(class_scores(confusions).dice[:, segmenter.spec.first :])


def dice_of_predictions(
    predicted: Callable[[int], torch.Tensor], subject: ExportedModel, held: ValidationData, done: Done
) -> Array:
    """Return Dice (N,) of each case for a function that returns probabilities (K, H, W) or classes (H, W) of case n."""
    labelling, k = subject.segmenter.label_mode, subject.segmenter.spec.num_classes
    rule = Postprocessing(threshold=subject.segmenter.postprocessing.threshold)
    matrices = np.zeros((len(held.cases), k, k), np.int64)
    with torch.inference_mode():
        for n in range(len(held.cases)):
            found = predicted(n)
            mask = found.numpy() if found.ndim == 2 else labelling.decide(found, rule)
            matrices[n] = labelling.confusion(torch.from_numpy(mask), held.cases[n].mask, k).numpy()
            done()
    return mean_over_classes(class_scores(matrices).dice[:, subject.segmenter.spec.first :])


def measure_latencies(subject: ExportedModel, images: Sequence[Array], size: tuple[int, int]) -> dict[str, Latency]:
    """Return the latency of the network, of the file and of the float32 file (if any) for one image of `size`."""
    segmenter = subject.segmenter
    if subject.returns == "logits":
        prepared = [segmenter.preprocessing.prepare(images[0]).permute(1, 2, 0).numpy()]
        given = torch.from_numpy(make_batch(prepared, 1, *size)).permute(0, 3, 1, 2).contiguous()
        calls: dict[str, Callable[[], object]] = {"torch": lambda: segmenter.forward(given)}
    else:
        picture = make_batch(images, 1, *size)
        given = torch.from_numpy(picture)
        calls = {"torch": lambda: segmenter.probabilities(picture[0])}
    calls["file"] = lambda: subject.file(given)
    if subject.fp32 is not None:
        fp32 = subject.fp32
        calls["float"] = lambda: fp32(given)
    return dict(zip(calls, time_alternately(list(calls.values())), strict=True))


def machine() -> str:
    """Return a description of the hardware."""
    return f"{processor()}, {torch.get_num_threads()} of {usable_cores()} cores, torch {torch.__version__}"


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def certificate_lines(certificate: Certificate, verdict: str, quantised: QuantisationResult | None = None) -> list[str]:
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
