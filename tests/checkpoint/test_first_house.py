"""A run of version 0.1.0 as it lies on disk, in first_house/: used as it is, and not resumed.

It was trained on the pictures of `make_demo("pictures", "organ", count=10, size=64)`, six epochs on the CPU.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from segexp.api.compare import compare
from segexp.api.evaluate import evaluate
from segexp.api.report import report
from segexp.api.run import Run
from segexp.checkpoint import load_segmenter, read_checkpoint
from segexp.config.composition import compose
from segexp.config.migration import new_name
from segexp.data.synthetic.datasets import make_demo
from segexp.errors import CheckpointError
from segexp.evaluation.records import read_record
from segexp.evaluation.settings_diff import varying_settings

SAVED = Path(__file__).parent / "first_house"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A copy of the run, which a test may write into."""
    return Path(shutil.copytree(SAVED, tmp_path / "first_house"))


@pytest.fixture
def renamed(first: Path) -> Path:
    """Another copy, started by the same settings under the names of now."""
    run = Path(shutil.copytree(first, first.with_name("second_house")))
    typed = [word.partition("=") for word in yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text())]
    words = [f"{name}={value}" for key, _, value in typed for name in new_name(key) or (key,)]
    OmegaConf.save(compose("train", words), run / ".hydra" / "config.yaml")
    OmegaConf.save(OmegaConf.create(words), run / ".hydra" / "overrides.yaml")
    return run


def recorded() -> dict[str, Any]:
    """The scores that version 0.1.0 wrote."""
    return dict(json.loads((SAVED / "metrics.json").read_text())["scores"])


def test_it_is_of_the_first_version() -> None:
    content = read_checkpoint(SAVED / "checkpoints" / "best.ckpt")["segexp"]
    assert (content["schema"], content["versions"]["segexp"]) == (1, "0.1.0")
    assert content["config"]["trainer"]["batch_size"] == 2


def test_its_settings_are_read_under_the_names_of_now() -> None:
    config = load_segmenter(SAVED).origin.config
    assert config == Run(SAVED).config
    assert (config.data.batch_size, config.data.num_workers) == (2, 0)
    trainer = config.trainer
    assert (trainer.check_val_every_n_epoch, trainer.gradient_clip_val, trainer.accumulate_grad_batches) == (2, 0.5, 2)
    assert (trainer.limit_train_batches, trainer.limit_val_batches) == (None, None)


def test_it_predicts_as_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_demo(Path("pictures"), "organ", count=10, size=64)
    found, expected = evaluate(SAVED).scores, recorded()
    assert set(found) == set(expected)
    assert found["val/dice"] == pytest.approx(expected["val/dice"], abs=2e-3), "half precision rounds as the processor does"
    assert found["val/cases"] == expected["val/cases"] == 5


def test_its_page_is_written_again(first: Path) -> None:
    assert report(first) == [first / "report.html"]
    page = (first / "report.html").read_text(encoding="utf-8")
    assert f"{recorded()['val/dice']:.4f}" in page
    assert "segexp 0.1.0" in page


def test_it_is_compared(first: Path, renamed: Path) -> None:
    found = compare([first, renamed], split="val")
    assert [float(entry.scored.mean()) for entry in found.entries] == pytest.approx([recorded()["val/dice"]] * 2)
    assert len(found.verdicts) == 1


def test_names_of_keys_are_no_difference_between_runs(first: Path, renamed: Path) -> None:
    assert read_record(first).config != yaml.safe_load((first / ".hydra" / "config.yaml").read_text())
    assert varying_settings([read_record(first), read_record(renamed)]) == {}


@pytest.mark.parametrize("more", [{}, {"trainer": {"max_epochs": 12}}])
def test_it_is_resumed_with_the_version_that_wrote_it(first: Path, more: dict[str, Any]) -> None:
    state = Path(shutil.copy(first / "checkpoints" / "best.ckpt", first / "checkpoints" / "last.ckpt"))
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError) as caught:
        Run(first).resume(**more)
    assert str(caught.value).startswith(f"{state} was written by segexp 0.1.0, and this segexp (")
    assert str(caught.value).endswith("Type pip install segexp==0.1.0 to resume it; its weights can be used as they are.")
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before


def test_it_holds_no_path_of_the_machine_that_trained_it() -> None:
    for path in (path for path in SAVED.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not [word for word in (b"/work", b"/tmp", b"/home", b"/root", b"/Users") if word in content], path
