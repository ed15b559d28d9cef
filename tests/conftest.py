"""Shared by all tests: quiet threads, where real data lie, the commands on a few small pictures."""

import csv
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import pytest
import torch
import yaml

torch.set_num_threads(1)

if find_spec("absl"):  # which comes with OpenVINO; its handler closes the stream that it began with, pytest's own
    importlib.import_module("absl.logging").get_absl_handler().python_handler.stream = sys.__stderr__

from fixtures.processes import start  # noqa: E402, F401

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def compose_once() -> Iterator[None]:
    """A command composes its configuration once less: Hydra does so only to find `hydra.mode`, null where nobody set it.

    Commands that tests start in processes of their own run without this.
    """
    from hydra._internal.hydra import Hydra

    get_mode = Hydra.get_mode

    def mode_if_named(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        return get_mode(hydra, config_name, overrides) if any("hydra.mode" in word for word in overrides) else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "get_mode", mode_if_named)
        yield


ADVICE: list[Any] = []
"""The recorder of what messages tell to type."""


@pytest.fixture(scope="session", autouse=True)
def recorder() -> Iterator[Any]:
    """Record what errors, findings and the console tell to type, see `fixtures/advice.py`."""
    from fixtures.advice import recording

    with recording() as made:
        ADVICE[:] = [made]
        yield made
        ADVICE.clear()


@pytest.fixture(autouse=True)
def advice_can_be_typed(recorder: Any) -> Iterator[None]:
    """Fail a test in which a message tells to type what would be refused."""
    recorder.begin()
    yield
    refused = recorder.refused()
    assert not refused, "\n".join(refused)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SEGEXP_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set SEGEXP_DATA to the folder that holds liver/, isbi/, skin/ and landcover/")
    return folder


@pytest.fixture(scope="session")
def conf() -> Path:
    """The folder of the configuration groups."""
    return ROOT / "conf"


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten generated slices of 64 pixels in the layout of data=liver: 5 for training, 5 of another scan for validation."""
    from segexp.data.synthetic.datasets import make_demo

    return make_demo(tmp_path_factory.mktemp("pictures"), "organ", count=10, size=64)


@pytest.fixture(scope="session")
def small(slices: Path) -> list[str]:
    """What makes a training of seconds: a tiny U-Net on `slices`, on the CPU."""
    data = ["data=liver", f"data.root={slices}", "data.size=64", "callbacks=none"]
    return [
        *data,
        "model=unet",
        "model.width=4",
        "model.depth=2",
        "trainer.gpus=0",
        "data.batch_size=2",
        "data.num_workers=0",
    ]


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight generated pictures of 64 pixels of cells with nuclei inside, the last one without nuclei, as classes that overlap.

    `data/<case>/image.png`, `cell.png` and a file for each nucleus, `nucleus_1.png`, …; `conf/data/cells.yaml` describes them.
    """
    import cv2
    import numpy as np

    folder = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(5)
    for n in range(8):
        here = folder / "data" / f"c{n}"
        here.mkdir(parents=True)
        cell = np.zeros((64, 64), np.uint8)
        nuclei = [np.zeros((64, 64), np.uint8) for _ in range(2)]
        for k, nucleus in enumerate(nuclei):
            x, y = (18 + 28 * k + int(rng.integers(-4, 5)), int(rng.integers(22, 43)))
            cv2.ellipse(cell, (x, y), (int(rng.integers(11, 15)), int(rng.integers(11, 19))), 0, 0, 360, 255, -1)
            cv2.circle(nucleus, (x, y), int(rng.integers(4, 7)), 255, -1)
        if n == 7:
            nuclei = []
        inside = np.max([np.zeros_like(cell), *nuclei], axis=0)
        image = 40 + 90.0 * (cell > 0) + 80.0 * (inside > 0) + rng.normal(0, 8, cell.shape)
        cv2.imwrite(str(here / "image.png"), np.clip(image, 0, 255).astype(np.uint8))
        cv2.imwrite(str(here / "cell.png"), cell)
        for k, nucleus in enumerate(nuclei, start=1):
            cv2.imwrite(str(here / f"nucleus_{k}.png"), nucleus)
    conf = folder / "conf" / "data"
    conf.mkdir(parents=True)
    (conf / "cells.yaml").write_text(
        "defaults: [_base, _self_]\n"
        "name: cells\n"
        f"root: {folder / 'data'}\n"
        'image: "{id}/image.png"\n'
        "labels: overlapping\n"
        'mask: {cell: "{id}/cell.png", nucleus: "{id}/nucleus_*.png"}\n'
        "optional_masks: [nucleus]\n"
        "classes: {background: 0, cell: 255, nucleus: 255}\n"
        "channels: 1\n"
        "test_fraction: 0.25\n"
    )
    return folder


