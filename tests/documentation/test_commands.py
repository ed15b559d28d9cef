"""Every command of README, of the pages and of the help texts is typed and does its work, on small pictures.

Each is typed as it stands, in a folder where RUN, DIR, STUDY and their kin exist; what makes it take seconds is added. Only
what needs another machine is replaced: a GPU by the CPU, pretrained weights by random ones (tests/models fetches some from a
server of its own), a launcher of processes by one in this process (tests/cli has it); of the jobs of a study those are left
that bring a new value. `test_tutorial.py` types the tutorial.
"""

import importlib
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from segexp.data.synthetic.datasets import make_demo

Type = Callable[[str, Sequence[str]], int]
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ELSEWHERE = (DOCS / "tutorial.md", DOCS / "reference.md")
"""The first is typed whole by test_tutorial.py; of the second each command is one word."""
PAGES = [page for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))) if page not in ELSEWHERE]
VERBS = ("train", "check", "evaluate", "predict", "explain", "export", "compare")
ARGUED = r"`(python -m segexp\.\w+\s[^`]+)`"
"""A command in a sentence; without a word after it, it is a name."""

SMALL = [
    *("trainer.gpus=0", "data.num_workers=0", "data.batch_size=2", "trainer.max_epochs=8"),
    *("data.size=null", "data.crop=null", "data.repeat=1", "callbacks=none"),
]
"""What is trained beforehand takes seconds too."""
STUDIES = {
    "folds": ["-m", "model=unet", "model.width=4", "model.depth=2", "data.folds=3", "data.fold=range(3)"],
    "models": ["-m", "model=unet,unetpp", "model.width=4", "model.depth=2", "seed=0,1", "data.split_seed=0"],
}
RUNS = {
    "unet": ["model=unet", "model.width=4", "model.depth=4"],
    "unetpp": ["model=unetpp", "model.width=4", "model.depth=4", "deep_supervision=[1,0.5,0.25]"],
}
QUICK = {
    "train": [
        "trainer.minutes=null",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=2",
        "trainer.limit_val_batches=2",
        "trainer.gpus=0",
        "data.num_workers=0",
    ],
    "evaluate": ["gpus=0"],
    "predict": ["gpus=0"],
    "explain": ["gpus=0"],
}
"""What is typed behind a command so that it takes seconds."""
LARGE = 256
"""Pixels of a side of pictures that are trained on; others have 64."""
NARROW = [file.stem for file in (ROOT / "conf" / "model").glob("*.yaml") if re.search("^width:", file.read_text(), re.M)]
"""Networks that can be made narrow."""
PLACE = r"runs/[\w/-]+|\b(?:OTHER_)?STUDY\b|\b(?:OTHER_)?RUN\d?\b|RUN_OR_STUDY"
"""Where a command looks for a run or a study."""
REST = ["data=paired_folders", "data.root=DIR", "data.classes={background: 0, cell: 255, nucleus: 255}"]
"""What a command goes on with where the page has an ellipsis."""
NETWORK = """
from torch import nn

class MyNet(nn.Module):
    def __init__(self, in_channels, num_classes, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, num_classes, 1))

    def forward(self, image):
        return self.layers(image)
"""


def in_text(text: str) -> Iterator[str]:
    """Yield the commands of a page, those in blocks and those between backticks in a sentence."""
    parts = re.split(r"^```.*$", text, flags=re.MULTILINE)
    for block in parts[1::2]:
        yield from re.findall(r"^python -m segexp.*$", block.replace("\\\n", " "), re.MULTILINE)
    for prose in parts[::2]:
        yield from (" ".join(found.split()) for found in re.findall(ARGUED, prose))


def in_help(verb: str) -> Iterator[str]:
    """Yield the commands of a help text, without what is said about them."""
    for line in importlib.import_module(f"segexp.cli.{verb}").HELP.splitlines():
        if line.startswith("  python -m") and "[key=value" not in line:
            yield re.split(r"\s{2,}", line.strip())[0]


def commands() -> list[str]:
    """Every command once, whatever is said about it."""
    found = [command for page in PAGES for command in in_text(page.read_text(encoding="utf-8"))]
    found += [command for verb in VERBS for command in in_help(verb)]
    return list({tuple(shlex.split(command, comments=True)): command for command in found}.values())


COMMANDS = commands()


