"""INT8 after training: an ONNX file whose convolutions calculate with bytes, calibrated on training images.

ONNX Runtime's static quantisation with QDQ nodes: activations in 0 to 255, weights in -128 to 127 with a scale per channel
(Jacob et al. 2018; Nagel et al., "A White Paper on Neural Network Quantization", 2021). Layers that suffer from it stay in
float32: which ones is measured, never guessed.

Legend: B batch, C channels, K classes, h w working size.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from segexp.deployment.formats import INPUT, silence_exporters
from segexp.deployment.runtime import OnnxRunner
from segexp.errors import ConfigError

FEWEST = 8
"""Calibration images below which the ranges of activations are a matter of luck."""
CLOSE = 0.002
"""Mean difference of the probabilities on the calibration images at which nothing more is tried."""
KINDS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operations of which one by one is asked what quantising it does."""
HALF = 0.5
"""The largest share of these operations that is left in float32: with more the file is hardly smaller or faster."""

Array = np.ndarray[Any, np.dtype[Any]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Quantised:
    """What came of it.

    Attributes:
        kept: names of the operations that stay in float32.
        layers: how many there are of `KINDS`.
        difference: mean difference of the probabilities on the calibration images.
        tried: by number of operations kept, that difference.
    """

    kept: tuple[str, ...]
    layers: int
    difference: float
    tried: dict[int, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"kept in float32": list(self.kept), "layers": self.layers, "mean difference": self.difference}


class Batches:
    """Calibration images one after the other, in the form that ONNX Runtime asks for them."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.images = iter(images)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next image (1, C, h, w), None after the last."""
        image = next(self.images, None)
        return None if image is None else {INPUT: image[None].numpy()}

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return iter(self.get_next, None)


def check_calibration(count: int, available: int) -> None:
    """Refuse a calibration set that is too small.

    Args:
        count: as typed.
        available: training images.

    Raises:
        ConfigError: fewer than `FEWEST`.
    """
    if min(count, available) < FEWEST:
        few = f"calibration={count}" if count < FEWEST else f"The training split has {available} images"
        raise ConfigError(
            f"{few}{'' if count < FEWEST else ' to calibrate with'}",
            f"At least {FEWEST} were expected: they say which range each layer's values have",
            f"Type calibration={FEWEST} or more" if count < FEWEST else "Type precision=fp32",
        )


def quantise(
    source: Path, target: Path, images: Sequence[Tensor], say: Say = lambda _: None, done: Callable[[], None] = lambda: None
) -> Quantised:
    """Write an ONNX file in INT8, with as many layers in float32 as it takes.

    First everything is quantised. Where that changes the probabilities by more than `CLOSE` on average, each layer is
    quantised alone, and the layers are left in float32 in the order of the harm that they did, twice as many each time, until
    it is enough or `HALF` of them are; the best of what was tried is taken.

    Args:
        source: the float32 file.
        target: the file to write.
        images: for calibration, (C, h, w) each.
        say: takes a sentence.
        done: told when a layer has been tried.
    """
    with silence_exporters(), silence_onnxruntime():
        prepared = _prepared(source, target.parent)
        layers = names_of_layers(prepared)
        few = images[:: max(1, len(images) // 8)][:8]
        expected = outputs(source, few)

        def difference(excluded: Sequence[str]) -> float:
            _write(prepared, target, images, excluded)
            return mean_difference(expected, outputs(target, few))

        tried = {0: difference(())}
        kept: dict[int, tuple[str, ...]] = {0: ()}
        if tried[0] > CLOSE:
            say(
                f"All {len(layers)} layers in INT8 change the probabilities by {tried[0]:.4f} on average; each is tried alone …"
            )
            order = rank_layers_by_error(layers, difference, done)
            count = 1
            while count <= HALF * len(layers) and min(tried.values()) > CLOSE:
                kept[count] = tuple(order[:count])
                tried[count] = difference(kept[count])
                count *= 2
        best = min(tried, key=lambda number: (tried[number] > CLOSE, tried[number]))
        if tried[0] > CLOSE:  # then another trial may have been written last
            difference(kept[best])
    return Quantised(kept[best], len(layers), tried[best], tried)


def rank_layers_by_error(
    layers: Sequence[str], difference: Callable[[Sequence[str]], float], done: Callable[[], None]
) -> list[str]:
    """Return the layers, the one first whose quantisation alone changes most."""
    harm = {}
    for layer in layers:
        harm[layer] = difference([other for other in layers if other != layer])
        done()
    return sorted(layers, key=lambda layer: -harm[layer])


def names_of_layers(path: Path) -> list[str]:
    """Return the names of the operations of an ONNX file that have weights, in their order."""
    import onnx

    return [node.name for node in onnx.load(path).graph.node if node.op_type in KINDS]


def outputs(path: Path, images: Sequence[Tensor]) -> list[Tensor]:
    """Return the probabilities (K, h, w) that an ONNX file gives for images (C, h, w), as a softmax."""
    network = OnnxRunner(path)
    return [network(image[None])[0].softmax(dim=0) for image in images]


def mean_difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Return the mean difference of probabilities, over images and pixels, of the class that differs most."""
    return float(np.mean([float((a - b).abs().amax(dim=0).mean()) for a, b in zip(expected, found, strict=True)]))


def _prepared(source: Path, folder: Path) -> Path:
    """Return a file with shapes inferred and constants folded."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)  # which fails on open sizes
    return prepared


def _write(prepared: Path, target: Path, images: Sequence[Tensor], excluded: Sequence[str]) -> None:
    """Quantise a file; the ranges of its values are measured once and kept beside it."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(Batches, CalibrationDataReader):  # type: ignore[misc]
        """What ONNX Runtime wants to see."""

    quantize_static(
        str(prepared),
        str(target),
        Reader(images),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        nodes_to_exclude=list(excluded),
        calibration_cache_path=prepared.with_suffix(".ranges.json"),
    )


@contextmanager
def silence_onnxruntime() -> Iterator[None]:
    """Keep the advice of ONNX Runtime's quantiser, given on the root logger, to itself."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def evenly(items: Sequence[Any], count: int) -> list[Any]:
    """Return `count` of the items, evenly spread over their order; all where there are not more."""
    places = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[int(place)] for place in places]
