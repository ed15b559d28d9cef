"""One table over every network of conf/model: how large, how fast, and what it reaches in the same few minutes.

1. Parameters, and multiply-accumulates (MACs) of an image of 3 x 256 x 256 with 2 classes: half of the operations that
   torch's FlopCounterMode counts, which are convolutions and products of matrices.
2. Images per second of a training step and of a forward pass on a batch that is already in memory, with the batch size and
   the number format of the recipes; the networks take turns in one process, the table has medians.
3. Dice on validation cases with its 95 % interval, after `python -m segexp.train experiment=DATA model=NAME
   trainer.minutes=M seed=0`.

Every network has the size that the experiments give it. What is finished is kept in the work folder, so the same command
again does what is missing; a network that fails is named in the table with the reason.

    python benchmarks/networks.py --data liver=DIR --data skin=DIR --threads 1 --jobs 2          # all networks, for hours
    python benchmarks/networks.py … --write docs/networks.md --plot docs/networks.png     # and into the docs
    python benchmarks/networks.py --skip-training --networks unet fpn --rounds 3                 # size and speed alone
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from network_dice import Job, kept_all, run_all
from network_page import Row, cases, table, write
from network_plot import plot
from network_speed import Timed, all_networks, batch_of, config_of, edition, in_turns, size_of
from rich.console import Console

from segexp.atomic import atomic_write
from segexp.config.schema import TrainConfig
from segexp.console import silence_libraries
from segexp.devices import choose_devices, choose_precision, describe_device, torch_build
from segexp.errors import SegexpError
from segexp.evaluation.summary_text import pluralise

SHAPE = "skin"
"""The experiment whose network is measured: 3 channels and 2 classes."""


def say(text: str) -> None:
    """Print a line at once."""
    Console(soft_wrap=True, highlight=False, markup=False).print(text)


def measured(names: Sequence[str], arguments: argparse.Namespace, file: Path) -> dict[str, Row]:
    """Return size and speed of the networks; all are timed again unless all were timed before as they are now."""
    configs: dict[str, TrainConfig] = {}
    rows: dict[str, Row] = {}
    for name in names:
        try:
            configs[name] = config_of(SHAPE, name)
        except Exception as error:  # any network may fail in its own way, and the others shall be measured
            rows[name] = Row(name, failed=reason(error))
    asked: dict[str, Any] = {"rounds": arguments.rounds, "gpus": arguments.gpus}
    models = {name: config.model.plain() for name, config in configs.items()}
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if not all(timed_as(found, asked, name, model) for name, model in models.items()):
        found = {**asked, "models": models, "rows": timed(configs, arguments)}
        with atomic_write(file) as part:
            part.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return rows | {name: Row(name, edition(config.model), **found["rows"][name]) for name, config in configs.items()}


def timed_as(found: dict[str, Any], asked: dict[str, Any], name: str, model: dict[str, Any]) -> bool:
    """Say whether a network was timed before, under these conditions and without a failure."""
    same = all(found.get(key) == value for key, value in asked.items()) and found["models"].get(name) == model
    return same and "failed" not in found["rows"][name]


def timed(configs: dict[str, TrainConfig], arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the measured columns of each network, or why there are none."""
    found: dict[str, dict[str, Any]] = {}
    networks: dict[str, Timed] = {}
    for name, config in configs.items():
        try:
            size = size_of(config)
            network = Timed(config, arguments.gpus)
            network.train()
            network.predict()
        except Exception as error:
            found[name] = {"failed": reason(error)}
        else:
            found[name] = {"parameters": size.parameters, "macs": size.macs}
            networks[name] = network
            say(f"{name}: {size.parameters:,} parameters, {size.macs / 1e9:.2f} G MACs")
    for name, (train, predict) in in_turns(networks, arguments.rounds, say).items():
        found[name] |= {"train": train, "predict": predict}
    return found


