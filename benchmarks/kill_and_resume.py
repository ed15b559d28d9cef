"""Trainings that are killed at every phase and resumed: each must end as the training that nobody killed, bit for bit.

python benchmarks/kill_and_resume.py [COURSE ...]

A course is a kind of training (early stopping, time budget, distillation …). Each is trained once undisturbed, which also
counts how often each phase is passed; then once for each kill: a forked process kills itself with SIGKILL in that phase, and
another one resumes. Compared are the weights, the optimizer and every callback of both checkpoints, the scores, the tables, the
curves and the names of all files. Exit code 1 if anything differs.
"""

import csv
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table

from segexp.cli.train import main as train
from segexp.data.synthetic.datasets import make_demo
from segexp.reporting.run_report import read_history

SMALL = (
    *("data=liver", "data.size=32", "data.batch_size=2", "data.num_workers=0", "augment=flips", "trainer.gpus=0"),
    *("callbacks=none", "metrics=none", "logger=csv", "trainer.max_epochs=4", "optimizer.lr=0.01"),
)
"""What makes a training of about a second, with a small network such as `UNET`."""

UNET = ("model=unet", "model.width=4", "model.depth=2")

ENCODER = ("model=unet_encoder", "model.encoder=tu-test_resnet", "model.depth=3", "model.decoder.channels=[8,4,4]")

COURSES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "early stopping": ("trainer.early_stopping=2", "trainer.max_epochs=30"),
    "early stopping, every 2nd epoch": (
        *("trainer.early_stopping=2", "trainer.max_epochs=30", "trainer.check_val_every_n_epoch=2"),
    ),
    "plateau": ("scheduler=plateau", "scheduler.patience=1", "trainer.max_epochs=6"),
    "minutes": ("trainer.minutes=0.2",),
    "minutes and early stopping": ("trainer.minutes=1", "trainer.early_stopping=2"),
    "max_steps": ("+trainer.max_steps=8", "trainer.check_val_every_n_epoch=2"),
    "swa": ("trainer.swa=50%", "trainer.early_stopping=2", "trainer.max_epochs=6"),
    "ema": ("trainer.ema=0.8", "trainer.early_stopping=2", "trainer.max_epochs=6"),
    "freeze": (*ENCODER, "trainer.freeze_encoder=50%", "trainer.encoder_lr_scale=0.5"),
    "loss course": ("loss.terms.dice.weight={0: 0.0, 2: 1.0}", "loss.terms.ce.weight={0%: 1.0, 100%: 0.2}"),
    "accumulation, crops, mixing": (
        "trainer.accumulate_grad_batches=2",
        "data.crop=16",
        "data.foreground_crops=0.5",
        "mix=cutmix",
    ),
    "distillation": ("distill=kd", "distill.teacher={teacher}"),
    "pseudo-labels": ("data.unlabeled={extra}", "data.pseudo.confidence=0.5", "trainer.early_stopping=2"),
}

PHASES: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "reading the data": ("segexp.data.datamodule:SegmentationDataModule.setup", "before", (0.0,)),
    "before the first checkpoint": ("segexp.training.callbacks.checkpoint:Checkpoints.on_train_start", "before", (0.0,)),
    "a step": ("segexp.training.task:SegmentationTask.training_step", "before", (0.4, 0.9)),
    "validation": ("segexp.training.task:SegmentationTask.validation_step", "before", (0.5,)),
    "writing a checkpoint": ("pathlib:Path.replace -> .ckpt", "half", (0.0, 0.7)),
    "a checkpoint written": ("pathlib:Path.replace -> .ckpt", "after", (0.5, 1.0)),
    "stopped": ("pytorch_lightning:Trainer.fit", "after", (1.0,)),
    "labels of others": ("segexp.training.pseudo_labels:write_png", "after", (0.5,)),
    "scoring": ("segexp.training.artifacts:score_cases", "before", (1.0,)),
    "writing tables": ("segexp.training.artifacts:write_confusion", "before", (1.0,)),
    "writing metrics.json": ("pathlib:Path.replace -> metrics.json", "half", (1.0,)),
    "writing the report": ("segexp.training.run:write_run_report", "before", (1.0,)),
}
"""By phase: a function (for files that are renamed, also the end of the new name), where to kill, and in which of its calls,
from the first (0) to the last (1). In the middle ("half") the file is half written and has not got its name."""

