"""Shared by all commands: running a Hydra application, error messages, exit codes.

Exit codes: 0 success, 1 the run failed, 2 wrong command line or configuration, 130 interrupted (Ctrl-C), 143 SIGTERM.
"""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp import __version__
from segexp.api.calls import debugging
from segexp.cli.help_keys import KEYS
from segexp.cli.overrides import parse
from segexp.config.composition import conf_dir
from segexp.config.suggestions import explain_errors, options
from segexp.errors import ConfigError, SegexpError, sentence
from segexp.failures import explain
from segexp.interrupts import Interrupted, interruptible

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from segexp.config.composition import Job
    from segexp.config.overrides import CommandLine


class Stopped(BaseException):
    """Carries an exception through Hydra, which would print its own message about an ordinary exception."""

    def __init__(self, problem: Exception) -> None:
        super().__init__(str(problem))
        self.problem = problem


def run_cli(command: Callable[[], int | None]) -> int:
    """Run a command; return its exit code, and print errors as one paragraph on stderr.

    With SEGEXP_DEBUG=1 exceptions propagate with their traceback. Threads of libraries print none about a full disk, which the
    main thread reports.
    """
    hook = threading.excepthook
    threading.excepthook = lambda given: None if given.exc_value and explain(given.exc_value) else hook(given)
    try:
        try:
            with interruptible():
                return command() or 0
        except Stopped as stopped:
            raise stopped.problem from stopped.problem.__cause__
    except KeyboardInterrupt as interrupt:
        return int(getattr(interrupt, "code", 130))
    except Exception as error:
        if debugging():
            raise
        known = explain(error)
        sys.stderr.write(f"{paragraph(known or error)}\n")
        return known.exit_code if known is not None else 1
    finally:
        threading.excepthook = hook


def make_command(
    verb: str,
    text: str,
    expected: str,
    do: str = "Leave -m out",
    read: "Callable[[Sequence[str]], CommandLine]" = parse,
) -> Callable[[Sequence[str]], int]:
    """Return a command that calls `segexp.api.VERB.VERB` with the composed values.

    Args:
        verb: the command.
        text: its help.
        expected: why -m is refused.
        do: what to type instead.
        read: parses the arguments.
    """

    def command(argv: Sequence[str]) -> int:
        if asks_for_help(argv, text, verb):
            return 0
        line = read(argv)
        refuse_multirun(line, expected, do)
        with stoppable():
            run_with_values(lambda values: getattr(import_module(f"segexp.api.{verb}"), verb)(**values), line, verb)
        return 0

    return command


@contextmanager
def stoppable() -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM of a command that starts again from the beginning, unless it says otherwise by itself."""
    with interruptible():
        try:
            yield
        except Interrupted as interrupt:
            if not interrupt.told:
                said = "the command has not finished. Every file that it wrote is complete. Type it again to start it again"
                sys.stderr.write(f"segexp: Stopped by {interrupt}: {said}.\n")
            raise


def parse_with_data_keys(argv: Sequence[str]) -> "CommandLine":
    """Parse a command line whose data section is empty in the configuration, so that its keys need a +."""
    return parse([f"+{word}" if word.startswith("data.") else word for word in argv])


def make_main(command: Callable[[Sequence[str]], int]) -> Callable[..., int]:
    """Return the entry point of a command, called with its arguments (default: those of the process)."""

    def main(argv: Sequence[str] | None = None) -> int:
        return run_cli(lambda: command(sys.argv[1:] if argv is None else argv))

    return main


def paragraph(error: BaseException) -> str:
    """Return the error message for an exception."""
    if isinstance(error, SegexpError):
        return f"segexp: {error}"
    where = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(where[-1].filename).name}, line {where[-1].lineno}" if where else ""
    text = sentence(" ".join(str(error).split()) or "no message")
    notes = "".join(f" {note}" for note in getattr(error, "__notes__", []))
    return f"segexp: unexpected {type(error).__name__}{place}: {text} Set SEGEXP_DEBUG=1 for the traceback.{notes}"


def run_hydra(task: Callable[["DictConfig"], None], command: "CommandLine", config_name: str) -> None:
    """Compose the configuration of a command line and call `task` with it, once or, with -m, once per job.

    Raises:
        ConfigError: the command line does not fit the configuration.
        Stopped: from the task.
    """
    import hydra

    from segexp.config.composition import register

    register()
    saved, full, handlers = sys.argv, os.environ.get("HYDRA_FULL_ERROR"), list(logging.root.handlers)
    sys.argv = [saved[0], *command.flags, *command.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise, do not print and exit
    try:
        with explain_errors(command.overrides, command.folders, command.config_name or config_name):
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(task)()
    finally:
        sys.argv = saved
        close_logs(handlers)
        if full is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


def run_with_values(work: Callable[[dict[str, Any]], object], command: "CommandLine", config_name: str) -> None:
    """Compose the configuration of a command line and call `work` with its plain values.

    Raises:
        ConfigError: the command line does not fit the configuration.
        Stopped: from `work`.
    """

    def task(config: "DictConfig") -> None:
        from segexp.config.composition import to_plain

        try:
            work(to_plain(config))
        except Exception as error:
            raise Stopped(error) from error

    run_hydra(task, command, config_name)


def close_logs(before: Iterable[logging.Handler]) -> None:
    """Close the log files opened by Hydra; handlers in `before` are kept."""
    kept = set(before)
    for handler in [each for each in logging.root.handlers if isinstance(each, logging.FileHandler) and each not in kept]:
        logging.root.removeHandler(handler)
        handler.close()


def running_job(config: "DictConfig") -> "Job":
    """Return the job that Hydra is running."""
    from hydra.core.hydra_config import HydraConfig

    from segexp.config.composition import job_of

    hydra = HydraConfig.get()
    return job_of(config, hydra, Path(hydra.runtime.output_dir))


def refuse_multirun(line: "CommandLine", expected: str, do: str) -> None:
    """Refuse -m for commands that run once.

    Raises:
        ConfigError: -m was typed.
    """
    if line.multirun:
        raise ConfigError("-m is on the command line", expected, do)


def asks_for_help(argv: Sequence[str], text: str, verb: str = "") -> bool:
    """Print the help (with the keys of the command in place of {keys}) or the version if requested; return whether it was."""
    if "--version" in argv:
        sys.stdout.write(f"segexp {__version__}\n")
        return True
    if not {"--help", "-h"} & set(argv):
        return False
    sys.stdout.write(f"{text.replace('{keys}', KEYS.get(verb, '').strip(chr(10))).strip()}\n\nsegexp {__version__}\n")
    return True


def help_page(text: str, folders: Iterable[Path]) -> str:
    """Return a help text followed by the groups and options in the folders."""
    groups = options(folders)
    width = max(map(len, groups))
    lines = [f"  {group.ljust(width)}  {' '.join(names)}" for group, names in groups.items()]
    text = text.replace("{keys}", KEYS["train"].strip("\n"))
    return f"{text.strip()}\n\nGroups and their options (group=option)\n" + "\n".join(lines)
