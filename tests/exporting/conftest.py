"""A small network that leaves the framework, with or without pictures to measure it with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segexp.exporting.plan import Material
from segexp.models import UNet
from segexp.postprocess import Postprocessing
from segexp.preprocessing import Preprocessing
from segexp.segmenter import Segmenter
from segexp.types import DataSpec

PALETTE = ((0, 0, 0), (230, 159, 0), (86, 180, 233))


def segmenter_of(network: torch.nn.Module | None = None, **more: Any) -> Segmenter:
    """A segmenter of a network with two levels, whose statistics are those of noise.

    Args:
        network: another one.
        more: `channels`, `classes`, `overlapping`, `rule` and arguments of `Preprocessing` to have them otherwise.
    """
    channels, classes = more.pop("channels", 1), more.pop("classes", 2)
    spec = DataSpec(
        "toy", ("background", "liver", "tumour")[:classes], channels, PALETTE[:classes], more.pop("overlapping", False)
    )
    rule = more.pop("rule", Postprocessing())
    if network is None:
        torch.manual_seed(1)
        network = UNet(channels, classes, width=2, depth=2)
        network(torch.randn(4, channels, 32, 32))
        decide(network, channels)
    numbers = {"size": None, "value_range": (0.0, 255.0), "mean": (0.5,), "std": (0.25,)} | more
    facts = {"config": {"seed": 0}, "file": "runs/toy/checkpoints/best.ckpt", "split_hash": "ab12"}
    return Segmenter(network.eval(), Preprocessing(channels, **numbers), spec, None, "32", False, facts, rule)


def decide(network: torch.nn.Module, channels: int) -> None:
    """Give the last layer a bias with which no class wins everywhere, and weights that tell them apart."""
    last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight *= 4
        last.bias -= network.eval()(2 * torch.rand(4, channels, 48, 48) - 1).mean(dim=(0, 2, 3))


def material_of(segmenter: Segmenter, calibration: int = 0) -> Material:
    """Noise to measure with, no cases; and prepared noise to calibrate with."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 40, segmenter.spec.channels), np.uint8) for _ in range(max(3, calibration))]
    prepared = [segmenter.preprocessing.prepare(image) for image in images[:calibration]]
    return Material(images[:3], None, (), images.__getitem__, prepared, None)


@pytest.fixture(scope="session")
def segmenter() -> Callable[..., Segmenter]:
    """Make a segmenter, see `segmenter_of`."""
    return segmenter_of


@pytest.fixture(scope="session")
def material() -> Callable[..., Material]:
    """Make what an export is measured with, see `material_of`."""
    return material_of


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time what is timed for a moment."""
    monkeypatch.setattr("segexp.exporting.latency.FEWEST", 2)
    monkeypatch.setattr("segexp.exporting.latency.MOST", 3)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same network, sidecar and all, in each format: net.onnx, net.pt2, net.pt and net.xml."""
    from segexp.exporting.deployed import deployed
    from segexp.exporting.sidecar import content, write_sidecar
    from segexp.exporting.writing import write_onnx, write_openvino, write_program, write_script

    folder, subject = tmp_path_factory.mktemp("written"), segmenter_of()
    module, example = deployed(subject), torch.zeros(2, 1, 96, 80)
    write_onnx(module, example, folder / "net.onnx", "logits")
    write_program(module, example, folder / "net.pt2")
    write_script(module, example, folder / "net.pt")
    write_openvino(folder / "net.onnx", folder / "net.xml")
    for kind, suffix in (("onnx", "onnx"), ("torch_export", "pt2"), ("torchscript", "pt"), ("openvino", "xml")):
        write_sidecar(folder / f"net.{suffix}", content(subject, kind, "fp32", "logits", 20 if kind == "onnx" else None))
    return folder
