"""Every command of README, of the pages and of the help texts is typed and does its work, on small pictures.

Each is typed in this process as it stands, in a folder where RUN, DIR, STUDY and their kin exist; what makes it take a
second is added. Only what needs another machine is replaced: a GPU by the CPU, pretrained weights by random ones (tests/models
fetches some from a server of its own), a launcher of processes and the process that tries batch sizes by this one (tests/cli
and tests/training have both). Of the jobs of a study those are left that bring a new value. Commands that differ only in what
a run, a study or an output is called are typed once. `test_tutorial.py` types the tutorial, and `tests/test_wheel.py` trains
by `python -m segexp.train` in a process of its own.
"""

import fnmatch
import importlib
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hydra.core.plugins import Plugins

from segexp.config.overrides import to_overrides
from segexp.data.synthetic.datasets import make_demo
from segexp.training.overfit_test import LEARNED
from segexp.training.tuner import BatchSizeTrial

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
    *("trainer.gpus=0", "data.num_workers=0", "data.batch_size=2", "trainer.max_epochs=4", "optimizer.lr=0.01"),
    *("data.size=null", "data.crop=null", "data.repeat=1", "callbacks=none"),
]
"""What is trained beforehand takes seconds too."""
STUDIES = {
    "folds": ["-m", "model=unet", "model.width=4", "model.depth=2", "data.folds=2", "data.fold=0,1"],
    "models": ["-m", "model=unet,unetpp", "model.width=4", "model.depth=2", "seed=0,1", "data.split_seed=0"],
}
RUNS = {
    "unet": ["model=unet", "model.width=4", "model.depth=4"],
    "flat": ["model=unet", "model.width=4", "model.depth=2"],
    "unetpp": ["model=unetpp", "model.width=4", "model.depth=4", "deep_supervision=[1,0.5,0.25]"],
}
BEFORE = {
    "train": ["data.size=null", "data.repeat=1", "data.batch_size=2", "callbacks=none"],
    "check": ["data.size=null", "model.width=8", "model.depth=3", "optimizer.lr=0.01"],
}
"""What is typed before the words of a command, which win, so that it takes a second; for `check` where it trains."""
BEHIND = {
    "train": [
        *("trainer.minutes=null", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1"),
        *("trainer.gpus=0", "data.num_workers=0"),
    ],
    "evaluate": ["gpus=0"],
    "predict": ["gpus=0"],
    "explain": ["gpus=0"],
}
"""What is typed behind them, and wins."""
SWEEPER: Any = Plugins.instance().class_name_to_class["hydra._internal.core_plugins.basic_sweeper.BasicSweeper"]
"""What makes the jobs of a study; importing its module would give another class of that name."""
SPLIT = SWEEPER.split_arguments
NARROW = [file.stem for file in (ROOT / "conf" / "model").glob("*.yaml") if re.search("^width:", file.read_text(), re.M)]
"""Networks that can be made narrow."""
PLACE = r"runs/[\w/-]+|\b(?:OTHER_)?STUDY\b|\b(?:OTHER_)?RUN\d?\b|RUN_OR_STUDY"
"""Where a command looks for a run or a study."""
REPLACED = {
    "model=NAME": "model=unet",
    "model.weights=imagenet": "model.weights=none",
    "model.encoder=resnet50": "model.encoder=resnet18",
    "hydra/launcher=joblib": "hydra/launcher=basic",
}
"""What is typed in the place of a word."""
REST = ["data=paired_folders", "data.root=DIR", "data.classes={background: 0, cell: 255, nucleus: 255}"]
"""What a command goes on with where the page has an ellipsis."""
OTHERS = yaml.safe_load((ROOT / "tests" / "small_networks.yaml").read_text(encoding="utf-8"))
"""What makes the others small."""
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
        self.exported = cache(self._exported)

    def _pictures(self, kind: str, size: int = 64, count: int = 16) -> Path:
        """Return a data set of one kind."""
        if kind == "water":
            return paired(self.folder / "water", ["data.classes={background: 0, water: 255}"])
        family = {"liver": "organ", "isbi": "membranes", "skin": "lesion"}[kind]
        folder = make_demo(self.folder / "pictures", family, count=count, size=size)
        if kind == "skin":  # named by patient, as a page has it
            for file in [*folder.rglob("ISIC_*.*")]:
                file.rename(file.with_name(f"patient{int(file.stem.split('_')[1]) % 5}_{file.name}"))
            ids = [file.stem.removesuffix("_segmentation") for file in folder.rglob("*_segmentation.png")]
            (folder / "groups.csv").write_text("\n".join(["id,patient", *(f"{id_},{id_[:8]}" for id_ in ids)]) + "\n")
        return folder

    def _runs(self, kind: str, name: str) -> Path:
        """Return a trained run, or a study, on one kind of data."""
        folder = self.folder / "runs" / kind / name
        words = [*(STUDIES | RUNS)[name], *SMALL, f"data.root={self.pictures(kind)}"]
        words += [f"data={kind}"] if kind != "water" else ["data=paired_folders", "data.classes={background: 0, water: 255}"]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(SWEEPER, "split_arguments", staticmethod(SPLIT))
            place = ["study=" + f"{kind}_{name}"] if name in STUDIES else [f"run_dir={folder}"]
            assert self.command("train", [*words, *place]) == 0
        return self.folder / "runs" / "studies" / f"{kind}_{name}" if name in STUDIES else folder

    def _exported(self, kind: str) -> Path:
        """Return a folder with liver.onnx and what lies beside it."""
        folder = self.folder / "exported" / kind
        folder.mkdir(parents=True, exist_ok=True)
        assert self.command("export", [f"checkpoint={self.runs(kind, 'flat')}", f"output={folder / 'liver.onnx'}"]) == 0
        return folder


def paired(folder: Path, words: list[str]) -> Path:
    """Write pictures in two folders whose patterns and classes are those that a command types."""
    said = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in words) if key.startswith("data.")}
    image, masks = said.get("data.image", "images/{id}.jpg"), said.get("data.mask", "masks/{id}_mask.png")
    classes = said.get("data.classes", {"background": 0, "foreground": 255})
    values = [value for given in classes.values() for value in (given if isinstance(given, list) else [given])]
    values = [7 if value == "any" else value for value in values]
    image, masks = (
        pattern.replace("{id}.*", "{id}.jpg") if isinstance(pattern, str) else pattern for pattern in (image, masks)
    )
    rng = np.random.default_rng(0)
    for n in range(8):
        labels = np.zeros((64, 64), np.uint8)
        for k in range(1, len(values)):
            cv2.circle(labels, [int(v) for v in rng.integers(12, 52, 2)], 10, k, -1)
        picture = np.clip(60 + 40 * labels[..., None] + rng.normal(0, 9, (64, 64, 3)), 0, 255)
        write(folder / image.replace("{id}", str(n)).replace("{jpg,png}", "jpg"), picture)
        for name in masks.values() if isinstance(masks, dict) else [masks]:
            if name.endswith(".json"):
                outline(folder / name.replace("{id}", str(n)), labels, values, f"{n}.jpg")
                continue
            write(folder / name.replace("{id}", str(n)), colours(labels, values))
    return folder


