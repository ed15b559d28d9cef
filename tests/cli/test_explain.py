"""The explain command before anything heavy is imported: help, and a missing Captum."""

import importlib.util
import os
import subprocess
import sys
import time

import pytest

from segexp import __version__
from segexp.cli.explain import main
from segexp.config.schema import ExplainConfig


def test_help(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Show the evidence for a class")
    assert out.endswith(f"segexp {__version__}\n")


def test_help_names_every_key(capsys):
    main(["-h"])
    out = capsys.readouterr().out
    keys = set(ExplainConfig.model_fields) - {"check", "model"}
    assert [key for key in keys if f"{key}=" not in out] == []


def test_a_missing_captum_is_said_before_anything_is_read(monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr("segexp.errors.find_spec", lambda name: None if name == "captum" else real(name))
    assert main(["checkpoint=nowhere", "input=nowhere", "output=nowhere"]) == 2
    assert capsys.readouterr().err == (
        "segexp: An explanation needs captum, which is not installed. The extra explain brings it. Type pip install "
        "'segexp[explain]'.\n"
    )


@pytest.mark.slow
def test_a_missing_captum_is_said_before_heavy_imports(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nreal = u.find_spec\nu.find_spec = lambda n, *a: None if n == 'captum' else real(n, *a)\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    code = "import sys; from segexp.cli.explain import main; code = main(['checkpoint=x', 'input=x', 'output=x']); "
    code += "print([m for m in ('torch', 'numpy', 'hydra') if m in sys.modules]); sys.exit(code)"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert "pip install 'segexp[explain]'" in done.stderr
    assert time.monotonic() - started < 10


@pytest.mark.slow
def test_classes_that_may_overlap(cells, train, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["--config-dir", str(cells / "conf"), "data=cells", "model.width=4", "model.depth=2", "trainer.gpus=0"]
    words += [
        "data.num_workers=0",
        "data.batch_size=2",
        "trainer.max_epochs=3",
        "callbacks=explain",
        "callbacks.explain=2",
        "run_dir=run",
    ]
    assert train(*words, "callbacks.progress=false", "callbacks.explain_target=nucleus") == 0
    assert "Evidence for nucleus" in (tmp_path / "run" / "report.html").read_text()
    capfd.readouterr()
    command = ["checkpoint=run", f"input={cells / 'data'}", "output=out", "target=nucleus", "region=truth", "gpus=0"]
    assert main(command) == 0
    out = capfd.readouterr().out
    assert "7 images explained" in out
    assert "Nothing to explain in 1: c7/image.png: nucleus is not in its true mask" in out
    assert (tmp_path / "out" / "seg_gradcam_nucleus" / "c0" / "image.png").is_file()
    assert main([*command, "target=background"]) == 2
    assert "target=background is what is there where no class is, and the classes may overlap." in capfd.readouterr().err
