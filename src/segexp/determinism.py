"""`trainer.deterministic`: only algorithms that give the same result every time, bit for bit, on the same machine."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from segexp.errors import ConfigError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
FIXED = (":4096:8", ":16:8")
"""The sizes of cuBLAS's workspace with which it repeats itself."""
REFUSED = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Have torch, cuDNN and cuBLAS repeat themselves inside the context; without `wanted` nothing is touched.

    Raises:
        ConfigError: an operation has no algorithm that repeats itself.
    """
    if not wanted:
        yield
        return
    cudnn = torch.backends.cudnn
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    flags, workspace = (cudnn.deterministic, cudnn.benchmark), os.environ.get(WORKSPACE)
    if workspace not in FIXED:
        os.environ[WORKSPACE] = FIXED[0]
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if refused := REFUSED.search(str(error)):
            raise _without(refused[1]) from error
        raise
    finally:
        torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])
        cudnn.deterministic, cudnn.benchmark = flags
        if workspace is None:
            del os.environ[WORKSPACE]
        else:
            os.environ[WORKSPACE] = workspace


def _without(operation: str) -> ConfigError:
    here = "on this GPU" if "cuda" in operation.lower() else "here"
    return ConfigError(
        f"trainer.deterministic=true, and the operation {operation} has no deterministic algorithm {here} "
        f"(torch {torch.__version__})",
        "A network and a loss were expected whose operations all repeat themselves bit for bit",
        "Type trainer.deterministic=false: order, augmentation and weights still follow from the seed; or trainer.gpus=0, or "
        "another model or loss",
    )
