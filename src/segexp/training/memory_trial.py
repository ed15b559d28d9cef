"""Trial training steps with given batch sizes, in a separate process that may run out of memory.

    python -m segexp.training.memory_trial FOLDER SIZE …

The folder holds a `TrialJob`. Each event is appended to a report file, so that events of a killed process are kept.
"""

import gc
import json
import pickle
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from segexp.config.schema import TrainConfig
from segexp.console import silence_libraries
from segexp.data.preprocessing import Preprocessing
from segexp.devices import choose_devices, choose_precision
from segexp.errors import SegexpError
from segexp.failures import is_out_of_memory
from segexp.inference.segmenter import Segmenter
from segexp.training.build import Components, build_components
from segexp.training.callbacks.weight_averaging import averaging_callbacks
from segexp.training.distillation import load_teacher, make_teacher
from segexp.training.memory import memory_limit, used_memory
from segexp.training.task import SegmentationTask
from segexp.types import Batch, DataSpec

JOB, REPORTS = "job.pickle", "reports.jsonl"
STEPS = 2
"""Optimizer steps; from the second on, the optimizer state is allocated."""


@dataclass(frozen=True)
class TrialJob:
    """Input of the trial process.

    Attributes:
        config: of the run.
        sample: a batch of one.
        spec: of the data.
        preprocessing: of the data.
    """

    config: TrainConfig
    sample: Batch
    spec: DataSpec
    preprocessing: Preprocessing


def repeat_sample(sample: Batch, size: int) -> Batch:
    """Return a batch that repeats a sample `size` times."""
    return Batch(
        image=sample["image"].repeat_interleave(size, dim=0),
        mask=sample["mask"].repeat_interleave(size, dim=0),
        index=sample["index"] * size,
    )


def build_modules(job: TrialJob) -> tuple[Components, Segmenter]:
    """Return the components and the segmenter of the run, without compilation."""
    config = job.config.updated({"trainer.compile": False, "resume": None})
    components, teacher = build_components(config), load_teacher(config)
    if teacher is not None and config.distill is not None:
        components = replace(components, teacher=make_teacher(config.distill, teacher, job.preprocessing, "")[0])
    accelerator, _ = choose_devices(config.trainer.gpus)
    precision = choose_precision(config.trainer.precision, accelerator)
    limit, last = config.data.max_pixels, config.trainer.channels_last
    return components, Segmenter(components.network, job.preprocessing, job.spec, limit, precision, last)


def short_trainer(
    config: TrainConfig, folder: Path, callbacks: Sequence[pl.Callback], accumulate: int, epochs: int
) -> pl.Trainer:
    """Return a single-device trainer that writes nothing; `epochs=-1` runs until a callback stops it."""
    accelerator, devices = choose_devices(config.trainer.gpus)
    precision: Any = choose_precision(config.trainer.precision, accelerator)
    return pl.Trainer(
        accelerator=accelerator,
        devices=devices[:1] if isinstance(devices, list) else 1,
        precision=precision,
        max_epochs=epochs,
        gradient_clip_val=config.trainer.gradient_clip_val,
        accumulate_grad_batches=accumulate,
        callbacks=list(callbacks),
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )


def train_steps(job: TrialJob, components: Components, segmenter: Segmenter, size: int, folder: Path) -> None:
    """Run `STEPS` optimizer steps with batches of `size`, with gradient accumulation as in the run."""
    accumulate = min(2, job.config.trainer.accumulate_grad_batches)
    trainer = short_trainer(job.config, folder, averaging_callbacks(job.config.trainer), accumulate, epochs=1)
    batches: Any = [repeat_sample(job.sample, size)] * (STEPS * accumulate)
    loader: DataLoader[Any] = DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)
    trainer.fit(
        SegmentationTask.from_components(job.config, components, segmenter), loader, loader
    )  # the validation loader is required but not used


def main(arguments: Sequence[str]) -> None:
    """Train with each size in turn until one is too large."""
    folder, sizes = Path(arguments[0]), [int(word) for word in arguments[1:]]
    silence_libraries()

    def report(**words: Any) -> None:
        with (folder / REPORTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(words) + "\n")

    with (folder / JOB).open("rb") as file:
        job: TrialJob = pickle.load(file)  # written by the process that started this one
    accelerator, devices = choose_devices(job.config.trainer.gpus)
    device = devices[0] if isinstance(devices, list) else 0
    try:
        components, segmenter = build_modules(job)
        free, most = memory_limit(accelerator, device)
        report(free=free, most=most)
        for size in sizes:
            report(trying=size)
            with tempfile.TemporaryDirectory() as scratch:
                train_steps(job, components, segmenter, size, Path(scratch))
            gc.collect()
            report(done=size, used=used_memory(accelerator, device))
    except Exception as error:
        if is_out_of_memory(error):
            report(short=str(error).splitlines()[0] if str(error) else "")
            return
        told = str(error) if isinstance(error, SegexpError) else f"{type(error).__name__}: {error}"
        report(failed=told)


if __name__ == "__main__":
    from segexp.training import memory_trial  # so that pickled classes have their importable name

    memory_trial.main(sys.argv[1:])
