"""`resume=RUN`: resume a run in its own directory."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from segexp.atomic import atomic_write
from segexp.config.migration import upgrade
from segexp.config.naming import TEACHER
from segexp.config.overrides import CommandLine, quoted
from segexp.config.saved_runs import as_plain, read_yaml
from segexp.errors import CheckpointError, ConfigError, SegexpError, nearest

SAVED = ("config", "hydra", "overrides")
"""Files in .hydra, without .yaml."""
RELATIVE = ("data.root", "data.unlabeled", "data.pseudo.teacher", "distill.teacher")
"""Keys with paths relative to the original working directory."""


def resume_command(command: CommandLine) -> CommandLine:
    """Return the command line that resumes the run named by `resume=`.

    Combines the saved overrides, the typed ones (which win) and the run directory. Paths of `RELATIVE` keys stay relative to
    the original working directory, and the original --config-dir is reused.

    Raises:
        ConfigError: together with -m.
        CheckpointError: not a run directory, no `checkpoints/last.ckpt`, or a version that cannot be resumed.
    """
    if command.multirun:
        raise ConfigError(
            "resume= and -m are together on the command line",
            "A study resumes what is unfinished when its own command is typed again",
            "Leave resume= out",
        )
    run = Path(str(command.value("resume")))
    saved = _read(run)
    typed = dict(zip(command.keys, command.overrides, strict=True))
    before = CommandLine([str(text) for text in saved["overrides"]])
    merged = dict(zip(before.keys, before.overrides, strict=True)) | typed
    cwd = Path(saved["hydra"]["hydra"]["runtime"]["cwd"])
    for name in RELATIVE:
        path: Any = saved["config"]
        for part in name.split("."):
            path = (path or {}).get(part)
        as_before = not {name.partition(".")[0], name, "experiment"} & set(typed)
        if as_before and isinstance(path, str) and "${" not in path and not Path(path).is_absolute():
            merged[name] = f"{name}={quoted(str((cwd / path).resolve()))}"
    merged["resume"] = f"resume={quoted(str(run.resolve()))}"
    merged["hydra.run.dir"] = f"hydra.run.dir={quoted(str(run.resolve()))}"
    folder = command.config_dir or _config_dir(saved["hydra"])
    flags = command.flags if command.config_dir or not folder else [*command.flags, "--config-dir", str(folder)]
    return replace(command, overrides=list(merged.values()), flags=flags, config_dir=folder).expanded()


@contextmanager
def restore_settings_on_error(command: CommandLine) -> Iterator[None]:
    """Restore the saved settings of the run if resuming is refused: they are overwritten before any check."""
    folder = Path(str(command.value("resume"))) / ".hydra"
    before = {file: file.read_bytes() for file in folder.glob("*.yaml")}
    try:
        yield
    except BaseException as error:
        if isinstance(getattr(error, "problem", error), SegexpError | OSError):
            for file, content in before.items():
                with suppress(OSError), atomic_write(file) as part:  # a full disk keeps what is there
                    part.write_bytes(content)
        raise


def check_unused(command: CommandLine) -> None:
    """Refuse to overwrite a run.

    Raises:
        ConfigError: `run_dir=` names a directory that holds a run.
    """
    run = command.value("run_dir")
    if run is not None and find_resume_state(Path(str(run))):
        raise ConfigError(
            f"run_dir={run} already holds a run",
            "A new run needs a directory of its own",
            f"Type resume={shlex.quote(str(run))} to resume that run, or name another directory",
        )


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


def _read(run: Path) -> dict[str, Any]:
    files = {name: run / ".hydra" / f"{name}.yaml" for name in SAVED}
    if not all(file.is_file() for file in files.values()):
        raise _not_a_run(run)
    saved = {name: read_yaml(file) for name, file in files.items()}
    state = find_resume_state(run)
    if state is None:
        again = shlex.join(str(text) for text in saved["overrides"] or [] if not str(text).startswith("resume="))
        raise CheckpointError(
            f"resume={run} has no checkpoints/last.ckpt",
            "It stopped before its first step, so there is nothing to resume",
            f"Start again: python -m segexp.train {again}",
        )
    check_names(state, as_plain(saved["config"]))
    return saved


def _not_a_run(run: Path) -> CheckpointError:
    inside = next((parent for parent in run.parents if (parent / ".hydra" / "overrides.yaml").is_file()), None)
    below = [file.parent.parent for file in sorted(run.glob("*/.hydra/overrides.yaml"))] if run.is_dir() else []
    beside = [path.name for path in run.parent.iterdir() if path.is_dir()] if run.parent.is_dir() else []
    if inside is not None:
        hint = f"Type resume={inside}"
    elif below:
        hint = f"It holds runs; the newest is resume={below[-1]}"
    else:
        hint = nearest(run.name, beside) if beside and not run.exists() else "Type the directory that training printed"
    return CheckpointError(
        f"resume={run} {'does not exist' if not run.exists() else 'is not a run directory'}",
        "Expected the directory of a run, such as runs/liver/unet/…, with .hydra and checkpoints in it",
        hint,
    )


def _config_dir(hydra: dict[str, Any]) -> Path | None:
    sources = hydra["hydra"]["runtime"]["config_sources"]
    return next((Path(source["path"]) for source in sources if source["provider"] == "command-line"), None)
