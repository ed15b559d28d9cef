"""What is asked for, what it is measured with, and what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segexp.data.dataset import EvalDataset
from segexp.deployment.certificate import Certificate
from segexp.deployment.modules import Returns
from segexp.deployment.quantization import Quantised
from segexp.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class ExportData:
    """The pictures that an export is measured with.

    Attributes:
        images: a few pictures (H, W, C) as they are on disk.
        cases: the validation cases; None where the data are out of reach.
        groups: of each case.
        picture: gives the image (H, W, C) of a validation case, by its position, as it is on disk.
        calibration: prepared training images (C, h, w); empty where none are asked for.
        crop: the size (h, w) of training crops, None where whole pictures were seen.
    """

    images: Sequence[Array]
    cases: EvalDataset | None
    groups: Sequence[str | None]
    picture: Callable[[int], Array]
    calibration: Sequence[torch.Tensor]
    crop: tuple[int, int] | None


@dataclass(frozen=True)
class ExportRequest:
    """What is asked for.

    Attributes:
        kind: a key of `kinds.FORMATS`.
        precision: "fp32", "bf16", "fp16" or "int8".
        returns: "logits", or with the preprocessing inside "probabilities" or "classes".
        opset: of ONNX.
        output: the file.
        accept: take a file in fewer bits that is no success all the same.
    """

    kind: str
    precision: str
    returns: Returns
    opset: int
    output: Path
    accept: bool = False


@dataclass(frozen=True)
class ExportResult:
    """A file that is finished but not yet under its final name.

    Attributes:
        file: where it is.
        precision: of the numbers inside.
        certificate: what was measured.
        quantised: which layers stay in float; None unless in INT8.
        look: titles and pictures of what the network and the file make of a validation picture.
    """

    file: Path
    precision: str
    certificate: Certificate
    quantised: Quantised | None = None
    look: Sequence[tuple[str, Array]] = ()


def check_export_data(material: ExportData, precision: str) -> None:
    """Refuse to judge what cannot be judged.

    Raises:
        DataError: fewer bits without validation images.
    """
    if precision != "fp32" and material.cases is None:
        raise DataError(
            f"precision={precision} without the validation images of the run",
            "What fewer bits do to Dice is measured on them",
            "Type data.root=DIR, where the images are now; or precision=fp32",
        )