def outline(path: Path, labels: np.ndarray, values: list[str], name: str) -> None:
    """Write the outlines of classes with the values as labels: COCO for all pictures, or LabelMe for one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = [(k, cv2.findContours((labels == k).astype(np.uint8), 0, 2)[0][0][:, 0]) for k in np.unique(labels[labels > 0])]
    if path.stem in name:
        shapes = [{"label": values[k], "points": corners.tolist(), "shape_type": "polygon"} for k, corners in found]
        content = {"shapes": shapes, "imagePath": name, "imageHeight": 64, "imageWidth": 64}
    else:
        empty: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
        content = json.loads(path.read_text()) if path.is_file() else empty
        content["categories"] = [{"id": k, "name": label} for k, label in enumerate(values) if k]
        number = len(content["images"])
        content["images"].append({"id": number, "file_name": name, "height": 64, "width": 64})
        content["annotations"] += [
            {"image_id": number, "category_id": int(k), "segmentation": [corners.ravel().tolist()]} for k, corners in found
        ]
    path.write_text(json.dumps(content))


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
        for source in sorted((stock.pictures("liver") / "val").glob("[0-9][0-9][0-9].png"))[:4]:
            write(tmp_path / name / source.name, cv2.resize(cv2.imread(str(source), cv2.IMREAD_GRAYSCALE), (176, 176)))
            write(tmp_path / "masks" / f"{source.stem}_mask.png", np.eye(176) * 255)
    shutil.copy(next((tmp_path / "scans").iterdir()), tmp_path / "scan.png")
    for name in ("my_package", "my_nets"):
        (tmp_path / f"{name}.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("segexp.devices.choose_devices", lambda *_: ("cpu", 1))
    monkeypatch.setattr(
        "segexp.training.tuner.try_batch_size", lambda _, sizes: BatchSizeTrial(dict.fromkeys(sizes, 10**6), 10**9)
    )
    monkeypatch.setattr("segexp.training.tuner.STEPS", 30)
    monkeypatch.setattr("segexp.training.overfit_test.ENOUGH", LEARNED)
    monkeypatch.setattr("segexp.deployment.verification.FEWEST", 2)
    monkeypatch.setattr("segexp.deployment.verification.MOST", 3)
    monkeypatch.setattr("segexp.cli.study._free_memory", lambda: None)
    monkeypatch.setattr(SWEEPER, "split_arguments", staticmethod(covering(SPLIT)))
    return tmp_path


def covering(split: Callable[..., list[list[list[str]]]]) -> Callable[..., list[list[list[str]]]]:
    """Of the jobs of a study leave so many that every value is in one of them, the next always that with most new ones.

    Of seeds, and of folds, two values stand for all.
    """

    def few(overrides: list[Any], size: int | None) -> list[list[list[str]]]:
        jobs, kept = list(chain.from_iterable(split(overrides, size))), list[list[str]]()
        wanted = set(chain.from_iterable(jobs))
        for key in ("seed=", "data.fold="):
            wanted -= set(list(dict.fromkeys(word for job in jobs for word in job if word.startswith(key)))[2:])
        while missing := wanted - set(chain.from_iterable(kept)):
            kept.append(max(jobs, key=lambda job: len(missing & set(job))))
        return [kept]

    return few


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@dataclass(frozen=True)
class Asked:
    """A command of a page.

    Attributes:
        line: as the page has it.
        verb: of the command.
        words: what is typed, with what makes it quick.
        kind: of the pictures.
        size: of a side of the pictures, in pixels, and their number.
        places: what each name of a run or a study stands for: its kind and its name in the stock, and which job of a study.
    """

    line: str
    verb: str
    words: list[str]
    kind: str
    size: tuple[int, int]
    places: dict[str, tuple[str, str, int | None]] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether the pictures are made for this command alone."""
        return bool(re.search("data=paired_folders|data.labels=overlapping|data.image=", self.line))

    @property
    def writes(self) -> bool:
        """Whether it changes a run that it names."""
        return self.verb in ("train", "report") or any(word.startswith("tune=") for word in self.words)

    @property
    def same(self) -> tuple[str, ...]:
        """What is equal for commands that differ only in names of places, or in values that do not last."""
        merged = {word.partition("=")[0]: word for word in self.words}
        if merged.get("data") in ("data=liver", "data=isbi", "data=skin") and merged.get("data.root") == "data.root=DIR":
            del merged["data.root"]
        if "output" in merged:
            merged["output"] = f"output={Path(merged['output']).suffix}"
        names = re.compile("|".join(map(re.escape, sorted(self.places, key=len, reverse=True))) or "$^")
        known = sorted(names.sub(lambda found: str(self.places[found[0]]), word) for word in merged.values())
        return self.verb, self.kind, str(self.size), *(word.replace("OTHER_DIR", "DIR") for word in known)


