"""Only operations that repeat themselves, inside the context and nowhere else."""

import os

import pytest
import torch

from segexp.determinism import WORKSPACE, deterministic
from segexp.errors import ConfigError
from segexp.losses import CrossEntropy


def flags():
    cudnn = torch.backends.cudnn
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return (*modes, cudnn.deterministic, cudnn.benchmark, os.environ.get(WORKSPACE))


def test_the_flags_are_set_and_put_back(monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = flags()
    with deterministic(False):
        assert flags() == before
    with deterministic(True):
        assert flags() == (True, False, True, False, ":4096:8")
    assert flags() == before
    with pytest.raises(ZeroDivisionError), deterministic(True):
        _ = 1 / 0
    assert flags() == before


@pytest.mark.parametrize(("given", "used"), [(":16:8", ":16:8"), (":0:0", ":4096:8")])
def test_a_workspace_of_the_users_own(monkeypatch, given, used):
    monkeypatch.setenv(WORKSPACE, given)
    with deterministic(True):
        assert os.environ[WORKSPACE] == used
    assert os.environ[WORKSPACE] == given


def test_an_operation_that_cannot_is_named():
    with pytest.raises(ConfigError) as caught, deterministic(True):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    text = str(caught.value)
    assert text.startswith("trainer.deterministic=true, and the operation put_ has no deterministic algorithm here (torch ")
    assert text.endswith(
        "A network and a loss were expected whose operations all repeat themselves bit for bit. Type "
        "trainer.deterministic=false: order, augmentation and weights still follow from the seed; or trainer.gpus=0, or "
        "another model or loss."
    )


def test_an_operation_of_a_gpu_is_said_to_be_one():
    text = "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set 'torch.use_...'"
    words = r"operation adaptive_avg_pool2d_backward_cuda has no deterministic algorithm on this GPU"
    with pytest.raises(ConfigError, match=words), deterministic(True):
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="out of memory"), deterministic(True):
        raise RuntimeError("out of memory")


def test_the_loss_adds_up_in_an_order_of_its_own_only_then():
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 3, 40, 40), torch.randint(0, 3, (2, 40, 40))
    mask[0, :5] = 255
    loss = CrossEntropy(class_weights=[0.2, 0.3, 0.5], label_smoothing=0.1)
    usual = loss(logits, mask)
    with deterministic(True):
        torch.testing.assert_close(loss(logits, mask), usual)
        assert loss(logits, torch.full_like(mask, 255)) == 0
