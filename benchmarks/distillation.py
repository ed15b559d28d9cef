"""Does a small student learn more from the masks and a large teacher than from the masks alone, and what does it save?

One teacher is trained on each data set, then the student with three seeds by itself and with the same seeds taught
(`distill=kd`): the same recipe, epochs and split (data.split_seed=0), which is the teacher's too, so that nobody has seen the
validation cases. The difference is that of `segexp.compare`: the mean over the seeds for each case, paired by case, with its
95 % interval. Time is one image of SIDE x SIDE through the network alone, the networks taking turns in one process, medians;
memory is what the tensors of one such forward pass take at their peak.

    python benchmarks/distillation.py --data liver=DIR --data isbi=DIR --epochs 40     # trains what is missing
    python benchmarks/distillation.py --data liver=DIR --student 6 --temperature 4 --weight 0.7

What is finished is kept in the work folder, so the same command again does what is missing.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from network_dice import Job, train
from pruning import latencies
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from segexp.checkpoint import load_segmenter
from segexp.console import silence_libraries
from segexp.evaluation.compare import Comparison, compare_records
from segexp.evaluation.records import read_record
from segexp.inference.segmenter import Segmenter

SIDE = 256
"""Height and width of the image that is timed."""


@dataclass(frozen=True)
class Study:
    """The trainings on one data set.

    Attributes:
        teacher: the large network.
        alone: the student by itself, one training per seed.
        taught: the same with the teacher.
    """

    teacher: Job
    alone: list[Job]
    taught: list[Job]


def study(data: str, root: Path, folder: Path, arguments: argparse.Namespace) -> Study:
    """Return the trainings on a data set; each remembers the teacher's words, so that another teacher makes them anew."""
    words = (f"experiment={data}", "model=unet", f"data.root={root.resolve()}", "data.split_seed=0", *arguments.words)
    words += (f"trainer.max_epochs={arguments.epochs}", f"trainer.gpus={arguments.gpus}")
    here = folder.resolve() / data
    large = (*words, f"model.width={arguments.teacher}", "seed=0")
    teacher = Job(data, "teacher", large, {}, here / "teacher")
    lesson = ("distill=kd", f"distill.teacher={teacher.folder}", f"distill.temperature={arguments.temperature:g}")
    lesson += (f"distill.weight={arguments.weight:g}", f"distill.boundary={arguments.boundary:g}")
    alone, taught = [], []
    for seed in arguments.seeds:
        small = (*words, f"model.width={arguments.student}", f"seed={seed}")
        alone.append(Job(data, "alone", small, {}, here / f"alone_{seed}"))
        taught.append(Job(data, "taught", (*small, *lesson), {"teacher": list(large)}, here / f"taught_{seed}"))
    return Study(teacher, alone, taught)


def compared(made: Study) -> Comparison:
    """Return the taught student against the one that learned alone, over the validation cases."""
    records = [read_record(job.folder) for job in (*made.alone, *made.taught)]
    return compare_records(records, split="val", reference=str(made.alone[0].folder))


def memory(segmenter: Segmenter) -> int:
    """Return the bytes that tensors take at the peak of one forward pass of an image, weights and image not counted."""
    cuda = segmenter.device.type == "cuda"
    batch = image(segmenter, SIDE)[None].to(segmenter.device)
    with torch.inference_mode(), segmenter.autocast():
        segmenter.forward(batch)  # libraries take what they need once
        if cuda:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            segmenter.forward(batch)
            return torch.cuda.max_memory_allocated() - before
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
            segmenter.forward(batch)
    results: Any = watched.profiler
    changes = sorted((e.start_ns(), e.nbytes()) for e in results.kineto_results.events() if e.name() == "[memory]")
    return max(accumulate(change for _, change in changes))


def image(segmenter: Segmenter, side: int) -> torch.Tensor:
    """Return noise (C, side, side)."""
    return torch.randn(segmenter.spec.channels, side, side, generator=torch.Generator().manual_seed(0))


def costs(made: Study, rounds: int, device: str) -> list[dict[str, float]]:
    """Return parameters, milliseconds and bytes of the teacher and of a student."""
    paths = [str(job.folder) for job in (made.teacher, made.taught[0])]
    segmenters = [load_segmenter(path, device=device) for path in paths]
    taken = latencies(segmenters, image(segmenters[0], SIDE), rounds)
    return [
        {"parameters": sum(p.numel() for p in segmenter.network.parameters()), "ms": ms, "bytes": memory(segmenter)}
        for segmenter, ms in zip(segmenters, taken, strict=True)
    ]


def table(made: Study, found: Comparison, cost: Sequence[dict[str, float]], device: str) -> Table:
    """Return the rows of a data set: the teacher, the student alone, the student taught."""
    teacher = read_record(made.teacher.folder)
    reached = json.loads(made.teacher.record.read_text(encoding="utf-8"))
    shown = Table(title=f"{made.teacher.data}, {reached['cases']} validation cases; {SIDE}x{SIDE} on {device}", min_width=120)
    for column in ("network", "parameters", "Dice", "each seed", "minus alone", "ms", "MiB"):
        shown.add_column(column, justify="left" if column == "network" else "right")
    large, small = ([f"{each['parameters']:,.0f}", f"{each['ms']:.1f}", f"{each['bytes'] / 2**20:.1f}"] for each in cost)
    interval = f"{reached['dice']:.4f}" + ("" if reached["low"] is None else f" [{reached['low']:.4f}, {reached['high']:.4f}]")
    width = teacher.config["model"]["width"]
    shown.add_row(f"teacher, unet {width}", large[0], interval, "", "", large[1], large[2])
    folders = {job.folder for job in made.alone}
    entries = sorted(found.entries, key=lambda entry: entry.runs[0].directory not in folders)
    for entry in entries:
        own = entry.runs[0].directory in folders
        difference = "" if own else str(next(each.difference for each in found.contrasts if each.entry is entry))
        seeds = ", ".join(f"{value:.4f}" for value in entry.by_seed)
        name = f"unet {entry.runs[0].config['model']['width']}, {'alone' if own else 'taught'}"
        shown.add_row(name, small[0], str(entry.interval), seeds, difference, small[1], small[2])
    return shown


def main() -> None:
    """Train what is missing, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], metavar="NAME=DIR", help="liver=DIR or isbi=DIR")
    parser.add_argument("--teacher", type=int, default=16, help="width of its U-Net")
    parser.add_argument("--student", type=int, default=4, help="width of its U-Net")
    parser.add_argument("--epochs", type=int, default=40, help="of every training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--weight", type=float, default=0.5)
    parser.add_argument("--boundary", type=float, default=0.0)
    parser.add_argument("--words", nargs="*", default=[], help="further words for every training")
    parser.add_argument("--threads", type=int, default=2, help="of a training")
    parser.add_argument("--gpus", default="0", help="trainer.gpus of the trainings")
    parser.add_argument("--rounds", type=int, default=30, help="passes whose median is given")
    parser.add_argument("--device", default="cpu", help="where time and memory are measured")
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"))
    arguments = parser.parse_args()
    silence_libraries()
    console = Console(width=140, soft_wrap=True, highlight=False)
    for data, _, root in (text.partition("=") for text in arguments.data):
        made = study(data, Path(root), arguments.out, arguments)
        train([made.teacher, *made.alone, *made.taught], arguments.threads, console.print)
        found = compared(made)
        console.print(table(made, found, costs(made, arguments.rounds, arguments.device), arguments.device))
        for sentence in (*found.verdicts, *found.notes):
            console.print(sentence)


if __name__ == "__main__":
    main()
