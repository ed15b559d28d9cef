"""What Hydra kept in a run directory, and what the configuration would have been without the user's own settings."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexp.config.composition import compose, register_resolvers
from segexp.config.migration import upgrade
from segexp.config.naming import STUDIES

_OWN = "main"
"""What Hydra calls the folder of configurations that comes with the program."""


@dataclass(frozen=True)
class SavedRun:
    """How a run was started.

    Attributes:
        overrides: as typed, "key=value"; in a study those of this job.
        choices: the option of each group, as in {"model": "unet"}.
        folders: of the user's own options (--config-dir).
        cwd: where the command was typed.
    """

    overrides: tuple[str, ...]
    choices: dict[str, str]
    folders: tuple[Path, ...]
    cwd: str


def read_saved_run(directory: Path) -> SavedRun | None:
    """Read `.hydra/` of a run directory; None where what was typed is missing or broken."""
    words = read_yaml(directory / ".hydra" / "overrides.yaml")
    if not isinstance(words, list):
        return None
    runtime = as_plain(as_plain(as_plain(read_yaml(directory / ".hydra" / "hydra.yaml")).get("hydra")).get("runtime"))
    choices = {key: str(value) for key, value in as_plain(runtime.get("choices")).items() if value and "/" not in key}
    sources = [as_plain(source) for source in runtime.get("config_sources") or []]
    folders = [Path(s["path"]) for s in sources if s.get("schema") == "file" and s.get("provider") != _OWN]
    return SavedRun(tuple(map(str, words)), choices, tuple(folders), str(runtime.get("cwd", "")))


def study_words(directory: Path) -> tuple[str, ...]:
    """Return what was typed to make a study, from its `multirun.yaml`; nothing where that is missing or broken."""
    overrides = as_plain(as_plain(read_yaml(directory / "multirun.yaml")).get("hydra")).get("overrides")
    words = as_plain(overrides).get("task")
    return tuple(map(str, words)) if isinstance(words, list) else ()


def study_command(directory: Path, change: Callable[[str], str] = str) -> tuple[str, str]:
    """Return the command that goes on with a study in its own folder, wherever that lies, and where it was typed.

    Args:
        directory: of the study.
        change: gives each word as it is to be typed now.

    Returns:
        The command, empty where `multirun.yaml` is missing or broken; the folder, empty where no job tells.
    """
    words = [change(word) for word in study_words(directory)]
    if not words:
        return "", ""
    jobs = sorted(file.parent.parent for file in directory.glob("*/.hydra/overrides.yaml"))
    kept = next((found for job in jobs if (found := read_saved_run(job)) is not None), None)
    cwd, folders = (kept.cwd, kept.folders) if kept else ("", ())
    if not cwd or directory.resolve() != (Path(cwd) / STUDIES / directory.name).resolve():
        words.append(f"hydra.sweep.dir={_value(str(directory.resolve()))}")
    flags = ["-m", *(f"--config-dir={folder}" for folder in folders)]
    return shlex.join(["python", "-m", "segexp.train", *flags, *words]), cwd


def _value(text: str) -> str:
    """Return a text as the value of an override, in quotes where it needs them."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return text if re.fullmatch(r"[\w./+-]+", text) else QuotedString(text=text, quote=Quote.double).with_quotes()


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, references as they stand; None where it is missing or broken."""
    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception:  # a file that somebody edited can fail anywhere in the parser
        return None


def defaults(choices: Mapping[str, str], folders: Sequence[Path] = ()) -> dict[str, Any] | None:
    """Return the configuration that the chosen options alone give: no experiment, nothing typed.

    Args:
        choices: the option of each group; an experiment among them is left out.
        folders: where the user's own options lie.

    Returns:
        Plain values; None where an option is no longer there.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    words = [f"{group}={option}" for group, option in choices.items() if group != "experiment"]
    try:
        return as_plain(OmegaConf.to_container(compose("train", words, folders), resolve=True))
    except (HydraException, OmegaConfBaseException):
        return None


def composed(directory: Path) -> dict[str, Any]:
    """Return the configuration that Hydra kept in a run directory, references resolved; empty where it is missing or broken.

    What was found out about the data afterwards (`data=auto`) is not in it. Keys have their names of today.
    """
    from omegaconf import OmegaConf

    register_resolvers()
    try:
        return upgrade(as_plain(OmegaConf.to_container(OmegaConf.load(directory / ".hydra" / "config.yaml"), resolve=True)))
    except Exception:  # a file that somebody edited can fail anywhere in the parser
        return {}


def as_plain(values: Any) -> dict[str, Any]:
    """Return a mapping with keys of text; anything else is empty."""
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def as_yaml(values: Mapping[str, Any]) -> str:
    """Return plain values as YAML text."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))
