"""What a certificate says is measured here.

Legend: B batch, C channels, K classes, H W own size, h w working size, N cases.
"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segexp.comparison.casewise import of_cases
from segexp.comparison.gather import drawn
from segexp.data.dataset import ScoringSet
from segexp.devices import usable_cores
from segexp.exporting.agreement import Agreement, agreements, batch_of, compared, compared_classes, sizes_around
from segexp.exporting.certificate import Certificate, Scores
from segexp.exporting.latency import Latency, take_turns
from segexp.exporting.running import Runner
from segexp.metrics.scores import class_scores
from segexp.metrics.statistics import bootstrap_interval, paired_interval
from segexp.postprocess import Postprocessing
from segexp.scoring import score
from segexp.segmenter import Segmenter

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

    cases: ScoringSet
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
        labelling = subject.segmenter.labelling
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
            return compared(expected, found, subject.segmenter.labelling)
        rule = Postprocessing(threshold=subject.segmenter.postprocessing.threshold)
        classes = np.stack([subject.segmenter.labelling.decide(each, rule) for each in expected])
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


def dice_of_cases(segmenter: Segmenter, cases: ScoringSet, done: Done = lambda: None) -> Array:
    """Return Dice (N,) of each case, the mean over the foreground classes that are there; NaN where none is."""
    confusions = score(segmenter, cases, done=lambda _: done()).confusions
    return of_cases(class_scores(confusions).dice[:, 1:])


def dice_of(predicted: Callable[[int], torch.Tensor], subject: Subject, held: Held, done: Done) -> Array:
    """Return Dice (N,) of what is predicted of each case: probabilities (K, H, W), or classes (H, W)."""
    labelling, k = subject.segmenter.labelling, subject.segmenter.spec.num_classes
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
