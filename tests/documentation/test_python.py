"""Each block of `how-to/python.md` is run as it stands, in the order of the page; what the page says of the results holds.

So are the blocks of README and of the first page.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import yaml
from jsonschema import Draft7Validator
from PIL import Image

import segexp
from segexp import SegmentationTask
from segexp.cli.train import main
from segexp.config.composition import conf_dir
from segexp.config.migration import RENAMED
from segexp.data.synthetic.datasets import make_demo
from segexp.errors import CheckpointError

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = PYTHON.findall(TEXT)
ELSEWHERE = [
    block for name in ("README.md", "docs/index.md") for block in PYTHON.findall((ROOT / name).read_text(encoding="utf-8"))
]
"""Each of these stands alone."""
COMMANDS = re.findall(r"^python -m segexp\.train (.*)$", TEXT, re.MULTILINE)
QUICK = [
    *("trainer.minutes=null", "trainer.max_epochs=2", "trainer.gpus=0", "data.num_workers=0", "data.batch_size=4"),
    *("data.size=null", "model.width=4", "model.depth=3", "optimizer.lr=0.01", "callbacks=none"),
]
"""What makes a training of the page short."""
LONGER = ["trainer.max_epochs=3"]
"""That of a run which is resumed."""
TRAINER = "pl.Trainer(max_epochs=20)"
SHORT = 'pl.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)'
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:These data have no test split"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The names that the blocks leave, what each block printed, and each training: its run, its scores and its cases."""
    here = tmp_path_factory.mktemp("page")
    make_demo(here, "organ", count=16, size=64).rename(here / "DIR")
    train, trained = segexp.train, list[tuple[segexp.Run, dict[str, float], list[Any]]]()

    def quick(*given: Any, overrides: Any = (), **keys: Any) -> segexp.Run:
        run = train(*given, overrides=[*overrides, *(LONGER if "resume" in keys else QUICK)], **keys)
        trained.append((run, dict(run.scores), list(run.cases)))
        return run

    names, printed = dict[str, Any](), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(segexp, "train", quick)
        for block in BLOCKS:
            said = StringIO()
            with redirect_stdout(said):
                exec(block.replace(TRAINER, SHORT), names)
            printed.append(said.getvalue())
        shutil.copy(here / "DIR" / "val" / "000.png", here / "scan.png")
        alone = [dict[str, Any]() for _ in ELSEWHERE]
        for block, own in zip(ELSEWHERE, alone, strict=True):
            with redirect_stdout(StringIO()):
                exec(block, own)
        yield SimpleNamespace(here=here, trained=trained, printed=printed, alone=alone, **names)


def said(page: SimpleNamespace, words: str) -> str:
    """What was printed by the one block that has these words."""
    (number,) = [n for n, block in enumerate(BLOCKS) if words in block]
    return page.printed[number]


def test_the_scores_are_those_of_the_command_to_the_last_digit(page: SimpleNamespace) -> None:
    words = shlex.split(COMMANDS[0].replace("runs/first", "runs/typed"))
    assert main([*words, *QUICK]) == 0
    _, scores, cases = page.trained[0]
    metrics = json.loads((page.here / "runs" / "typed" / "metrics.json").read_text())
    assert scores == metrics["scores"]
    assert scores["val/dice"] > 0
    assert cases == list(segexp.Run("runs/typed").cases)


def test_check_says_what_it_found(page: SimpleNamespace) -> None:
    assert (page.found.failed, page.found.findings) == (False, [])
    assert page.found.page.is_file()
    assert said(page, "segexp.check").endswith(f"False {page.found.page}\n")


def test_a_key_with_a_sign_reaches_the_trainer(page: SimpleNamespace) -> None:
    assert page.other.config.trainer.lightning_arguments == {"profiler": "simple"}
    assert page.other.config.data.batch_size == 4


def test_a_run_is_read_from_its_folder(page: SimpleNamespace) -> None:
    run, scores, cases = page.trained[0]
    low, high = run.intervals["dice"]
    assert low <= run.scores["dice"] <= high
    text = said(page, "run.intervals")
    assert text.startswith(f"{scores['val/dice']} (")
    assert all(path.exists() for path in (run.best, run.last, run.report, run.pictures))
    dice = {row["id"]: row["dice"] for row in cases if row["class"] == "foreground"}
    assert len(dice) == 8
    assert (page.worst["id"], page.worst["dice"]) == min(dice.items(), key=lambda pair: pair[1])


