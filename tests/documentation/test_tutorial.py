"""The tutorial is typed as it stands, command after command, on fewer and smaller pictures and with the smallest budgets."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from segexp.data.synthetic.datasets import make_demo

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
DEMO = "organ_48x256_seed0_v1"
QUICK = {
    "train": "trainer.minutes=null trainer.max_epochs=2 data.batch_size=2 data.num_workers=0 trainer.gpus=0 model.width=4 "
    "model.depth=2 callbacks.progress=false",
    "evaluate": "gpus=0",
    "predict": "gpus=0",
}
"""What is added to a command so that it takes seconds; what the reader types stays."""
LEFT = (
    "checks/demo/check.html",
    "checks/organ/check.html",
    "checks/organ/data/organ.yaml",
    "runs/first/report.html",
    "runs/first/cases.csv",
    "runs/studies/networks/report.html",
    "masks/overlay",
    "masks/review.csv",
    "organ.onnx",
    "organ.onnx.json",
    "organ.onnx.certificate.html",
    "masks_onnx",
)
"""What the page says will lie there."""


def commands() -> list[list[str]]:
    """The words of each command in the blocks of the page."""
    blocks = "".join(TEXT.split("```")[1::2]).replace("\\\n", " ")
    return [shlex.split(line) for line in blocks.splitlines() if line.strip()]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the pictures that the first command would generate are there already, ten of 64 pixels."""
    made = make_demo(tmp_path / "data" / "demo", "organ", count=10, size=64)
    made.rename(made.with_name(DEMO))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def type_in(words: list[str], command: Callable[[str, list[str]], int]) -> int:
    """Do what a command says in this process; return its exit code."""
    if words[:2] == ["cp", "-r"]:
        shutil.copytree(*words[2:])
        return 0
    assert words[:2] == ["python", "-m"], f"a command that this test cannot type: {words}"
    verb = words[2].removeprefix("segexp.")
    return command(verb, [*words[3:], *QUICK.get(verb, "").split()])


@pytest.mark.slow
def test_every_command_of_the_tutorial_works(
    here: Path, command: Callable[[str, list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    typed = commands()
    assert len(typed) == 12
    for words in typed:
        code = type_in(words, command)
        said = capsys.readouterr()
        assert code == 0, f"{shlex.join(words)}\n{said.out}\n{said.err}"
    assert not [name for name in LEFT if not (here / name).exists()]
    assert not [name for name in LEFT if name not in TEXT and Path(name).name not in TEXT]
    masks = sorted(path.name for path in (here / "organ" / "val").glob("*_mask.png"))
    for folder in ("masks", "masks_onnx"):
        assert [path.name for path in sorted((here / folder).glob("*.png"))] == [name.replace("_mask", "") for name in masks]
