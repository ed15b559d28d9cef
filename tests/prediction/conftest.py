"""A network whose masks can be told beforehand, and folders of pictures made by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from segexp.checkpoint import describe
from segexp.preprocessing import Preprocessing
from segexp.types import DataSpec

CLASSES = {"background": 0, "liver": 255, "tumour": 128}
PALETTE = ((0, 0, 0), (230, 159, 0), (86, 180, 233))
FINGERPRINT = {
    "count": 10,
    "mean": [0.5],
    "std": [0.25],
    "low": [0.0],
    "high": [1.0],
    "p_low": [0.02],
    "p_high": [0.98],
    "sizes": {"40x48": 5, "64x64": 5},
}


class Told(NamedTuple):
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


def written_run(folder: Path, *, classes: int = 2, channels: int = 1, data: dict[str, Any] | None = None, **more: Any) -> Path:
    """Write the run directory of a network that gives each pixel a class by the mean m of its channels, from 0 to 1.

    Two classes are parted at 1/2, three at 0.335 and 0.665.

    Args:
        folder: the run directory.
        classes: K.
        channels: C.
        data: keys of the data section.
        more: `model`, `size`, `value_range`, `fingerprint`, `names` or `shift` (of the threshold) to have them otherwise.
    """
    names = list(more.get("names", CLASSES))[:classes]
    section = {
        "image": "{split}/{id}.png",
        "mask": "{split}/{id}_mask.png",
        "classes": {name: CLASSES.get(name, 7) for name in names},
        "ignore": [],
        "threshold": None,
        "max_pixels": None,
        **(data or {}),
    }
    model = {"_target_": "torch.nn.Conv2d", "in_channels": channels, "out_channels": classes, "kernel_size": 1}
    slopes = torch.arange(classes, dtype=torch.float32) * 20
    places = {2: [0.0, 0.5], 3: [0.0, 0.335, 0.5]}[classes]
    bias = -slopes * torch.tensor(places) - slopes * more.get("shift", 0.0)
    weight = (slopes / channels)[:, None, None, None].expand(classes, channels, 1, 1)
    found = FINGERPRINT | {key: value * channels for key, value in FINGERPRINT.items() if isinstance(value, list)}
    values = more.get("value_range", (0.0, 255.0))
    content = describe(
        {"model": more.get("model", model), "trainer": {"channels_last": False}, "data": section},
        DataSpec("toy", tuple(names), channels, PALETTE[:classes]),
        Preprocessing(channels, more.get("size"), values, mean=(0.0,) * channels, std=(1.0,) * channels),
        "ab12",
        "32",
        more.get("fingerprint", found),
    )
    (folder / "checkpoints").mkdir(parents=True)
    weights = {"network.weight": weight.clone(), "network.bias": bias}
    torch.save({"state_dict": weights, "segexp": content}, folder / "checkpoints" / "best.ckpt")
    return folder


def draw_ramp(height: int = 40, width: int = 48, seed: int = 0) -> np.ndarray:
    """A picture (H, W) uint8 with all gray values, dark at the left, and some noise."""
    noise = np.random.default_rng(seed).integers(-9, 10, (height, width))
    return np.clip(np.linspace(0, 255, width)[None] + noise, 0, 255).astype(np.uint8)


def save_picture(path: Path, array: np.ndarray | None = None, **options: Any) -> Path:
    """Write a picture with Pillow, by default a ramp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_ramp() if array is None else array).save(path, **options)
    return path


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """Write a run directory, see `written_run`."""
    return written_run


@pytest.fixture(scope="session")
def ramp() -> Callable[..., np.ndarray]:
    """Draw a picture, see `draw_ramp`."""
    return draw_ramp


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    """Write a picture, see `save_picture`."""
    return save_picture


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A gray network of two classes."""
    return written_run(tmp_path / "run")


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Type a predict command in the test's folder, on the CPU; returns exit code and what was printed."""
    from segexp.predict import main

    monkeypatch.chdir(tmp_path)

    def typed(*words: object) -> Told:
        code = main([*map(str, words), "gpus=0"])
        return Told(code, *capfd.readouterr())

    return typed