def test_a_run_is_trained_further(page: SimpleNamespace) -> None:
    (resumed,) = [scores for run, scores, _ in page.trained[1:] if run.directory == page.trained[0][0].directory]
    assert page.run.metrics["epochs"] == 3
    assert dict(page.run.scores) == resumed


def test_what_the_other_functions_leave(page: SimpleNamespace) -> None:
    assert {row["split"] for row in page.again.cases} == {"train"}
    masks = sorted(path.name for path in (page.here / "masks").glob("*.png"))
    assert masks == [f"{number:03d}.png" for number in range(8)]
    assert len(list((page.here / "masks" / "overlay").iterdir())) == 8
    for name in ("tables/compare.csv", "heat/explanations.csv", "organ.onnx", "organ.onnx.certificate.html"):
        assert (page.here / name).is_file(), name
    assert page.comparison.verdicts
    assert page.comparison.verdicts[0].split()[0] in said(page, "segexp.compare([run, other]")
    assert page.run.report.is_file()


def test_seeds_make_one_row(page: SimpleNamespace) -> None:
    assert [run.config.seed for run in page.runs] == [0, 1]
    assert len({run.scores["dice"] for run in page.runs}) == 2
    (entry,) = segexp.compare(page.runs).entries
    assert [run.config["seed"] for run in entry.runs] == [0, 1]
    assert re.search(r"^unet .* 0 1 ", said(page, "segexp.compare(runs)"), re.MULTILINE)


def test_an_old_key_is_answered_as_the_page_quotes(page: SimpleNamespace) -> None:
    (quoted,) = re.findall(r"^> (.+)$", TEXT, re.MULTILINE)
    assert said(page, "ConfigError") == f"{quoted}\n"


def test_the_page_has_every_key_that_was_renamed() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (`[^|]+`) \|$", TEXT, re.MULTILINE)
    assert {old: tuple(re.findall(r"`([\w.]+)`", new)) for old, new in rows} == RENAMED


def test_a_model_predicts_what_the_command_wrote(page: SimpleNamespace) -> None:
    assert said(page, "model.spec.classes") == "(64, 64) uint8 ('background', 'foreground')\n"
    written = np.asarray(Image.open(page.here / "masks" / "000.png"))
    assert (written == 255 * segexp.load(page.run).predict(page.here / "DIR" / "val" / "000.png")).all()
    equal, probabilities = said(page, "model.probabilities").splitlines()
    assert equal == "True True"
    assert probabilities.startswith("torch.Size([2, 64, 64]) 0.")


def test_lightning_predicts_every_case_and_its_checkpoint_is_loaded(page: SimpleNamespace) -> None:
    assert [mask.shape for mask in page.masks] == [(64, 64)] * 8
    assert said(page, "best_model_path") == "(64, 64)\n"
    first = page.data.cases_of("val")[0].image.path
    assert (page.model.predict(first) == page.masks[0].numpy()).all()


def test_a_network_of_ones_own_is_trained_and_loaded_with_the_network(page: SimpleNamespace) -> None:
    file = page.trainer.checkpoint_callback.best_model_path
    with pytest.raises(CheckpointError):
        segexp.load(file)
    task = SegmentationTask.load_from_checkpoint(file, model=page.network, loss=page.task.loss)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (scores,) = trainer.validate(task, page.data, verbose=False)
    assert scores["val/dice"] == page.scores["val/dice"]


def test_the_examples_of_readme_and_first_page_run(page: SimpleNamespace) -> None:
    readme, first = page.alone
    assert readme["mask"].shape == (64, 64)
    assert all(names["run"].finished for names in (readme, first))


def test_the_file_with_the_schema_line_fits_the_schema(page: SimpleNamespace) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    (name,) = re.findall(r"schema\.json#/definitions/(\w+)$", block, re.MULTILINE)
    place = Path(said(page, "conf_dir()").strip())
    assert place == conf_dir() / "schema.json"
    whole = json.loads(place.read_text(encoding="utf-8"))
    validator = Draft7Validator({"$ref": f"#/definitions/{name}", **whole})
    assert list(validator.iter_errors(yaml.safe_load(block))) == []
    assert list(validator.iter_errors({"clases": {}})) != []
