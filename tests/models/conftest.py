"""The networks' weights and images are drawn anew for each test, always the same; a hub on this machine."""

import pytest
import torch

from fixtures.pretrained import ask_at, closed, hub, silent  # noqa: F401


@pytest.fixture(autouse=True)
def seed() -> None:
    """Seed torch."""
    torch.manual_seed(0)