PASSING = {"seconds", "images_per_second", "peak_memory_bytes"}
"""Entries of metrics.json that differ from run to run."""


class Clock:
    """Time for the time budget: one second for each training step of this process."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        """Return the seconds so far."""
        return self.seconds


@contextmanager
def watched(counts: Counter[str], kill: tuple[str, int] | None = None) -> Iterator[None]:
    """Count the calls of each phase; at the given one (phase, number from 1) the process kills itself."""
    clock = Clock()

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(phase: str, original: Any, place: str, end: str) -> Any:
        @wraps(original)
        def call(*args: Any, **keys: Any) -> Any:
            passed = not end or str(args[1]).endswith(end)
            counts[phase] += passed
            hit = passed and kill == (phase, counts[phase])
            if hit and place == "half":
                os.truncate(args[0], args[0].stat().st_size // 2)
            if hit and place != "after":
                die()
            clock.seconds += phase == "a step"
            found = original(*args, **keys)
            if hit:
                die()
            return found

        return call

    with ExitStack() as stack:
        stack.enter_context(mock.patch("pytorch_lightning.callbacks.timer.time", clock))
        for phase, (target, place, _) in PHASES.items():
            function, _, end = target.partition(" -> ")
            module, _, dotted = function.partition(":")
            *outer, name = dotted.split(".")
            owner: Any = import_module(module)
            for part in outer:
                owner = getattr(owner, part)
            stack.enter_context(mock.patch.object(owner, name, wrapped(phase, getattr(owner, name), place, end)))
        yield


def forked(words: Sequence[str], log: Path, kill: tuple[str, int] | None = None) -> tuple[int, Counter[str]]:
    """Train in a forked process; return its exit status as the shell would, and how often each phase was passed."""
    counted = log.with_suffix(".json")
    counted.unlink(missing_ok=True)
    if (child := os.fork()) == 0:
        with log.open("a") as file:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            counts = Counter[str]()
            code = 70
            try:
                with watched(counts, kill):
                    code = train(list(words))
                counted.write_text(json.dumps(counts))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
    _, status = os.waitpid(child, 0)
    counts = Counter(json.loads(counted.read_text())) if counted.is_file() else Counter()
    return os.waitstatus_to_exitcode(status), counts


def outcome(run: Path) -> dict[str, Any]:
    """Return everything of a finished run that another one with the same settings must have as well, by name."""
    found: dict[str, Any] = {}
    for checkpoint in sorted(run.rglob("*.ckpt")):
        values = torch.load(checkpoint, weights_only=True)
        states = {key: state for key, state in values["callbacks"].items() if not key.startswith(("Speed", "RichProgressBar"))}
        kept = {key: values.get(key) for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")}
        kept |= {"current_model_state": values.get("current_model_state"), "callbacks": states}
        found |= flat(kept, str(checkpoint.relative_to(run)))
    for metrics in sorted(run.rglob("metrics.json")):
        found |= flat(
            {k: v for k, v in json.loads(metrics.read_text()).items() if k not in PASSING}, str(metrics.relative_to(run))
        )
    for table in ("cases.csv", "split.csv", "confusion.csv", "teacher/cases.csv", "pseudo/pseudo.csv"):
        if (run / table).is_file():
            with (run / table).open(newline="") as file:
                found[table] = list(csv.reader(file))
    for home in (run, run / "teacher"):
        found |= flat(read_history(home), f"{home.relative_to(run)}/csv")
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    found["files"] = {name for name in names if not Path(name).name.startswith(("metrics", "train.log"))}
    return {name: value for name, value in found.items() if "speed/" not in name}


def flat(values: Any, prefix: str) -> dict[str, Any]:
    """Return the leaves of nested mappings and lists by dotted name."""
    if isinstance(values, Mapping):
        pairs = [flat(value, f"{prefix}.{key}") for key, value in values.items()]
    elif isinstance(values, list | tuple):
        pairs = [flat(value, f"{prefix}.{n}") for n, value in enumerate(values)]
    else:
        return {prefix: values}
    return {name: value for pair in pairs for name, value in pair.items()}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names under which two outcomes differ."""

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a, b)
        return type(a) is type(b) and bool(a == b)

    return [name for name in {**one, **other} if name not in one or name not in other or not same(one[name], other[name])]


