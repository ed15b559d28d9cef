"""The recipes of CONTRIBUTING.md are run as they stand there: its files written, its commands typed."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from segexp.cli.train import main
from segexp.data.io.images import write_png
from segexp.data.synthetic.datasets import make_demo

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(?:python|yaml)\n# (?P<name>\S+)\n(?P<text>.*?)```", re.DOTALL)
FILES = {found["name"]: found["text"] for found in BLOCK.finditer(TEXT)}
COMMANDS = re.findall(r"^python -m segexp\.train (.*)$", TEXT, re.MULTILINE)
QUICK = ["trainer=debug", "trainer.gpus=0", "callbacks=none", "run_dir=run"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where data=demo finds pictures, fewer and smaller ones than it writes itself."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo(folder, "organ", count=6, size=64)
    return folder


@pytest.fixture
def recipes(tmp_path: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder with the files of the recipes and some pictures of cells, on the path for imports."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "demo").symlink_to(demo)
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            mask = np.zeros((32, 32), np.uint8)
            mask[8:24, 8:24] = 255
            image = (rng.integers(0, 80, (32, 32, 1)) + mask[..., None] // 2).astype(np.uint8)
            for kind, array in (("images", image), ("masks", mask)):
                folder = tmp_path / "data" / "cells" / split / kind
                folder.mkdir(parents=True, exist_ok=True)
                write_png(folder / f"{number}.png", array)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in ("my_nets", "my_losses", "my_augment"):
        sys.modules.pop(name, None)


def test_the_page_spells_out_its_files_and_commands() -> None:
    assert set(FILES) == {
        "my_nets.py",
        "my_conf/model/tiny.yaml",
        "my_losses.py",
        "my_conf/loss/plain.yaml",
        "my_conf/data/cells.yaml",
        "my_augment.py",
        "my_conf/augment/stripes.yaml",
    }
    assert len(COMMANDS) == 8
    assert TEXT.count("segexp.train ") == len(COMMANDS), "no command stands in the text alone"


def typed(command: str) -> list[str]:
    """The words of a command; beside what it is about, the training is short and of the pictures of cells."""
    words = shlex.split(command)
    if "--config-dir" not in words:
        words += ["--config-dir", "my_conf"]
    width = [] if "model" in command else ["model.width=2", "model.depth=2"]
    return [*words, *([] if "data=" in command else ["data=cells"]), *width, *QUICK]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_trains(command: str, recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(typed(command))
    assert code == 0, capsys.readouterr().err
    assert "val: Dice" in capsys.readouterr().out
    assert (recipes / "run" / "metrics.json").is_file()


@pytest.mark.slow
def test_network_loss_augmentation_and_data_of_ones_own_train_together(
    recipes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config-dir", "my_conf", "model=tiny", "loss=plain", "data=cells", "augment=stripes", *QUICK]
    assert main(words) == 0, capsys.readouterr().err
    assert (recipes / "run" / "metrics.json").is_file()