class Stock:
    """Pictures and trained runs, each made when it is asked for the first time."""

    def __init__(self, folder: Path, command: Type) -> None:
        self.folder, self.command = folder, command
        self.pictures = cache(self._pictures)
        self.runs = cache(self._runs)

    def _pictures(self, kind: str, size: int = 64) -> Path:
        """Return a data set of one kind."""
        if kind == "water":
            return paired(self.folder / "water", ["data.classes={background: 0, water: 255}"])
        family = {"liver": "organ", "isbi": "membranes", "skin": "lesion"}[kind]
        folder = make_demo(self.folder / str(size), family, count=48 if size == LARGE else 24, size=size)
        if kind == "skin":  # named by patient, as a page has it
            for file in [*folder.rglob("ISIC_*.*")]:
                file.rename(file.with_name(f"patient{int(file.stem.split('_')[1]) % 5}_{file.name}"))
        return folder

    def _runs(self, kind: str, name: str) -> Path:
        """Return a trained run, or a study, on one kind of data."""
        folder = self.folder / "runs" / kind / name
        words = [*(STUDIES | RUNS)[name], *SMALL, f"data.root={self.pictures(kind)}"]
        words += [f"data={kind}"] if kind != "water" else ["data=paired_folders", "data.classes={background: 0, water: 255}"]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            place = ["study=" + f"{kind}_{name}"] if name in STUDIES else [f"run_dir={folder}"]
            assert self.command("train", [*words, *place]) == 0
        return self.folder / "runs" / "studies" / f"{kind}_{name}" if name in STUDIES else folder


def paired(folder: Path, words: list[str]) -> Path:
    """Write pictures in two folders whose patterns and classes are those that a command types."""
    said = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in words) if key.startswith("data.")}
    image, masks = said.get("data.image", "images/{id}.jpg"), said.get("data.mask", "masks/{id}_mask.png")
    classes = said.get("data.classes", {"background": 0, "foreground": 255})
    values = [value for given in classes.values() for value in (given if isinstance(given, list) else [given])]
    rng = np.random.default_rng(0)
    for n in range(12):
        labels = np.zeros((64, 64), np.uint8)
        for k in range(1, len(values)):
            cv2.circle(labels, [int(v) for v in rng.integers(12, 52, 2)], 10, k, -1)
        picture = np.clip(60 + 40 * labels[..., None] + rng.normal(0, 9, (64, 64, 3)), 0, 255)
        write(folder / image.replace("{id}", str(n)).replace("{jpg,png}", "jpg"), picture)
        for name in masks.values() if isinstance(masks, dict) else [masks]:
            write(folder / name.replace("{id}", str(n)), colours(labels, values))
    return folder


def colours(labels: np.ndarray, values: list[Any]) -> np.ndarray:
    """Return a mask in which class k has the k-th value, a number or "#RRGGBB"."""
    known = [[int(v[i : i + 2], 16) for i in (5, 3, 1)] if isinstance(v, str) else v for v in values]  # OpenCV's order
    return np.array(known, np.uint8)[labels]


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array.astype(np.uint8))


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory, command: Type) -> Stock:
    """What the commands work on."""
    return Stock(tmp_path_factory.mktemp("stock"), command)


