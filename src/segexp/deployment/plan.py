"""Export request, evaluation data and result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segexp.data.dataset import EvalDataset
from segexp.deployment.certificate import Certificate
from segexp.deployment.modules import Returns
from segexp.deployment.quantization import QuantisationResult
from segexp.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class ExportData:
    """Data that an export is measured with.

    Attributes:
        images: a few raw images (H, W, C).
        cases: the validation cases; None if the data are not available.
        groups: the group of each validation case.
        picture: returns the raw image (H, W, C) of the validation case with the given index.
        calibration: prepared training images (C, h, w); empty if none are requested.
        crop: size (h, w) of training crops; None if the network was trained on whole images.
    """

    images: Sequence[Array]
    cases: EvalDataset | None
    groups: Sequence[str | None]
    picture: Callable[[int], Array]
    calibration: Sequence[torch.Tensor]
    crop: tuple[int, int] | None


@dataclass(frozen=True)
class ExportRequest:
    """Parameters of an export.

    Attributes:
        kind: a key of `formats.FORMATS`.
        precision: "fp32", "bf16", "fp16" or "int8".
        returns: "logits", or with built-in preprocessing "probabilities" or "classes".
        opset: ONNX opset.
        output: path of the exported file.
        accept: keep a low-precision file that fails its quality or speed check.
    """

    kind: str
    precision: str
    returns: Returns
    opset: int
    output: Path
    accept: bool = False


@dataclass(frozen=True)
class ExportResult:
    """A finished file that does not have its final name yet.

    Attributes:
        file: its current path.
        precision: number format of the network.
        certificate: the measurements.
        quantised: layers kept in float32; None unless INT8.
        look: titles and overlays of a validation image, by the network and by the file.
    """

    file: Path
    precision: str
    certificate: Certificate
    quantised: QuantisationResult | None = None
    look: Sequence[tuple[str, Array]] = ()


def check_export_data(material: ExportData, precision: str) -> None:
    """Require validation images for every precision below fp32.

    Raises:
        DataError: there are none.
    """
    if precision != "fp32" and material.cases is None:
        raise DataError(
            f"precision={precision} without the validation images of the run",
            "What fewer bits do to Dice is measured on them",
            "Type data.root=DIR, where the images are now; or precision=fp32",
        )
