"""The networks' weights and images are drawn anew for each test, always the same."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> None:
    """Seed torch."""
    torch.manual_seed(0)