def asked(line: str) -> Asked:
    """Return what a command of a page stands for here."""
    first, *words = shlex.split(line.removeprefix("python -m "), comments=True)
    verb = first.removeprefix("segexp.")
    kind = next((kind for kind in ("isbi", "skin") if re.search(rf"(data|experiment)={kind}|metrics=membrane", line)), "liver")
    kind = "water" if "=water" in line else "skin" if verb == "evaluate" and "data.image=" in line else kind
    size = next((int(found) for found in re.findall(r"crop=(\d+)", line)), 64)
    count = 40 if "data.folds" in line and kind == "liver" else 8 if verb == "train" else 16
    if kind == "water":
        words = [word.replace("input=DIR", "input=pictures").replace("truth=DIR", "truth=masks") for word in words]
    words = [word.replace("input=DIR", "input=scans").replace("output=DIR", "output=OUT") for word in words]
    words = several([word.replace("data.unlabeled=DIR", "data.unlabeled=scans") for word in words])
    names = dict.fromkeys(name for word in words if not word.startswith("run_dir=") for name in re.findall(PLACE, word))
    places = {name: meant(name, n, line, verb, kind) for n, name in enumerate(names)}
    return Asked(line, verb, quickly(verb, words, kind), kind, (size, count), places)


def several(words: list[str]) -> list[str]:
    """Return words in which RUN, said again, is RUN1 and RUN2: a page means several, and a reference one of them."""
    count = iter(["RUN", "RUN1", "RUN2"])
    return [word if "reference=" in word else re.sub(r"\bRUN\b", lambda _: next(count), word) for word in words]