@pytest.fixture(scope="session")
def command() -> Callable[[str, Sequence[str]], int]:
    """Type a command in this process, by the name of its module and its words; returns its exit code."""
    return typed


@pytest.fixture(scope="session")
def train() -> Callable[..., int]:
    """Type a train command in this process; returns its exit code."""
    return lambda *words: typed("train", words)


@pytest.fixture(scope="session")
def evaluate() -> Callable[..., int]:
    """Type an evaluate command in this process; returns its exit code."""
    return lambda *words: typed("evaluate", words)


@pytest.fixture(scope="session")
def compare() -> Callable[..., int]:
    """Type a compare command in this process; returns its exit code."""
    return lambda *words: typed("compare", words)


def write_run(
    directory: Path,
    dice: Mapping[str, Sequence[float | None]],
    *,
    settings: Mapping[str, Any] | None = None,
    choices: Mapping[str, str] | None = None,
    split: str = "val",
    train: Sequence[str] = ("t0", "t1"),
    groups: Mapping[str, str] | None = None,
    classes: Sequence[str] = ("background", "liver"),
    more: Mapping[str, Mapping[str, float]] | None = None,
    finished: bool = True,
) -> Path:
    """Write what a finished run leaves behind, without training; returns the directory.

    Args:
        directory: of the run.
        dice: of each foreground class, to six digits, by case; None where the truth has none of the class.
        settings: of the saved configuration, by dotted key.
        choices: the options of the groups.
        split: of the cases.
        train: ids of the training cases.
        groups: of cases.
        classes: the background first.
        more: further columns of cases.csv, each with a number by case.
        finished: False leaves metrics.json out.
    """
    chosen = {"model": "unet", **(choices or {})}
    rows = []
    for id_, scores in dice.items():
        beside = {column: values[id_] for column, values in (more or {}).items()}
        for name, score in zip(classes, [1.0, *scores], strict=True):
            counts = case_counts(score)
            rows.append({"split": split, "id": id_, "group": (groups or {}).get(id_, ""), "class": name, **counts, **beside})
    (directory / ".hydra").mkdir(parents=True)
    (directory / "checkpoints").mkdir()
    (directory / "checkpoints" / "last.ckpt").touch()
    write_table(directory / "cases.csv", rows)
    write_table(
        directory / "split.csv", [{"id": i, "split": "train"} for i in train] + [{"id": i, "split": split} for i in dice]
    )
    config: dict[str, Any] = {}
    for key, value in {"seed": 0, "model._target_": f"nets.{chosen['model']}", **(settings or {})}.items():
        *outer, last = key.split(".")
        node = config
        for part in outer:
            node = node.setdefault(part, {})
        node[last] = value
    hydra = {"hydra": {"runtime": {"choices": {"hydra/output": "runs", "experiment": None, **chosen}}}}
    typed_words = [f"{key}={value}" for key, value in (settings or {}).items()]
    for name, content in (("config", config), ("hydra", hydra), ("overrides", typed_words)):
        (directory / ".hydra" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    facts = {"seconds": 90.0, "parameters": 1_942_306, "images_per_second": 13.4, "peak_memory_bytes": 1_240_633_344}
    if finished:
        scores = {"scores": {f"{split}/cases": len(dice)}, "status": "finished", **facts}
        (directory / "metrics.json").write_text(json.dumps(scores))
    return directory


def case_counts(dice: float | None) -> dict[str, Any]:
    """Return counts of a class with a million pixels, and the scores that follow; None is a class that the truth lacks."""
    if dice is None:
        return {"tp": 0, "fp": 7, "fn": 0, "dice": "", "iou": ""}
    tp = round(1e6 * dice)
    wrong = 1_000_000 - tp
    return {"tp": tp, "fp": wrong, "fn": wrong, "dice": tp / 1e6, "iou": tp / (tp + 2 * wrong)}


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """Write the directory of a run without training; see `write_run`."""
    return write_run


def typed(verb: str, words: Sequence[str]) -> int:
    """Call a command; the log handlers that Hydra installs for a run directory go with it."""
    main = importlib.import_module(f"segexp.cli.{verb}").main
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    ADVICE[0].running(verb)
    try:
        return int(main([str(word) for word in words]))
    finally:
        ADVICE[0].running("")
        for handler in [h for h in root.handlers if h not in handlers]:
            handler.close()
        root.handlers[:], root.level = handlers, level
