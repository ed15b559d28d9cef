"""segexp VERB: the verbs, a mistyped one, the version, and what an installed package offers as commands."""

import subprocess
import sys
import tomllib

import pytest

from segexp import __version__
from segexp.cli import main as cli
from segexp.cli.main import VERBS, main


def test_help_lists_every_verb(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.partition("Commands\n")[2].partition("\n\n")[0].splitlines()] == list(VERBS)
    assert all(len(line) <= 110 for line in text.splitlines())


def test_nothing_typed_shows_the_help_and_is_no_success(capsys):
    assert main([]) == 2
    assert "Commands" in capsys.readouterr().out


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert main(["train", "--version"]) == 0
    assert main(["predict", "--version"]) == 0
    assert capsys.readouterr().out == f"segexp {__version__}\n" * 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "There is no command trian. Did you mean train? Type segexp --help to see what there is."),
        (["--hlep"], "There is no command --hlep. Did you mean --help? Type segexp --help to see what there is."),
        (["model=unet", "seed=1"], "model=unet stands where a command is expected. Type segexp train model=unet seed=1."),
    ],
)
def test_a_mistyped_verb_is_one_sentence(words, message, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err == f"segexp: {message}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_gets_its_words_and_its_exit_code_comes_back(verb, monkeypatch):
    seen = []
    module = __import__(f"segexp.cli.{verb}", fromlist=["main"])
    monkeypatch.setattr(module, "main", lambda words: seen.append(words) or 7)
    assert main([verb, "a=1", "--help"]) == 7
    assert seen == [["a=1", "--help"]]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_page(verb, capsys):
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"python -m segexp.{verb}" in text
    assert "{keys}" not in text
    assert text.endswith(f"segexp {__version__}\n") or verb == "train"


def test_installing_the_package_gives_the_commands(conf):
    scripts = tomllib.loads((conf.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"segexp": "segexp.cli.main:main"} | {f"segexp-{verb}": f"segexp.cli.{verb}:main" for verb in VERBS}


def test_python_m_segexp_is_the_same(capsys):
    done = subprocess.run([sys.executable, "-m", "segexp", "trian"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("segexp: There is no command trian. Did you mean train?")


def test_help_imports_nothing_heavy():
    code = "import sys; from segexp.cli.main import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = done.stdout.splitlines()[-1].split()
    assert not {"torch", "numpy", "hydra", "omegaconf", "pydantic", "rich"} & set(loaded)
    assert cli.__name__ in loaded
