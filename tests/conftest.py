"""Shared by all tests: quiet threads, where real data lie, the commands on a few small pictures."""

import importlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import pytest
import torch

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SEGEXP_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set SEGEXP_DATA to the folder that holds liver/, isbi/, skin/ and landcover/")
    return folder


@pytest.fixture(scope="session")
def conf() -> Path:
    """The folder of the configuration groups."""
    return ROOT / "conf"


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten generated slices of 64 pixels in the layout of data=liver: 5 for training, 5 of another scan for validation."""
    from segexp.data.demo import make_demo

    return make_demo(tmp_path_factory.mktemp("pictures"), "organ", count=10, size=64)


@pytest.fixture(scope="session")
def small(slices: Path) -> list[str]:
    """What makes a training of seconds: a tiny U-Net on `slices`, on the CPU."""
    data = ["data=liver", f"data.root={slices}", "data.size=64", "callbacks=none"]
    return [
        *data,
        "model=unet",
        "model.width=4",
        "model.depth=2",
        "trainer.gpus=0",
        "trainer.batch_size=2",
        "trainer.workers=0",
    ]


@pytest.fixture(scope="session")
def train() -> Callable[..., int]:
    """Type a train command in this process; returns its exit code."""
    return lambda *words: typed("train", words)


@pytest.fixture(scope="session")
def evaluate() -> Callable[..., int]:
    """Type an evaluate command in this process; returns its exit code."""
    return lambda *words: typed("evaluate", words)


def typed(verb: str, words: Sequence[str]) -> int:
    """Call a command; the log handlers that Hydra installs for a run directory go with it."""
    main = importlib.import_module(f"segexp.{verb}").main
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return int(main([str(word) for word in words]))
    finally:
        for handler in [h for h in root.handlers if h not in handlers]:
            handler.close()
        root.handlers[:], root.level = handlers, level
