"""How accurate, fast and small is a network once it is exported? Float32, bfloat16 and INT8, as ONNX and as OpenVINO.

Each run is exported in each number format with its certificate, kept whether or not it is a success. Dice comes from the
certificates; the time of one image is taken anew for all files in turns, in one process.

    python benchmarks/deploy.py --run teacher=RUN --run student=RUN --run 'pruned UNet++=RUN@2' --plot docs/deploy.png

RUN@LEVEL is a UNet++ with deep supervision, pruned to that level. With --nncf, the quantisation of NNCF (a package that is
installed by hand) stands beside ONNX Runtime's. What is finished is kept in the work folder.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from export import put
from exported import CALIBRATION, certificate
from rich.console import Console

from segexp.atomic import atomic_write
from segexp.checkpoint import load_segmenter
from segexp.console import silence_libraries
from segexp.deployment.certificate import dice_of_cases, machine
from segexp.deployment.formats import FORMATS
from segexp.deployment.plan import collect_export_data
from segexp.deployment.runtime import OpenvinoRunner, Runner, open_runner
from segexp.deployment.verification import Latency, time_alternately
from segexp.evaluation.grouping import resampling_groups
from segexp.inference.segmenter import Segmenter
from segexp.metrics.significance import bootstrap_interval, paired_interval

FILES = (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))
TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
COLOURS = {"fp32": "tab:blue", "bf16": "tab:orange", "int8": "tab:green", "int8 by NNCF": "tab:purple"}


@dataclass(frozen=True)
class Point:
    """One file.

    Attributes:
        network: name of the run.
        kind: a key of `FORMATS`.
        precision: of the numbers inside.
        dice: on the validation cases, with "low" and "high".
        difference: to the network in float32, likewise.
        bytes: of the file.
        latency: of one image.
        kept: layers left in float32, of how many; empty unless in INT8.
    """

    network: str
    kind: str
    precision: str
    dice: dict[str, Any]
    difference: dict[str, Any]
    bytes: int
    latency: Latency
    kept: str = ""


@dataclass(frozen=True)
class Subject:
    """A network that is exported."""

    name: str
    run: Path
    level: int | None


def subject(text: str) -> Subject:
    """Read NAME=RUN or NAME=RUN@LEVEL."""
    name, _, path = text.partition("=")
    run, _, level = path.partition("@")
    return Subject(name, Path(run), int(level) if level else None)


def points(subjects: Sequence[Subject], out: Path, nncf: bool) -> list[Point]:
    """Export, score, and time all files in turns."""
    known: list[tuple[Subject, str, str, dict[str, Any], Runner]] = []
    for each in subjects:
        folder = out / each.name.replace(" ", "_")
        for kind, precision in FILES:
            found = certificate(each.run, folder / precision, kind, precision, each.level)
            if "failed" in found:
                raise SystemExit(f"{each.name} as {kind} in {precision}: {found['failed']}")
            file = folder / f"{precision}{FORMATS[kind].suffix}"
            known.append((each, kind, precision, found, open_runner(file, kind, precision)))
        if nncf:
            found, file = by_nncf(each, folder)
            known.append((each, "openvino", "int8 by NNCF", found, OpenvinoRunner(file)))
    images = {each.name: example(each) for each in subjects}
    calls = [lambda run=run, image=images[each.name]: run(image) for each, *_, run in known]
    taken = time_alternately(calls, seconds=60.0)
    return [
        Point(each.name, kind, precision, *_dice(found), found["bytes"]["file"], latency, _kept(found))
        for (each, kind, precision, found, _), latency in zip(known, taken, strict=True)
    ]


def _dice(found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return found["dice"]["after"], found["dice"]["difference"]


def _kept(found: dict[str, Any]) -> str:
    return f"{len(found['int8']['kept in float32'])} of {found['int8']['layers']}" if "int8" in found else ""


def example(each: Subject) -> torch.Tensor:
    """Return a prepared validation image (1, C, h, w)."""
    segmenter = load_segmenter(each.run)
    material, _ = collect_export_data(segmenter, segmenter.origin.config)
    return segmenter.preprocessing.prepare(material.images[0])[None]


def by_nncf(each: Subject, folder: Path) -> tuple[dict[str, Any], Path]:
    """Quantise OpenVINO's float32 file with NNCF; return what a certificate would say of it, and the file."""
    import nncf
    import openvino

    file = folder / "nncf.xml"
    segmenter: Segmenter = load_segmenter(each.run, prune_to=each.level)
    segmenter.precision = "32"
    material, _ = collect_export_data(segmenter, segmenter.origin.config, CALIBRATION)
    if not file.is_file():
        images = [image[None].numpy() for image in material.calibration]
        model = nncf.quantize(openvino.Core().read_model(folder / "fp32.xml"), nncf.Dataset(images), subset_size=len(images))
        openvino.save_model(model, file, compress_to_fp16=False)
    before = dice_of_cases(segmenter, material.validation.cases)
    segmenter.network = OpenvinoRunner(file)
    after, groups = dice_of_cases(segmenter, material.validation.cases), resampling_groups(material.validation.groups)
    found = {"after": bootstrap_interval(after, groups), "difference": paired_interval(after, before, groups)}
    size = sum(part.stat().st_size for part in (file, file.with_suffix(".bin")))
    return {"dice": {key: vars(value) for key, value in found.items()}, "bytes": {"file": size}}, file