def reason(error: Exception) -> str:
    """Return what went wrong as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def jobs(names: Sequence[str], arguments: argparse.Namespace, folder: Path) -> list[Job]:
    """Return the trainings of the networks that can be configured, on the data that are there."""
    found = []
    for data, root in arguments.data.items():
        if not root.is_dir():
            say(f"{data}: there is no folder {root}, so nothing is trained on it.")
            continue
        for name in names:
            words = (f"experiment={data}", f"model={name}", f"data.root={root.resolve()}")
            words += (f"trainer.minutes={arguments.minutes:g}", f"trainer.gpus={arguments.gpus}", "seed=0")
            place = (folder / data / name).resolve()
            found.append(Job(data, name, words, section(data, name), place, arguments.clock))
    return found


def section(data: str, name: str) -> dict[str, Any]:
    """Return the model section of a training; empty where its command will say what is wrong."""
    try:
        model: dict[str, Any] = config_of(data, name).model.plain()
    except SegexpError:
        return {}
    return model


def conditions(arguments: argparse.Namespace, data: Sequence[str], rows: Sequence[Row]) -> str:
    """Return under which conditions the figures were made."""
    config = config_of(SHAPE, "unet")
    accelerator, devices = choose_devices(arguments.gpus)
    sentences = [
        f"Measured on {describe_device(accelerator, devices)}, {torch_build()}, "
        f"{pluralise(arguments.threads, 'thread')} for each process.",
        "Parameters and MACs: 3 channels, 2 classes, one image of 256 x 256; of the multiplications, those of convolutions and "
        "products of matrices.",
        f"Speed: batches of {batch_of(config)} images of 256 x 256 in "
        f"{choose_precision(config.trainer.precision, accelerator)}, median of {pluralise(arguments.rounds, 'round')} in which "
        "the networks take turns.",
    ]
    if data:
        beside = f", {arguments.jobs} side by side" if arguments.jobs > 1 else ""
        clock = "of processor time " if arguments.clock == "cpu" else ""
        sentences.append(f"Dice: {arguments.minutes:g} minutes {clock}of training each{beside}, random weights, one seed (0).")
    return " ".join([*sentences, *cases(rows, data)])


def folder_of(text: str) -> tuple[str, Path]:
    """Return name and folder of "NAME=DIR"."""
    name, equals, folder = text.partition("=")
    if not equals or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR, as in liver=data/liver")
    return name, Path(folder)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Take the command line apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=folder_of, action="append", default=[], metavar="NAME=DIR", help="liver=DIR, skin=DIR")
    parser.add_argument("--networks", nargs="+", choices=all_networks(), default=all_networks(), metavar="NAME")
    parser.add_argument("--minutes", type=float, default=5.0, help="of each training")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of each process")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: minutes of processor time, for a busy machine",
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each network whose speed is measured")
    parser.add_argument("--gpus", default="0", help="as trainer.gpus")
    parser.add_argument("--skip-training", action="store_true", help="train nothing; show what is kept")
    parser.add_argument("--work", type=Path, default=Path("runs/networks"), help="where finished parts are kept")
    parser.add_argument("--write", type=Path, help="a page in which the table replaces what is between its marks")
    parser.add_argument("--plot", type=Path, help="a picture of Dice against MACs")
    arguments = parser.parse_args(words)
    arguments.data = dict(arguments.data)
    arguments.gpus = int(arguments.gpus) if arguments.gpus.isdigit() else arguments.gpus
    return arguments


def main(words: Sequence[str] | None = None) -> None:
    """Do what is missing, print the table, and write it where that was asked for."""
    arguments = parsed(sys.argv[1:] if words is None else words)
    silence_libraries()
    torch.set_num_threads(arguments.threads)
    folder = arguments.work / f"{arguments.minutes:g}min_{arguments.threads}threads_{arguments.jobs}jobs_{arguments.clock}"
    folder.mkdir(parents=True, exist_ok=True)
    known = measured(arguments.networks, arguments, arguments.work / f"speed_{arguments.threads}threads.json")
    wanted = jobs([name for name, row in known.items() if not row.failed], arguments, folder)
    found = kept_all(wanted) if arguments.skip_training else run_all(wanted, arguments.threads, arguments.jobs, say)
    data = list(dict.fromkeys(name for name, _ in found))
    dice = {network: {name: found[name, network] for name in data if (name, network) in found} for network in known}
    rows = [replace(row, dice=dice[network]) for network, row in known.items()]
    text = f"{table(rows, data)}\n\n{conditions(arguments, data, rows)}"
    sys.stdout.write(f"\n{text}\n")
    drawn = arguments.plot is not None and bool(data)
    if drawn:
        plot(rows, data, arguments.plot)
    if arguments.write:
        picture = Path(os.path.relpath(arguments.plot, arguments.write.parent)).as_posix() if drawn else ""
        write(arguments.write, f"{text}\n\n![Dice against MACs]({picture})" if drawn else text)


if __name__ == "__main__":
    main()
