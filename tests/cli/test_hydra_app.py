"""The train command from its words to its exit code; training itself is a stub in the place of `segexp.training.run`."""

import logging
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from segexp import __version__
from segexp.api.train import discard_empty
from segexp.cli import hydra_app
from segexp.cli.check import main as check
from segexp.cli.overrides import parse
from segexp.cli.train import main
from segexp.config.schema import TrainConfig
from segexp.errors import ConfigError, DataError
from segexp.interrupts import Interrupted

DATA = ["data=liver", "data.root=pictures", "trainer.gpus=0"]


@pytest.fixture
def train(tmp_path, monkeypatch, capfd):
    """Type a train command in an empty folder; `train.runs` are the (config, directory) the stub was given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEGEXP_DEBUG", raising=False)
    stub = types.ModuleType("segexp.training.run")
    monkeypatch.setitem(sys.modules, "segexp.training.run", stub)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def command(*words, problem=None):
        def run(config, directory):
            command.runs.append((config, directory))
            if problem is not None:
                raise problem
            (directory / "metrics.json").write_text("{}")
            return {}

        stub.run = run
        code = main([*DATA, *words] if words[:1] != ("only",) else words[1:])
        out = capfd.readouterr()
        command.out, command.err = out.out, out.err
        return code

    command.runs = []
    yield command
    for handler in [h for h in root.handlers if h not in handlers]:
        handler.close()
    root.handlers[:], root.level = handlers, level


def test_a_run_gets_its_configuration_and_its_directory(train, tmp_path):
    assert train("model=unetpp", "seed=3", "optimizer.lr=0.5") == 0
    config, directory = train.runs[0]
    assert isinstance(config, TrainConfig)
    assert config.model.target == "segexp.models.UNetPlusPlus"
    assert config.model.arguments["in_channels"] == config.data.channels == 1
    assert (config.seed, config.optimizer.arguments["lr"], config.resume) == (3, 0.5, None)
    assert directory.parent == tmp_path / "runs" / "liver" / "unetpp"
    assert config.run_dir == str(directory)
    assert (directory / ".hydra" / "overrides.yaml").is_file()
    assert (train.out, train.err) == ("", "")
    assert Path.cwd() == tmp_path


def test_two_runs_within_a_second_have_two_directories(train):
    assert train() == train() == 0
    assert train.runs[0][1] != train.runs[1][1]


def test_run_dir_is_taken_as_typed(train, tmp_path):
    assert train('run_dir="my runs/one"') == 0
    assert train.runs[0][1] == tmp_path / "my runs" / "one"


def test_flags_and_overrides_mix_and_a_users_options_are_found(train, tmp_path):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    text = "_target_: segexp.models.UNet\nin_channels: 1\nnum_classes: 2\nwidth: 4\n"
    (tmp_path / "mine" / "model" / "small.yaml").write_text(text)
    assert train("model=small", "--config-dir", "mine", "seed=1") == 0
    assert train.runs[0][0].model.arguments["width"] == 4
    assert train.runs[0][1].parent.name == "small"


def test_a_users_main_configuration(train, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "myrun.yaml").write_text("defaults: [train, _self_]\nseed: 5\n")
    assert train("--config-dir", "mine", "--config-name", "myrun") == 0
    assert train.runs[0][0].seed == 5


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model=unett"], "model=unett does not exist. Did you mean unet, unetpp"),
        (
            ["trainer.max_epoch=3"],
            "trainer.max_epoch is not a key of this configuration. Did you mean trainer.max_epochs, ",
        ),
        (["modle=unet"], "modle is not a key of this configuration. Did you mean model?"),
        (["unetpp"], "Did you mean model=unetpp?"),
        (["data.image={id}.png"], "The value of data.image cannot be read: {id}.png."),
        (["model=unet,unetpp"], "names several values, and one run takes one. For a study of all of them add -m"),
        (["+seed=3"], "+seed adds a key that is already there. Type it without the +"),
        (["--gpu"], "--gpu is typed as a flag. Keys are typed as key=value. Type trainer.gpus=VALUE."),
        (["--model", "unet"], "--model unet is typed as a flag. Keys are typed as key=value. Type model=unet."),
        (["--batch-size=4"], "--batch-size=4 is typed as a flag. Keys are typed as key=value. Type data.batch_size=4."),
        (["--epochs", "5"], "--epochs 5 is typed as a flag. Keys are typed as key=value. Type trainer.max_epochs=5."),
        (
            ["trainer.lr=0.1"],
            "trainer.lr is not a key of this configuration. It is called optimizer.lr. Type optimizer.lr=0.1.",
        ),
        (
            ["+trainer.profilr=simple"],
            "trainer.profilr is neither a key of segexp nor an argument of Lightning's Trainer. Did you mean profiler?",
        ),
        (["+trainer.callbacks=[]"], "trainer.callbacks is set by segexp. Type callbacks=default, callbacks=explain or"),
        (
            ["trainer.batch_size=4"],
            "trainer.batch_size is not a key of this configuration. It is called data.batch_size. Type data.batch_size=4.",
        ),
        (["+trainer.batch_size=4"], "trainer.batch_size is called data.batch_size now. Write data.batch_size in its place"),
        (["--config-dir", "nowhere"], "--config-dir nowhere is not a folder"),
        (["--config-name", "nothing"], "There is no main configuration nothing.yaml in"),
        (["trainer.max_epochs=many"], "trainer.max_epochs is 'many' (text); expected a whole number"),
        (["+model.foo=1"], "model.foo is not an argument of segexp.models.UNet."),
        (["data.batch_size=0"], "data.batch_size is 0 (a whole number); expected auto, or a whole number, 1 or more."),
        (["resume=x", "-m"], "resume= and -m are together"),
        (["-m", "seed=1,1"], "seed=1,1 names a value twice."),
        (["-m", "model=unet,unett"], "model=unett does not exist."),
    ],
)
def test_a_wrong_command_line_is_one_paragraph_and_code_2(train, tmp_path, words, expected):
    assert train(*words) == 2
    assert train.err.startswith("segexp: ")
    assert expected in train.err
    assert train.err.count("\n") == 1
    assert "Traceback" not in train.err
    assert train.out == ""
    assert train.runs == []
    assert not list((tmp_path).rglob("config.yaml")), "a run that never began leaves no directory"
    assert not list((tmp_path).rglob("multirun.yaml"))


def test_a_gpu_that_is_not_there_is_code_1(train, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert train("trainer.gpus=1") == 1
    assert "There are no CUDA GPUs visible to torch" in train.err


def test_problems_of_the_run_are_its_own_words(train):
    assert train(problem=DataError("mask x.png has 7", "expected 0 or 255", "type data.ignore=[7]")) == 1
    assert train.err == "segexp: mask x.png has 7. expected 0 or 255. type data.ignore=[7].\n"


def test_unexpected_exceptions_are_named_and_their_traceback_is_kept(train):
    assert train(problem=ZeroDivisionError("by\nnothing")) == 1
    directory = train.runs[0][1]
    assert "unexpected ZeroDivisionError in test_hydra_app.py, line" in train.err
    assert train.err.endswith(f"by nothing. Set SEGEXP_DEBUG=1 for the traceback. It is also in {directory / 'train.log'}.\n")
    log = (directory / "train.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "ZeroDivisionError: by" in log


def test_debug_lets_the_exception_through(train, monkeypatch):
    monkeypatch.setenv("SEGEXP_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        train(problem=ZeroDivisionError())


@pytest.mark.parametrize(("code", "expected"), [(None, 130), (143, 143)])
def test_interruptions_print_nothing_more(train, code, expected):
    interrupt = KeyboardInterrupt()
    if code:
        interrupt.code = code
    assert train(problem=interrupt) == expected
    assert train.err == ""


def test_resume_goes_on_in_the_runs_own_directory(train, tmp_path):
    train("model=unetpp", "trainer.max_epochs=5")
    directory = train.runs[0][1]
    (directory / "checkpoints").mkdir()
    (directory / "checkpoints" / "last.ckpt").write_text("x")
    os.chdir("/")
    assert train("only", f"resume={directory}", "trainer.max_epochs=7") == 0
    assert train("only", f"resume={directory}") == 0
    for config, where in train.runs[1:]:
        assert where == directory
        assert config.resume == str(directory)
        assert config.model.target == "segexp.models.UNetPlusPlus"
        assert config.trainer.max_epochs == 7
        assert config.data.root == str(tmp_path / "pictures")


def test_resume_of_no_run_is_code_1(train):
    assert train("resume=nothing") == 1
    assert train.err.startswith("segexp: resume=nothing does not exist. Expected the directory of a run")


def test_composed_configuration_can_be_printed(train):
    assert train("--cfg", "job", "--resolve", "model=unetpp") == 0
    assert "in_channels: 1" in train.out
    assert train.runs == []


def test_help_names_what_there_is(train, tmp_path, conf):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "small.yaml").write_text("")
    assert train("only", "--help", "--config-dir", "mine") == 0
    lines = train.out.splitlines()
    assert sum(line.startswith("  python -m segexp.train") for line in lines) >= 6
    models = sorted(["small", *(file.stem for file in (conf / "model").glob("*.yaml"))])
    assert {"unet", "unetpp"} < set(models)
    assert f"  model       {' '.join(models)}" in lines
    assert "trainer.gpus=auto" in train.out
    assert not any("_base" in line for line in lines)
    assert train("only", "--version") == 0
    assert train.out == f"segexp {__version__}\n"


def test_flags_in_any_order():
    line = parse(["seed=1", "-m", "--config-dir", "a b", "model=unet", "--config-name=x"])
    assert line.overrides == ["seed=1", "model=unet"]
    assert sorted(line.flags) == sorted(["--multirun", "--config-name", "x", "--config-dir", "a b"])
    assert (line.multirun, line.config_dir, line.config_name) == (True, Path("a b"), "x")
    assert (line.value("seed"), line.value("nothing")) == (1, None)


def test_run_cli_turns_results_and_errors_into_codes(capsys):
    assert hydra_app.run_cli(lambda: None) == 0
    assert hydra_app.run_cli(lambda: 3) == 3

    def fail():
        raise hydra_app.Stopped(ConfigError("wrong"))

    assert hydra_app.run_cli(fail) == 2
    assert capsys.readouterr().err == "segexp: wrong.\n"


def test_only_an_empty_run_directory_is_discarded(tmp_path):
    for name, extra in [("empty", None), ("log", "train.log"), ("user", "notes.txt")]:
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "config.yaml").write_text("a: 1")
        if extra:
            (tmp_path / name / extra).write_text("")
        discard_empty(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["user"]
    assert (tmp_path / "user" / ".hydra" / "config.yaml").is_file()


@pytest.mark.slow
def test_help_imports_nothing_heavy():
    code = "import sys; from segexp.cli.train import main; main(['--help']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "numpy", "hydra", "pytorch_lightning"} & set(out.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "expected"), [("model=unett", "mean unet"), ("trainer.max_epoch=1", "mean trainer.max_epochs")]
)
def test_the_command_as_a_process(tmp_path, start, word, expected):
    code, out, err = start("train", ["data=demo", word], tmp_path).ended()
    assert code == 2
    assert out == ""
    assert expected in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["model=unet"], ["-m", "model=unet,unetpp"], ["data.root=pictures", "seed=1"]])
def test_a_training_without_data_is_refused_with_what_to_type(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in (main,) if "-m" in words else (main, check):
        assert command(words) == 2
        said = capsys.readouterr().err
        assert said.startswith("segexp: No data are named. ")
        assert f"Type data=auto {next((word for word in words if 'root' in word), 'data.root=FOLDER')} for" in said
        assert said.endswith("or data=demo to try it on generated pictures.\n")
    assert list(tmp_path.iterdir()) == []


def test_the_log_of_a_run_is_closed_when_the_command_ends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = list(logging.root.handlers)
    words = parse(["data=demo", "data.root=nowhere", f"run_dir={tmp_path / 'run'}"])
    opened = []
    hydra_app.run_hydra(lambda _: opened.extend(each for each in logging.root.handlers if each not in before), words, "train")
    (log,) = [each for each in opened if isinstance(each, logging.FileHandler)]
    assert log.baseFilename == str(tmp_path / "run" / "train.log")
    assert log not in logging.root.handlers
    assert log.stream is None, "closed"


def test_sigterm_ends_a_command_with_a_sentence(capsys):
    def command(argv):
        with hydra_app.stoppable():
            os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert hydra_app.make_main(command)([]) == 143
    assert capsys.readouterr() == (
        "",
        "segexp: Stopped by SIGTERM: the command has not finished. Every file that it wrote is complete. Type it again to "
        "start it again.\n",
    )


def test_what_a_command_says_about_its_interruption_is_not_said_again(capsys):
    def command(argv):
        with hydra_app.stoppable():
            stopped = Interrupted(signal.SIGINT)
            stopped.told = True
            raise stopped

    assert hydra_app.make_main(command)([]) == 130
    assert capsys.readouterr() == ("", "")