@pytest.fixture
def here(tmp_path: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures where the configuration looks for them, on a machine of its own."""
    for name in ("scans", "monday", "tuesday"):
        for source in (stock.pictures("liver") / "val").glob("[0-9][0-9][0-9].png"):
            write(tmp_path / name / source.name, cv2.resize(cv2.imread(str(source), cv2.IMREAD_GRAYSCALE), (176, 176)))
            write(tmp_path / "masks" / f"{source.stem}_mask.png", np.eye(176) * 255)
    shutil.copy(next((tmp_path / "scans").iterdir()), tmp_path / "scan.png")
    for name in ("my_package", "my_nets"):
        (tmp_path / f"{name}.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("segexp.devices.choose_devices", lambda *_: ("cpu", 1))
    monkeypatch.setattr("segexp.deployment.verification.FEWEST", 2)
    monkeypatch.setattr("segexp.deployment.verification.MOST", 3)
    monkeypatch.setattr("segexp.cli.study._free_memory", lambda: None)
    monkeypatch.setattr(BasicSweeper, "split_arguments", staticmethod(covering(BasicSweeper.split_arguments)))
    return tmp_path


def covering(split: Callable[..., list[list[list[str]]]]) -> Callable[..., list[list[list[str]]]]:
    """Of the jobs of a study leave so many that every value is in one of them, the next always that with most new ones."""

    def few(overrides: list[Any], size: int | None) -> list[list[list[str]]]:
        jobs, kept = list(chain.from_iterable(split(overrides, size))), list[list[str]]()
        while missing := set(chain.from_iterable(jobs)) - set(chain.from_iterable(kept)):
            kept.append(max(jobs, key=lambda job: len(missing & set(job))))
        return [kept]

    return few


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def furnish(line: str, verb: str, words: list[str], stock: Stock, here: Path) -> list[str]:
    """Put into the folder what a command names, and return its words, of which two may not mean the same place."""
    kind = next((kind for kind in ("isbi", "skin") if re.search(rf"(data|experiment)={kind}|metrics=membrane", line)), "liver")
    kind = "water" if "=water" in line else "skin" if verb == "evaluate" and "data.image=" in line else kind
    size = LARGE if verb == "train" and re.search(r"crop|isbi|experiment=|data.folds", line) else 64  # for a crop has to fit
    pictures = stock.pictures(kind, 128 if "crop=128" in line else size)
    if re.search("data=paired_folders|data.labels=overlapping|data.image=", line):
        pictures = paired(here / "paired", words)
    for name in ("DIR", "OTHER_DIR"):
        link(here / name, pictures)
    link(here / "data" / kind, pictures)
    link(here / "data" / "demo" / "organ_48x256_seed0_v1", pictures)  # or they would be generated
    if kind == "water":
        link(here / "pictures", pictures / "images")
        shutil.rmtree(here / "masks")
        link(here / "masks", pictures / "masks")
        words = [word.replace("input=DIR", "input=pictures").replace("truth=DIR", "truth=masks") for word in words]
    if "groups.csv" in line:
        ids = [file.stem.removesuffix("_segmentation") for file in pictures.rglob("*_segmentation.png")]
        (pictures / "groups.csv").write_text("\n".join(["id,patient", *(f"{id_},{id_[:8]}" for id_ in ids)]) + "\n")
    words = [word.replace("input=DIR", "input=scans").replace("output=DIR", "output=OUT") for word in words]
    words = [word.replace("data.unlabeled=DIR", "data.unlabeled=scans") for word in words]
    words = several(words)
    runs = dict.fromkeys(name for word in words for name in re.findall(PLACE, word))
    for n, name in enumerate(runs):
        shutil.copytree(trained(name, n, line, verb, kind, stock), here / name)
    if "model=liver.onnx" in words:
        assert stock.command("export", [f"checkpoint={stock.runs(kind, 'unet')}", "output=liver.onnx"]) == 0
    return words


def several(words: list[str]) -> list[str]:
    """Return words in which RUN, said again, is RUN1 and RUN2: a page means several, and a reference one of them."""
    count = iter(["RUN", "RUN1", "RUN2"])
    return [word if "reference=" in word else re.sub(r"\bRUN\b", lambda _: next(count), word) for word in words]


def trained(name: str, n: int, line: str, verb: str, kind: str, stock: Stock) -> Path:
    """Return what the n-th name of a command stands for, a run or a study."""
    if name.endswith("STUDY") or name.startswith("runs/studies"):
        return stock.runs(kind, "models" if verb == "compare" and "folds" not in name.lower() else "folds")
    if verb == "compare":
        return sorted(path for path in stock.runs(kind, "models").iterdir() if path.is_dir())[n]
    return stock.runs(kind, "unetpp" if "prune_to" in line else "unet")


def quickly(verb: str, words: list[str]) -> list[str]:
    """Return a command with what makes it take seconds; what makes the network narrow before the words, the rest behind."""
    words = [word.replace("model=NAME", "model=unet").replace("model.weights=imagenet", "model.weights=none") for word in words]
    words = ["hydra/launcher=basic" if word == "hydra/launcher=joblib" else word for word in words]
    words = [part for word in words for part in (REST if word == "…" else [word])]
    if "fit=true" in words:
        words = ["data.size=null", "model.width=8", *words]
    if verb == "export" and "precision=int8" in words:
        words += ["accept=true", "calibration=8"]
    if any(word.startswith("resume=") for word in words):
        return [*words, *(["trainer.max_epochs=9"] if "trainer.max_epochs=200" in words else [])]
    if verb == "train":
        models = next((word.removeprefix("model=").split(",") for word in words if word.startswith("model=")), ["unet"])
        own = any(word.startswith("model._target_") for word in words)
        narrow = ["model.width=4"] if set(models) <= set(NARROW) and not own else []
        words = ["data.size=null", "data.repeat=1", *narrow, *words]
    return [*words, *QUICK.get(verb, [])]


SAYS = {
    "train": "Report: ",
    "check": "Page: ",
    "evaluate": "Dice",
    "predict": "images predicted in",
    "explain": "explained in",
    "export": "the certificate in",
    "compare": "95 % interval",
    "report": "report.html",
}
"""What a command prints when it has done its work."""


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_does_its_work(
    line: str, command: Type, stock: Stock, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *words = shlex.split(line.removeprefix("python -m "), comments=True)
    verb = first.removeprefix("segexp.")
    words = quickly(verb, furnish(line, verb, words, stock, here))
    capsys.readouterr()
    code = command(verb, words)
    out, err = capsys.readouterr()
    assert code == 0, f"{shlex.join(words)}\n{out}\n{err}"
    assert ("Examples" if "--help" in words else SAYS[verb]) in out


def test_the_commands_were_found() -> None:
    assert len(COMMANDS) > 110
    assert {command.split()[2].removeprefix("segexp.") for command in COMMANDS} == {*VERBS, "report"}
    for name in ("README.md", "how-to/compare.md", "networks.md", "export.md"):
        page = ROOT / name if name == "README.md" else DOCS / name
        text = page.read_text(encoding="utf-8")
        names = len(re.findall(r"`python -m segexp\.\w+`", text))
        assert len(re.findall(r"python\s-m\ssegexp\.", text)) == len(list(in_text(text))) + names, name
