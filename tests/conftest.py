"""Shared by all tests: quiet threads, where real data lie."""

import os
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
