"""What the shell offers: from the same models and files that the commands read."""

import shutil
import subprocess

import pytest

from segexp.cli.completion import SCRIPTS, candidates, run
from segexp.cli.main import OPTIONS, VERBS, main

FIRST = [*VERBS, *OPTIONS]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ex", ["explain", "export"]),
        ("train tra", ["trainer=", "trainer."]),
        ("train trainer.min", ["trainer.minutes="]),
        ("train model=unetp", ["model=unetpp", "model=unetpp_encoder"]),
        ("train model=unet,unetp", ["model=unet,unetpp", "model=unet,unetpp_encoder"]),
        ("train model=fpn model.enc", ["model.encoder="]),
        ("train trainer.deterministic=", ["trainer.deterministic=true", "trainer.deterministic=false"]),
        ("train data.cache=r", ["data.cache=ram"]),
        ("predict ov", ["overlay=", "overwrite="]),
        ("predict tta=", ["tta=none", "tta=flips", "tta=dihedral"]),
        ("predict model.", ["model.prune_to="]),
        ("evaluate metrics=l", ["metrics=lesion"]),
        ("train loss=focal loss.ga", ["loss.gamma="]),
        ("train metrics.cal", ["metrics.calibration.bins="]),
        ("train data.root=", []),
        ("train nothing.of", []),
        ("report runs/", []),
        ("trian mo", []),
    ],
)
def test_what_a_word_may_become(typed, offered):
    assert candidates(typed, FIRST) == offered


def test_all_verbs_are_offered_first():
    assert candidates("", FIRST) == FIRST


def test_bash_takes_the_part_before_the_equals_sign_off():
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    line = "segexp train data=demo model=unetp"
    answer = "segexp() { printf 'model=unetpp\\nmodel=unetpp_encoder\\n'; }"
    script = f"{answer}\n{SCRIPTS['bash']}\nCOMP_LINE='{line}'; COMP_POINT={len(line)}; _segexp; echo \"${{COMPREPLY[@]}}\""
    done = subprocess.run([bash, "--norc", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("unetpp unetpp_encoder\n", "")


@pytest.mark.parametrize("shell", SCRIPTS)
def test_installing_writes_the_script_where_the_shell_looks(shell, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert run("--install-completion", [], FIRST) == 0
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.read_text() == SCRIPTS[shell]
    assert capsys.readouterr().out.startswith(f"Written: {file}\n")
    assert run("--show-completion", [shell], FIRST) == 0
    assert capsys.readouterr().out == SCRIPTS[shell]


@pytest.mark.parametrize(
    ("shell", "found"), [("/bin/tcsh", "The shell 'tcsh' is not known"), ("", "SHELL does not say which shell this is")]
)
def test_another_shell_is_refused(shell, found, monkeypatch, capsys):
    monkeypatch.setenv("SHELL", shell)
    assert main(["--install-completion"]) == 2
    assert capsys.readouterr().err == (
        f"segexp: {found}. bash, zsh or fish was expected. Type segexp --install-completion bash.\n"
    )