def meant(name: str, n: int, line: str, verb: str, kind: str) -> tuple[str, str, int | None]:
    """Return what the n-th name of a command stands for: kind and name of a run or a study, and the position of a job in it."""
    if name.endswith("STUDY") or name.startswith("runs/studies"):
        return kind, "models" if verb == "compare" and "folds" not in name.lower() else "folds", None
    if verb == "compare":
        return kind, "models", n
    return kind, "unetpp" if "prune_to" in line else "flat" if verb == "export" else "unet", None


def quickly(verb: str, words: list[str], kind: str) -> list[str]:
    """Return a command with what makes it take a second; what the command may say itself before its words, the rest behind."""
    words = [REPLACED.get(word, word) for word in words]
    words = [part for word in words for part in (REST if word == "…" else [word])]
    if verb == "export" and "precision=int8" in words:
        words += ["accept=true", "calibration=8"]
    if any(word.startswith("resume=") for word in words):
        return [*words, *(["trainer.max_epochs=5"] if "trainer.max_epochs=200" in words else [])]
    if verb == "train" or "fit=true" in words:
        models = next((word.removeprefix("model=").split(",") for word in words if word.startswith("model=")), ["unet"])
        own = any(word.startswith("model._target_") for word in words)
        narrow = ["model.width=4"] if verb == "train" and set(models) <= set(NARROW) and not own else []
        narrow += [word for model in models if model in OTHERS for word in to_overrides({"model": OTHERS[model]})]
        words = [*BEFORE[verb], *(["data.crop=48"] if kind == "isbi" else []), *narrow, *words]
    return [*words, *BEHIND.get(verb, [])]


def furnish(asked: Asked, stock: Stock, here: Path) -> None:
    """Put into the folder what a command names."""
    kind, pictures = asked.kind, stock.pictures(asked.kind, *asked.size)
    if asked.own:
        pictures = paired(here / "paired", asked.words)
    for name in ("DIR", "OTHER_DIR"):
        link(here / name, pictures)
    link(here / "data" / kind, pictures)
    link(here / "data" / "demo" / "organ_48x256_seed0_v1", pictures)  # or they would be generated
    if kind == "water":
        link(here / "pictures", pictures / "images")
        shutil.rmtree(here / "masks")
        link(here / "masks", pictures / "masks")
    for name, (kind, run, position) in asked.places.items():
        source = stock.runs(kind, run)
        if position is not None:
            source = sorted(path for path in source.iterdir() if path.is_dir())[position]
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, here / name) if asked.writes else link(here / name, source)
    if "model=liver.onnx" in asked.words:
        shutil.copytree(stock.exported(kind), here, dirs_exist_ok=True)


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


LEFT = {
    "train": ["report.html", "metrics.json", "cases.csv", "split.csv", "best.ckpt", "last.ckpt"],
    "check": ["check.html"],
    "predict": ["review.csv", "*.png"],
    "explain": ["explanations.csv", "*.png"],
    "export": ["*.json", "*.certificate.html"],
}
"""What a command leaves, somewhere below its folder."""


def missing(asked: Asked, before: set[Path], here: Path) -> list[str]:
    """Return what a command should have left and did not; a file that is there already may be written again."""
    names = [path.name for path in here.rglob("*") if path not in before]
    resumed = any(word.startswith("resume=") for word in asked.words)
    return [] if resumed else [left for left in LEFT.get(asked.verb, []) if not fnmatch.filter(names, left)]


@pytest.fixture(scope="session")
def typed() -> dict[tuple[str, ...], str]:
    """What the commands printed that were typed already."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_does_its_work(
    line: str, command: Type, stock: Stock, typed: dict[tuple[str, ...], str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    this = asked(line)
    if this.same not in typed:
        furnish(this, stock, here)
        before = set(here.rglob("*"))
        capsys.readouterr()
        code = command(this.verb, this.words)
        out, err = capsys.readouterr()
        assert code == 0, f"{shlex.join(this.words)}\n{out}\n{err}"
        assert "--help" in this.words or missing(this, before, here) == []
        typed[this.same] = out
    assert ("Examples" if "--help" in this.words else SAYS[this.verb]) in typed[this.same]


def test_the_commands_were_found() -> None:
    assert len(COMMANDS) > 110
    assert {command.split()[2].removeprefix("segexp.") for command in COMMANDS} == {*VERBS, "report"}
    for name in ("README.md", "how-to/compare.md", "networks.md", "export.md"):
        page = ROOT / name if name == "README.md" else DOCS / name
        text = page.read_text(encoding="utf-8")
        names = len(re.findall(r"`python -m segexp\.\w+`", text))
        assert len(re.findall(r"python\s-m\ssegexp\.", text)) == len(list(in_text(text))) + names, name
