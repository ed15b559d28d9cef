"""`trainer.batch_size=auto`: the largest batch with which whole training steps have been taken within the free memory.

A process of its own takes the steps, so that one for which there is no memory takes nothing else down. Powers of two first,
then the interval between the last that went and the first that did not is halved until it is an eighth of the size.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Any

from segexp.data.datamodule import SegmentationDataModule
from segexp.data.dataset import collate_training
from segexp.devices import choose_devices
from segexp.errors import ConfigError, SegexpError
from segexp.finding.memory import HEADROOM, SHORT
from segexp.finding.trial import JOB, REPORTS, Job
from segexp.types import Batch

KILLED = (SHORT, -9, 137)
"""Exit codes of a process that its own bound, or the system, has ended for its memory."""


@dataclass(frozen=True)
class Tried:
    """What became of some sizes.

    Attributes:
        done: the sizes with which steps were taken, and the most bytes used by then.
        free: bytes of free memory at the start; None where the process did not get as far.
    """

    done: dict[int, int]
    free: int | None = None


Try = Callable[[Sequence[int]], Tried]


def find_batch_size(config: dict[str, Any], data: SegmentationDataModule) -> tuple[int, str]:
    """Return the batch size, and a sentence about it.

    Args:
        config: of the run, resolved.
        data: set up.

    Raises:
        ConfigError: there is no memory for a single picture.
        SegexpError: the steps fail for another reason.
    """
    most = len(data.members("train"))
    with tempfile.TemporaryDirectory(prefix="segexp-batch-") as folder:
        sample = largest_sample(data)
        with (Path(folder) / JOB).open("wb") as file:
            pickle.dump(Job(config, sample, data.spec, data.preprocessing), file)
        tried, refused = search(lambda sizes: attempt(Path(folder), sizes), most)
    if not tried.done:
        raise _none(config, sample, tried)
    size = max(tried.done)
    shape = "x".join(str(n) for n in sample["image"].shape[1:])
    room = f" of {tried.free / 1e9:.2f} GB free" if tried.free else ""
    why = f"{refused} did not fit into {1 - HEADROOM:.0%} of it" if refused else "that is the whole training split"
    took = f"steps with {size} images of {shape} took {_gb(tried.done[size])}{room}"
    return size, f"trainer.batch_size=auto: {size} ({took}; {why})"


def search(run: Try, most: int) -> tuple[Tried, int | None]:
    """Return what was tried in all, and the smallest size that was too large, None where `most` was not.

    Args:
        run: takes steps with sizes in rising order, until one is too large.
        most: the largest size that is of use.
    """
    sizes = [1 << n for n in range(most.bit_length()) if 1 << n < most] + [most]
    tried = run(sizes)
    low = max(tried.done, default=0)
    if low == most:
        return tried, None
    high = sizes[sizes.index(low) + 1] if low else 1
    done = dict(tried.done)
    while low and high - low > max(1, low // 8):
        middle = (low + high) // 2
        new = run([middle])
        done |= new.done
        low, high = (middle, high) if new.done else (low, middle)
    return Tried(done, tried.free), high


def attempt(folder: Path, sizes: Sequence[int]) -> Tried:
    """Take steps with these sizes in a new process, until it has no memory for one.

    Raises:
        SegexpError: it ends for another reason.
    """
    reports = folder / REPORTS
    reports.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "segexp.finding.trial", str(folder), *map(str, sizes)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [loads(line) for line in reports.read_text(encoding="utf-8").splitlines()] if reports.is_file() else []
    told: dict[str, Any] = {key: value for line in lines for key, value in line.items()}
    if "failed" in told or ended.returncode not in (0, *KILLED):
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise SegexpError(
            f"trainer.batch_size=auto cannot take a training step: {told.get('failed', last)}",
            do="Type a number, such as trainer.batch_size=4, to see where it happens",
        )
    return Tried({line["done"]: line["used"] for line in lines if "done" in line}, told.get("free"))


def largest_sample(data: SegmentationDataModule) -> Batch:
    """Return a batch of one training sample: of crops any, of whole pictures the largest, to which others are padded."""
    loader: Any = data.train_dataloader()
    keys = iter(loader.sampler)
    best = loader.dataset[next(keys)]
    if data.data["crop"] is None:
        best = max((loader.dataset[key] for key in keys), key=lambda drawn: drawn[0].numel(), default=best)
    return collate_training([best])


def _none(config: dict[str, Any], sample: Batch, tried: Tried) -> ConfigError:
    accelerator, _ = choose_devices(config["trainer"]["gpus"])
    where = "on the GPU" if accelerator == "cuda" else "of main memory"
    shape = "x".join(str(n) for n in sample["image"].shape[1:])
    free = f" of the {_gb(tried.free)} that are free {where}" if tried.free else f" of what is free {where}"
    width = config["model"].get("width")
    ways = [f"data.crop={max(16, min(sample['image'].shape[-2:]) // 2)}"]
    ways += [f"model.width={max(1, width // 2)}"] if isinstance(width, int) else []
    ways += [] if config["trainer"]["checkpoint_activations"] else ["trainer.checkpoint_activations=true"]
    return ConfigError(
        f"trainer.batch_size=auto finds no size: a training step with one image of {shape} does not fit into {1 - HEADROOM:.0%}"
        + free,
        "Memory for at least one image was expected",
        f"Type {', or '.join(ways)}; or end what else uses the memory",
    )


def _gb(size: int | None) -> str:
    return f"{(size or 0) / 1e9:.2f} GB"