def table(found: Sequence[Point]) -> str:
    """Return the points as a Markdown table."""
    heads = ["network", "file", "Dice", "to float32 in PyTorch", "ms", "95th percentile", "MB", "layers in float32"]
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)]]
    lines += [
        [
            each.network,
            f"{FORMATS[each.kind].title}, {each.precision}",
            f"{each.dice['mean']:.4f} [{each.dice['low']:.4f}, {each.dice['high']:.4f}]",
            f"{each.difference['mean']:+.4f} [{each.difference['low']:+.4f}, {each.difference['high']:+.4f}]",
            f"{each.latency.median:.1f}",
            f"{each.latency.p95:.1f}",
            f"{each.bytes / 1e6:.2f}",
            each.kept,
        ]
        for each in found
    ]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{text}\n\nTimed in turns on {machine()}.\n"


def best(found: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats in both Dice and time, the fastest first."""
    ordered = sorted(found, key=lambda each: (each.latency.median, -each.dice["mean"]))
    front: list[Point] = []
    for each in ordered:
        if not front or each.dice["mean"] > front[-1].dice["mean"]:
            front.append(each)
    return front


def plot(found: Sequence[Point], path: Path) -> None:
    """Draw Dice against time; the area of a dot is the size of the file, the line joins what nothing beats in both."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    front = best(found)
    axes.plot([p.latency.median for p in front], [p.dice["mean"] for p in front], color="0.7", linewidth=1, zorder=1)
    shapes = {"onnx": "o", "openvino": "s"}
    for each in found:
        x, y = each.latency.median, each.dice["mean"]
        area = 20 + 60 * np.sqrt(each.bytes / max(point.bytes for point in found))
        axes.scatter(x, y, s=area, marker=shapes[each.kind], color=COLOURS[each.precision], alpha=0.8, zorder=2, linewidths=0)
    for name in dict.fromkeys(each.network for each in found):
        own = [each for each in found if each.network == name]
        right = max(own, key=lambda each: each.latency.median)
        axes.annotate(
            name, (right.latency.median, right.dice["mean"]), (10, 0), textcoords="offset points", va="center", fontsize=10
        )
    for precision in dict.fromkeys(each.precision for each in found):
        axes.scatter([], [], color=COLOURS[precision], s=50, label=precision)
    for kind in dict.fromkeys(each.kind for each in found):
        axes.scatter([], [], color="0.4", s=50, marker=shapes[kind], label=FORMATS[kind].title)
    axes.set(xscale="log", xlabel="milliseconds of one image", ylabel="Dice on the validation cases")
    slowest, fastest = (pick(each.latency.median for each in found) for pick in (max, min))
    places = [place for place in TICKS if fastest / 2 < place < slowest * 2]
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()
    axes.margins(x=0.2, y=0.15)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        figure.savefig(part, format="png")


def main(argv: Sequence[str] | None = None) -> None:
    """Export what is missing, time everything, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", required=True, type=subject, metavar="NAME=RUN[@LEVEL]")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--nncf", action="store_true", help="INT8 by NNCF too")
    parser.add_argument("--out", type=Path, default=Path("runs/deploy"))
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table there")
    arguments = parser.parse_args(argv)
    silence_libraries()
    torch.set_num_threads(arguments.threads)
    found = points(arguments.run, arguments.out, arguments.nncf)
    text = table(found)
    Console(width=200, soft_wrap=True, highlight=False).print(text, markup=False)
    if arguments.plot:
        plot(found, arguments.plot)
    if arguments.write:
        picture = f"\n![Dice and time of one image]({arguments.plot.name})\n" if arguments.plot else ""
        put(arguments.write, text + picture, "deployed")


if __name__ == "__main__":
    main()