def kills(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the kills of a course as (phase, number of its call), from how often its phases are passed."""
    found = []
    for phase, (_, _, places) in PHASES.items():
        if total := counts.get(phase, 0):
            found += [(phase, number) for number in sorted({1 + round(place * (total - 1)) for place in places})]
    return found


def killed_and_resumed(words: Sequence[str], run: Path, kill: tuple[str, int]) -> str:
    """Train, be killed and resume; return what went wrong, "" for nothing."""
    log = run.with_suffix(".txt")
    code, _ = forked([*words, f"run_dir={run}"], log, kill)
    if code != -signal.SIGKILL:
        return f"was not killed (exit code {code}), see {log}"
    states = (run / "checkpoints" / "last.ckpt", run / "teacher" / "checkpoints" / "last.ckpt")
    again = [f"resume={run}"] if any(state.is_file() for state in states) else [*words, f"run_dir={run}"]
    code, _ = forked(again, log)
    return "" if code == 0 else f"exit code {code} when resumed, see {log}"


def prepare(folder: Path) -> dict[str, str]:
    """Write the images and train a teacher; return what the words of a course refer to."""
    root, extra = make_demo(folder, "organ", count=8, size=64), make_demo(folder, "organ", count=4, size=64, seed=5)
    for mask in extra.rglob("*_mask.png"):
        mask.unlink()
    words = [*SMALL, *UNET, f"data.root={root}", f"run_dir={folder / 'teacher'}"]
    with (folder / "teacher.txt").open("w") as log, redirect_stdout(log), redirect_stderr(log):
        code = train(words)  # in this process, so that the forks begin with everything imported
    assert code == 0, f"the teacher was not trained, see {folder / 'teacher.txt'}"
    return {"root": str(root), "extra": str(extra), "teacher": str(folder / "teacher")}


def matrix(folder: Path, courses: Sequence[str]) -> Iterator[tuple[str, int, tuple[str, int], str]]:
    """Yield course, epochs of its undisturbed run, kill and what went wrong, for each kill."""
    places = prepare(folder)
    for number, course in enumerate(courses):
        here = folder / str(number)
        here.mkdir()
        words = [
            *SMALL,
            *(() if COURSES[course][:1] == ENCODER[:1] else UNET),
            f"data.root={places['root']}",
            *(word.format(**places) if "{0" not in word else word for word in COURSES[course]),
        ]
        code, counts = forked([*words, f"run_dir={here / 'whole'}"], here / "whole.txt")
        assert code == 0, f"{course} was not trained, see {here / 'whole.txt'}"
        whole = outcome(here / "whole")
        for n, kill in enumerate(kills(counts)):
            run = here / f"run{n}"
            wrong = killed_and_resumed(words, run, kill)
            if not wrong and (names := differences(whole, outcome(run))):
                wrong = f"{len(names)} differences: {', '.join(itertools.islice(names, 3))} ({run})"
            if not wrong:
                shutil.rmtree(run)
            yield course, whole["metrics.json.epochs"], kill, wrong


def main(arguments: Sequence[str]) -> int:
    """Run the matrix, print a table and the counts; return the exit code."""
    courses, started = list(arguments) or list(COURSES), time.monotonic()
    console = Console(soft_wrap=True)
    passed, total, epochs, wrong = Counter[str](), Counter[str](), dict[str, int](), list[str]()
    folder = Path(tempfile.mkdtemp(prefix="segexp-kills-"))
    for course, count, (phase, number), reason in matrix(folder, courses):
        epochs[course] = count
        total[course] += 1
        passed[course] += not reason
        if reason:
            wrong.append(f"{course}, {phase} ({number}): {reason}")
            console.print(wrong[-1], markup=False)
    table = Table("course", "epochs", "kills", "equal")
    for course in courses:
        table.add_row(course, str(epochs.get(course)), str(total[course]), str(passed[course]))
    console.print(table)
    minutes = (time.monotonic() - started) / 60
    console.print(
        f"{sum(passed.values())} of {sum(total.values())} killed runs ended as the undisturbed one ({minutes:.1f} min)"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
