"""`resume=RUN`: resume a run in its own directory."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from segexp.config.migration import upgrade
from segexp.config.naming import TEACHER
from segexp.config.overrides import CommandLine, quoted, shell_words
from segexp.config.saved_runs import SavedRun, as_plain, check_run, read_saved_run, read_yaml
from segexp.config.suggestions import explain_errors
from segexp.errors import CheckpointError, ConfigError, nearest

SAVED = ("config", "hydra", "overrides")
"""Files in .hydra, without .yaml."""
RELATIVE = ("data.root", "data.unlabeled", "data.pseudo.teacher", "distill.teacher")
"""Keys with paths relative to the original working directory."""


def resume_command(command: CommandLine) -> CommandLine:
    """Return the command line that resumes the run named by `resume=`.

    Combines the saved overrides (without what they trust), the typed ones (which win) and the run directory. Paths of
    `RELATIVE` keys stay relative to the original working directory, and the original --config-dir is reused.

    Raises:
        ConfigError: together with -m.
        CheckpointError: not a run directory, broken settings, no `checkpoints/last.ckpt`, or a version that cannot be resumed.
    """
    if command.multirun:
        raise ConfigError(
            "resume= and -m are together on the command line",
            "A study resumes what is unfinished when its own command is typed again",
            "Leave resume= out",
        )
    run = Path(str(command.value("resume")))
    saved, config = _read(run)
    typed = dict(zip(command.keys, command.overrides, strict=True))
    before = CommandLine(list(saved.overrides))
    if foreign := [o.input_line for o in before.parsed if o.is_hydra_override() or o.is_sweep_override()]:
        raise CheckpointError(
            f"resume={run} has the override {foreign[0]} in .hydra/overrides.yaml",
            "A run saves neither settings of Hydra nor several values there, so somebody changed the file",
            "Do not resume this run, or remove the line",
        )
    kept = {key: text for key, text in zip(before.keys, before.overrides, strict=True) if key.rpartition(".")[2] != "trust"}
    merged, cwd = kept | typed, Path(saved.cwd)
    for name in RELATIVE:
        path: Any = config
        for part in name.split("."):
            path = as_plain(path).get(part)
        as_before = not {name.partition(".")[0], name, "experiment"} & set(typed)
        if as_before and isinstance(path, str) and "${" not in path and not Path(path).is_absolute():
            merged[name] = f"{name}={quoted(str((cwd / path).resolve()))}"
    merged["resume"] = f"resume={quoted(str(run.resolve()))}"
    merged["hydra.run.dir"] = f"hydra.run.dir={quoted(str(run.resolve()))}"
    folder = command.config_dir or next(iter(saved.folders), None)
    flags = command.flags if command.config_dir or not folder else [*command.flags, "--config-dir", str(folder)]
    return replace(command, overrides=list(merged.values()), flags=flags, config_dir=folder).expanded()


def find_resume_state(run: Path) -> Path | None:
    """Return the checkpoint to resume from: of the run, or of its teacher."""
    states = (folder / "checkpoints" / "last.ckpt" for folder in (run, run / TEACHER))
    return next((state for state in states if state.is_file()), None)


def check_names(state: Path, config: dict[str, Any]) -> None:
    """Refuse to resume a run whose saved configuration has key names of another version.

    Raises:
        CheckpointError: names the version.
    """
    if upgrade(config) != config:
        from segexp.checkpoint.content import check_version
        from segexp.checkpoint.files import read_checkpoint

        check_version(state, read_checkpoint(state)["segexp"])


def check_trust(command: CommandLine, typed: CommandLine) -> None:
    """Refuse to resume a run that would run code or write files elsewhere; `trust` and each `_target_` that is typed permit it.

    Args:
        command: the result of `resume_command`.
        typed: what it was made from.

    Raises:
        CheckpointError: names the key or file and what to type.
    """
    run, trust = Path(str(command.value("resume"))), typed.value("trust")
    if trust is not True:
        _check_links(run)
        own = [str(o.value()) for key, o in zip(typed.keys, typed.parsed, strict=True) if key.endswith("._target_")]
        trust = [*(trust if isinstance(trust, list) else []), *own]
    with explain_errors(command.overrides, command.folders):
        check_run(command, f"resume={run}", trust)


def _check_links(run: Path) -> None:
    """Refuse a run with links that lead out of it.

    Raises:
        CheckpointError: names the first one.
    """
    for folder, inner, files in os.walk(run):
        for path in (Path(folder) / name for name in (*inner, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(run.resolve()):
                raise CheckpointError(
                    f"{path} is a link to {path.resolve()}: resuming the run would write there",
                    "A run directory without links that lead out of it was expected",
                    "Put the file itself there; or, if you made the link, type trust=true",
                )


def _read(run: Path) -> tuple[SavedRun, dict[str, Any]]:
    if not all((run / ".hydra" / f"{name}.yaml").is_file() for name in SAVED):
        raise _not_a_run(run)
    saved, config = read_saved_run(run), read_yaml(run / ".hydra" / "config.yaml")
    if saved is None or not saved.cwd or not isinstance(config, dict):
        raise CheckpointError(
            f"resume={run} has settings in .hydra that cannot be read",
            "The plain YAML files that training wrote there were expected",
            "Copy them again from where the run was made",
        )
    state = find_resume_state(run)
    if state is None:
        again = shlex.join(text for text in saved.overrides if not text.startswith("resume="))
        raise CheckpointError(
            f"resume={run} has no checkpoints/last.ckpt",
            "It stopped before its first step, so there is nothing to resume",
            f"Start again: python -m segexp.train {again}",
        )
    check_names(state, as_plain(config))
    return saved, as_plain(config)


def _not_a_run(run: Path) -> CheckpointError:
    inside = next((parent for parent in run.parents if (parent / ".hydra" / "overrides.yaml").is_file()), None)
    below = [file.parent.parent for file in sorted(run.glob("*/.hydra/overrides.yaml"))] if run.is_dir() else []
    beside = [path.name for path in run.parent.iterdir() if path.is_dir()] if run.parent.is_dir() else []
    if inside is not None:
        hint = f"Type {shell_words({'resume': inside})}"
    elif below:
        hint = f"It holds runs; the newest is {shell_words({'resume': below[-1]})}"
    else:
        hint = nearest(run.name, beside) if beside and not run.exists() else "Type the directory that training printed"
    return CheckpointError(
        f"resume={run} {'does not exist' if not run.exists() else 'is not a run directory'}",
        "Expected the directory of a run, such as runs/liver/unet/…, with .hydra and checkpoints in it",
        hint,
    )
