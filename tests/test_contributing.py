"""The three recipes of CONTRIBUTING.md are run as they stand there."""

import re
import sys
from pathlib import Path

import pytest

from segexp.train import main

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```(?:python|yaml)\n# (?P<name>\S+)\n(?P<text>.*?)```", re.DOTALL)


def blocks() -> dict[str, str]:
    """The files that CONTRIBUTING.md spells out, by name."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return {found["name"]: found["text"] for found in BLOCK.finditer(text)}


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the recipes, on the path for imports."""
    for name, text in blocks().items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def test_the_page_spells_out_five_files() -> None:
    assert set(blocks()) == {
        "my_nets.py",
        "my_conf/model/tiny.yaml",
        "my_losses.py",
        "my_conf/loss/plain.yaml",
        "my_conf/data/cells.yaml",
    }


@pytest.mark.slow
def test_network_loss_and_data_of_ones_own_train_together(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    from segexp.data.files.images import write_png

    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            mask = np.zeros((32, 32), np.uint8)
            mask[8:24, 8:24] = 255
            image = (rng.integers(0, 80, (32, 32, 1)) + mask[..., None] // 2).astype(np.uint8)
            for kind, array in (("images", image), ("masks", mask)):
                folder = recipes / "data" / "cells" / split / kind
                folder.mkdir(parents=True, exist_ok=True)
                write_png(folder / f"{number}.png", array)
    code = main(
        ["--config-dir", "my_conf", "model=tiny", "loss=plain", "data=cells", "trainer=debug", "trainer.gpus=0", "run_dir=run"]
    )
    assert code == 0, capsys.readouterr().err
    assert "val: Dice" in capsys.readouterr().out
    assert (recipes / "run" / "metrics.json").is_file()
