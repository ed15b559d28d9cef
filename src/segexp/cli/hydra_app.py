"""The rim of every command: running a Hydra application, errors as one paragraph, exit codes.

Exit codes: 0 done, 1 the run met a problem, 2 the command line or the configuration is wrong, 130 interrupted (Ctrl-C).
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp import __version__
from segexp.cli.overrides import CommandLine
from segexp.cli.suggest import explain, options
from segexp.config import conf_dir, register_resolvers, validate
from segexp.config.experiment import fit_to_choices, running
from segexp.config.instantiate import fit_to_targets
from segexp.config.naming import bare
from segexp.errors import SegexpError, sentence
from segexp.models.pretrained import check_weights

if TYPE_CHECKING:
    from omegaconf import DictConfig

Work = Callable[[dict[str, Any], Path], object]
"""What a command does with its resolved, validated configuration and its directory."""


class Stopped(BaseException):
    """Carries a problem of the work past Hydra, which would print lines of its own about an ordinary exception."""

    def __init__(self, problem: Exception) -> None:
        super().__init__(str(problem))
        self.problem = problem


def rim(command: Callable[[], int | None]) -> int:
    """Run a command; return its exit code, and print what went wrong as one paragraph on stderr.

    With SEGEXP_DEBUG=1 the exception goes through, with its traceback.
    """
    try:
        try:
            return command() or 0
        except Stopped as stopped:
            raise stopped.problem from stopped.problem.__cause__
    except KeyboardInterrupt as interrupt:
        return int(getattr(interrupt, "code", 130))
    except Exception as error:
        if debugging():
            raise
        sys.stderr.write(f"{paragraph(error)}\n")
        return error.exit_code if isinstance(error, SegexpError) else 1


def paragraph(error: BaseException) -> str:
    """Return what to tell the user about an exception."""
    if isinstance(error, SegexpError):
        return f"segexp: {error}"
    where = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(where[-1].filename).name}, line {where[-1].lineno}" if where else ""
    text = sentence(" ".join(str(error).split()) or "no message")
    notes = "".join(f" {note}" for note in getattr(error, "__notes__", []))
    return f"segexp: unexpected {type(error).__name__}{place}: {text} Set SEGEXP_DEBUG=1 for the traceback.{notes}"


def debugging() -> bool:
    """Say whether the user wants tracebacks."""
    return os.environ.get("SEGEXP_DEBUG", "0") not in ("", "0")


def run_hydra(task: Callable[["DictConfig"], None], command: CommandLine, config_name: str) -> None:
    """Compose the configuration of a command line and hand it to `task`, once or, with -m, once per job.

    Raises:
        ConfigError: the command line does not fit the configuration.
        Stopped: from the task.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register_resolvers()
    saved, full, handlers = sys.argv, os.environ.get("HYDRA_FULL_ERROR"), list(logging.root.handlers)
    sys.argv = [saved[0], *command.flags, *command.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise, do not print and exit
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(task)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error, command.overrides, command.folders, command.config_name or config_name) from error
    finally:
        sys.argv = saved
        close_logs(handlers)
        if full is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


def close_logs(before: Iterable[logging.Handler]) -> None:
    """Close the files that Hydra opened for the log of a run; handlers that were there before stay."""
    kept = set(before)
    for handler in [each for each in logging.root.handlers if isinstance(each, logging.FileHandler) and each not in kept]:
        logging.root.removeHandler(handler)
        handler.close()


def prepared(config: "DictConfig", directory: Path) -> dict[str, Any]:
    """Return a composed configuration as plain, validated values; say what was taken back, and found out about the data.

    Raises:
        SegexpError: see `api.configuration.completed`, `config.validate` and `models.pretrained.check_weights`.
    """
    if config.get("resume") is None and config.get("fit", True):  # `check` builds a network for fit=true alone
        check_weights(config.get("model") or {})
    fit_to_targets(config, typed_keys())
    taken_back = fit_to_choices(config, typed_keys(), *running())
    from segexp.api.configuration import completed

    values, found = completed(config)
    validate(values)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        sys.stdout.writelines(f"{said}\n" for said in (*taken_back, found) if said)
    return values | {"run_dir": str(directory)}


def job(config: "DictConfig", work: Work) -> None:
    """Do `work` for one composed configuration in its own run directory.

    Raises:
        Stopped: whatever went wrong; the traceback of an unexpected exception is in the directory's log.
    """
    directory = output_directory()
    try:
        work(prepared(config, directory), directory)
    except Exception as error:
        if isinstance(error, SegexpError):
            discard_empty(directory)
        else:
            logging.getLogger("segexp").error("unexpected exception", exc_info=error)
            error.add_note(f"It is also in {directory / 'train.log'}.")
        raise Stopped(error) from error


def typed_keys() -> set[str]:
    """Return the keys that were typed for the running job."""
    from hydra.core.hydra_config import HydraConfig

    return {bare(text).partition("=")[0] for text in HydraConfig.get().overrides.task}


def output_directory() -> Path:
    """Return the directory that Hydra made for the running job."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def discard_empty(directory: Path) -> None:
    """Remove a run directory in which nothing but the saved configuration and an empty log lies."""
    logs = [path for path in directory.glob("*.log") if not path.stat().st_size]
    saved = list((directory / ".hydra").glob("*.yaml"))
    if set(directory.iterdir()) - {directory / ".hydra", *logs}:
        return
    for path in (*logs, *saved):
        path.unlink()
    if saved:
        (directory / ".hydra").rmdir()
    directory.rmdir()


def help_page(text: str, folders: Iterable[Path]) -> str:
    """Return a command's help: its own text, then the groups and their options as they lie in the folders."""
    groups = options(folders)
    width = max(map(len, groups))
    lines = [f"  {group.ljust(width)}  {' '.join(names)}" for group, names in groups.items()]
    return f"{text.strip()}\n\nGroups and their options (group=option)\n" + "\n".join(lines) + f"\n\nsegexp {__version__}\n"
