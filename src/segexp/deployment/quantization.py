"""Post-training INT8 quantisation of an ONNX file, calibrated on training images.

ONNX Runtime's static quantisation with QDQ nodes: activations in 0 to 255, weights in -128 to 127 with a scale per channel
(Jacob et al. 2018; Nagel et al., "A White Paper on Neural Network Quantization", 2021). Layers with a large measured error
stay in float32.

Shapes: B batch, C channels, K classes, h w working size.
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
from segexp.types import Array

FEWEST = 8
"""Minimum number of calibration images."""
CLOSE = 0.002
"""Mean difference of probabilities on the calibration images that is accepted without further trials."""
KINDS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operations whose quantisation error is measured individually."""
HALF = 0.5
"""Largest share of these operations kept in float32; beyond it the file is hardly smaller or faster."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class QuantisationResult:
    """Result of a quantisation.

    Attributes:
        kept: names of the operations kept in float32.
        layers: number of operations of `KINDS`.
        difference: mean difference of the probabilities on the calibration images.
        tried: this difference by number of operations kept.
    """

    kept: tuple[str, ...]
    layers: int
    difference: float
    tried: dict[int, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"kept in float32": list(self.kept), "layers": self.layers, "mean difference": self.difference}


class CalibrationBatches:
    """Calibration images one at a time, as ONNX Runtime requests them."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.images = iter(images)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next image (1, C, h, w), None after the last."""
        image = next(self.images, None)
        return None if image is None else {INPUT: image[None].numpy()}

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return iter(self.get_next, None)


def check_calibration(count: int, available: int) -> None:
    """Require at least `FEWEST` calibration images, both requested (`count`) and available.

    Raises:
        ConfigError: there are fewer.
    """
    if min(count, available) < FEWEST:
        few = f"calibration={count}" if count < FEWEST else f"The training split has {available} images"
        raise ConfigError(
            f"{few}{'' if count < FEWEST else ' to calibrate with'}",
            f"At least {FEWEST} were expected: they say which range each layer's values have",
            f"Type calibration={FEWEST} or more" if count < FEWEST else "Type precision=fp32",
        )


def quantise(source: Path, target: Path, images: Sequence[Tensor], say: Say = lambda _: None) -> QuantisationResult:
    """Write an ONNX file in INT8, keeping sensitive layers in float32.

    Everything is quantised first. If that changes the probabilities by more than `CLOSE` on average, each layer is quantised
    alone, and the layers with the largest error are kept in float32, twice as many each time, until the difference is small
    enough or the share `HALF` is reached. The best trial is kept.

    Args:
        source: the float32 file.
        target: the file to write.
        images: for calibration, (C, h, w) each.
        say: receives progress messages.
    """
    with silence_exporters(), silence_onnxruntime():
        prepared = _prepared(source, target.parent)
        layers = quantisable_layers(prepared)
        few = images[:: max(1, len(images) // 8)][:8]
        expected = onnx_probabilities(source, few)

        def difference(excluded: Sequence[str]) -> float:
            _write(prepared, target, images, excluded)
            return mean_difference(expected, onnx_probabilities(target, few))

        tried = {0: difference(())}
        kept: dict[int, tuple[str, ...]] = {0: ()}
        if tried[0] > CLOSE:
            say(
                f"All {len(layers)} layers in INT8 change the probabilities by {tried[0]:.4f} on average; each is tried alone …"
            )
            order = rank_layers_by_error(layers, difference)
            count = 1
            while count <= HALF * len(layers) and min(tried.values()) > CLOSE:
                kept[count] = tuple(order[:count])
                tried[count] = difference(kept[count])
                count *= 2
        best = min(tried, key=lambda number: (tried[number] > CLOSE, tried[number]))
        if tried[0] > CLOSE:  # the last trial written may not be the best one
            difference(kept[best])
    return QuantisationResult(kept[best], len(layers), tried[best], tried)


def rank_layers_by_error(layers: Sequence[str], difference: Callable[[Sequence[str]], float]) -> list[str]:
    """Return the layers sorted by the error that their quantisation alone causes, largest first."""
    harm = {layer: difference([other for other in layers if other != layer]) for layer in layers}
    return sorted(layers, key=lambda layer: -harm[layer])


def quantisable_layers(path: Path) -> list[str]:
    """Return the names of the operations with weights in an ONNX file, in order."""
    import onnx

    return [node.name for node in onnx.load(path).graph.node if node.op_type in KINDS]


def onnx_probabilities(path: Path, images: Sequence[Tensor]) -> list[Tensor]:
    """Return the softmax probabilities (K, h, w) that an ONNX file predicts for images (C, h, w)."""
    network = OnnxRunner(path)
    return [network(image[None])[0].softmax(dim=0) for image in images]


def mean_difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Return the mean over images and pixels of the largest difference of a class probability."""
    return float(np.mean([float((a - b).abs().amax(dim=0).mean()) for a, b in zip(expected, found, strict=True)]))


def _prepared(source: Path, folder: Path) -> Path:
    """Write a copy with inferred shapes and folded constants; return its path."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)  # symbolic inference fails on dynamic sizes
    return prepared


def _write(prepared: Path, target: Path, images: Sequence[Tensor], excluded: Sequence[str]) -> None:
    """Quantise a file; the calibrated value ranges are cached next to it."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationBatches, CalibrationDataReader):  # type: ignore[misc]
        """The calibration reader that ONNX Runtime expects."""

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
    """Suppress the advice that ONNX Runtime's quantiser logs on the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def evenly_spaced(items: Sequence[Any], count: int) -> list[Any]:
    """Return `count` items evenly spread over the sequence; all if there are fewer."""
    places = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[int(place)] for place in places]
