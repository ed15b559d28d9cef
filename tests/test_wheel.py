"""The built wheel: the configuration travels in it, and the commands work from it anywhere, without the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tree without asking any index."""
    copy = tmp_path_factory.mktemp("copy") / "tree"
    copy.mkdir()
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "built", "."]
    done = subprocess.run(words, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = (copy / "built").glob("segexp-*.whl")
    return made


@pytest.fixture(scope="module")
def typed(wheel, tmp_path_factory):
    """Type a command where only the unpacked wheel can be imported, in an empty folder."""
    target, here = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("here")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)

    def command(*words):
        environment = {**os.environ, "PYTHONPATH": str(target)}
        return subprocess.run([sys.executable, *words], cwd=here, env=environment, capture_output=True, text=True)

    command.here, command.target = here, target
    return command


def test_the_wheel_holds_the_package_and_every_configuration_file(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {f"segexp/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert "segexp/conf/train.yaml" in files
    assert files <= names
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    assert "segexp/train.py" in modules
    assert modules <= names
    templates = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("templates/*")}
    assert {"segexp/reporting/templates/run.html.j2", "segexp/reporting/templates/report.css"} <= templates <= names
    assert all(name.startswith(("segexp/", "segexp-")) for name in names)


def test_the_console_scripts_are_in_the_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (entries,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        lines = archive.read(entries).decode().split("\n")
        (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        text = archive.read(metadata).decode()
    assert "[console_scripts]" in lines
    assert "segexp-train = segexp.cli.train:main" in lines
    assert "segexp-evaluate = segexp.cli.evaluate:main" in lines
    assert "Requires-Python: <3.14,>=3.11" in text
    assert "License-Expression: MIT" in text


def test_it_is_the_wheel_that_runs(typed):
    done = typed("-c", "import segexp.config.composition as c; print(c.__file__); print(c.conf_dir())")
    assert done.stdout.splitlines() == [
        str(typed.target / "segexp/config/composition.py"),
        str(typed.target / "segexp" / "conf"),
    ]


def test_help_comes_without_anything_heavy(typed):
    done = typed("-m", "segexp.train", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for path in (ROOT / "conf").glob("*/[!_]*.yaml"):
        if path.parent.name != "hydra":
            line = next(line for line in done.stdout.splitlines() if line.split()[:1] == [path.parent.name])
            assert path.stem in line.split()
    code = (
        "import sys; from segexp.cli.train import main; code = main(['--help']); print('\\n'.join(sys.modules)); sys.exit(code)"
    )
    loaded = typed("-c", code).stdout.split()
    assert "segexp.cli.train" in loaded
    assert not {"torch", "pytorch_lightning", "hydra", "numpy", "albumentations", "cv2", "jinja2"} & set(loaded)


def test_a_configuration_is_composed_from_another_folder(typed):
    done = typed("-m", "segexp.train", "--cfg", "job", "--resolve", "model=unetpp", "data=liver", "trainer.gpus=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "_target_: segexp.models.UNetPlusPlus" in done.stdout
    assert "root: data/liver" in done.stdout
    assert list(typed.here.iterdir()) == []


def test_options_of_the_users_own(typed):
    folder = typed.here / "my_conf" / "model"
    folder.mkdir(parents=True)
    try:
        text = "_target_: segexp.models.UNet\nin_channels: ${data.channels}\nnum_classes: ${data.num_classes}\nwidth: 5\n"
        (folder / "mine.yaml").write_text(text)
        done = typed("-m", "segexp.train", "--config-dir", "my_conf", "data=demo", "model=mine", "--cfg", "job")
        assert (done.returncode, done.stderr) == (0, "")
        assert "width: 5" in done.stdout
        assert " mine " in typed("-m", "segexp.train", "--config-dir", "my_conf", "--help").stdout
        wrong = typed("-m", "segexp.train", "--config-dir", "my_conf", "data=demo", "model=mime", "--cfg", "job")
        assert wrong.returncode == 2
        assert wrong.stderr.startswith("segexp: model=mime does not exist. Did you mean mine?")
    finally:
        shutil.rmtree(folder.parent)


def test_it_trains_and_scores(typed, small):
    done = typed("-m", "segexp.train", *small, "trainer.max_epochs=1", "run_dir=run")
    assert (done.returncode, done.stderr) == (0, "")
    again = typed("-m", "segexp.evaluate", "checkpoint=run")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.strip() in done.stdout
    shutil.rmtree(typed.here / "run")
