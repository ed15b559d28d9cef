"""Selection of device and precision: `trainer.gpus` and `trainer.precision`, mapped to Lightning's terms."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from segexp.errors import ConfigError, DeviceError, listed

BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
"""CPU features for bfloat16 in hardware; without them bf16 is slower than float32."""

AMPERE = (8, 0)
"""The first CUDA compute capability with bfloat16 support."""


def choose_devices(gpus: str | int | list[int], key: str = "trainer.gpus") -> tuple[str, int | list[int]]:
    """Return Lightning's `accelerator` and `devices` for `trainer.gpus`.

    Args:
        gpus: "auto" (one CUDA GPU, else Apple's MPS, else the CPU), 0 for the CPU, a count, or a list of GPU ids.
        key: of the configuration, for messages.

    Raises:
        DeviceError: there are not enough GPUs, or an id does not exist.
    """
    visible = torch.cuda.device_count()
    mps = torch.backends.mps.is_available()
    if gpus == "auto":
        return ("cuda", 1) if visible else ("mps" if mps else "cpu", 1)
    if gpus in (0, []):
        return "cpu", 1
    if isinstance(gpus, list):
        foreign = [index for index in gpus if not 0 <= index < visible]
        if foreign or len(set(gpus)) < len(gpus):
            raise _missing(key, f"{_compact(gpus)} names GPU {listed(foreign or gpus)}", visible, mps)
        return "cuda", gpus
    if not isinstance(gpus, int) or isinstance(gpus, bool) or gpus < 0:
        raise DeviceError(f"{key} is {gpus!r}", "It is auto, 0, a count, or a list of ids", f"Type {key}=auto")
    if mps and not visible and gpus == 1:
        return "mps", 1
    if gpus > visible:
        raise _missing(key, f"{gpus} asks for {gpus} GPU{'s' if gpus > 1 else ''}", visible, mps)
    return "cuda", gpus


def describe_device(accelerator: str, devices: int | list[int]) -> str:
    """Return a description of the selected device: '1 x NVIDIA A100-SXM4-80GB', 'CPU, 2 cores'."""
    if accelerator != "cuda":
        return f"CPU, {usable_cores()} cores" if accelerator == "cpu" else "Apple GPU"
    chosen = devices if isinstance(devices, list) else list(range(devices))
    return f"{len(chosen)} x {torch.cuda.get_device_name(chosen[0])}"


def choose_precision(precision: str | int, accelerator: str) -> str:
    """Return Lightning's `precision` for `trainer.precision`.

    Args:
        precision: "auto", "32", "bf16-mixed" or "16-mixed". "auto" is bf16-mixed with hardware support (CPUs with AMX or
            AVX512-BF16, GPUs from Ampere on), 16-mixed on older CUDA GPUs, 32 elsewhere.
        accelerator: "cuda", "mps" or "cpu".
    """
    if precision != "auto":
        return str(precision)
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.get_device_capability() >= AMPERE else "16-mixed"
    if accelerator == "cpu" and BF16_FLAGS & cpu_flags():
        return "bf16-mixed"
    return "32"


def choose_workers(workers: str | int, accelerator: str) -> int:
    """Return the number of loader processes for `data.num_workers`.

    Args:
        workers: "auto" or a count. "auto" is 0 for training on the CPU, else all cores but one, up to 16.
        accelerator: "cuda", "mps" or "cpu".
    """
    if workers != "auto":
        return int(workers)
    return 0 if accelerator == "cpu" else max(0, min(16, usable_cores() - 1))


def usable_cores() -> int:
    """Return the number of usable cores, given CPU affinity and the quota of the control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    if quota_file.is_file():
        quota, _, period = quota_file.read_text(encoding="utf-8").partition(" ")
        if quota.isdigit() and period.strip().isdigit():
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def cpu_flags() -> frozenset[str]:
    """Return the names of the CPU's features in lower case; empty if unknown."""
    capabilities: Any = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return frozenset(name for name, present in capabilities().items() if present is True)
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return frozenset()
    lines = [line for line in info.read_text(encoding="utf-8").splitlines() if line.startswith("flags")]
    return frozenset(lines[0].partition(":")[2].split()) if lines else frozenset()


def torch_build() -> str:
    """Return the version and build of torch: 'torch 2.15.0, built for CUDA 13.2'."""
    version = torch.version
    if version.cuda:
        kind = f"built for CUDA {version.cuda}"
    elif version.hip:
        kind = f"built for ROCm {version.hip}"
    else:
        kind = "built for the CPU only"
    return f"torch {torch.__version__}, {kind}"


def _missing(key: str, asked: str, visible: int, mps: bool) -> DeviceError:
    seen = f"{visible or 'no'} CUDA GPU{'' if visible == 1 else 's'} visible to {torch_build()}"
    hint = f"{key}={visible}" if visible else f"{key}=0 for the CPU"
    if mps:
        seen, hint = f"{seen}, and one Apple GPU", f"{key}=1"
    return DeviceError(f"{key}={asked}", f"There {'is' if visible == 1 else 'are'} {seen}", f"Type {hint}, or {key}=auto")


def _compact(gpus: list[int]) -> str:
    return f"[{','.join(map(str, gpus))}]"


WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
FIXED = (":4096:8", ":16:8")
"""The workspace sizes with which cuBLAS is deterministic."""
REFUSED = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Make torch, cuDNN and cuBLAS deterministic inside the context, if `wanted`.

    Raises:
        ConfigError: an operation has no deterministic algorithm.
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
