"""Read the configuration that Hydra saved in a run directory."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from segexp.config.composition import compose, register_resolvers
from segexp.config.migration import upgrade
from segexp.config.naming import STUDIES
from segexp.config.overrides import quoted

_OWN = "main"
"""Provider name of the packaged configuration folder in Hydra."""


@dataclass(frozen=True)
class SavedRun:
    """How a run was started.

    Attributes:
        overrides: as typed; in a study those of this job.
        choices: option by group, such as {"model": "unet"}.
        folders: the user's configuration folders (--config-dir).
        cwd: working directory of the command.
    """

    overrides: tuple[str, ...]
    choices: dict[str, str]
    folders: tuple[Path, ...]
    cwd: str


def read_saved_run(directory: Path) -> SavedRun | None:
    """Read `.hydra/` of a run directory; None if the overrides are missing or broken."""
    words = read_yaml(directory / ".hydra" / "overrides.yaml")
    if not isinstance(words, list):
        return None
    runtime = as_plain(as_plain(as_plain(read_yaml(directory / ".hydra" / "hydra.yaml")).get("hydra")).get("runtime"))
    choices = {key: str(value) for key, value in as_plain(runtime.get("choices")).items() if value and "/" not in key}
    sources = [as_plain(source) for source in runtime.get("config_sources") or []]
    folders = [Path(s["path"]) for s in sources if s.get("schema") == "file" and s.get("provider") != _OWN]
    return SavedRun(tuple(map(str, words)), choices, tuple(folders), str(runtime.get("cwd", "")))


def study_overrides(directory: Path) -> tuple[str, ...]:
    """Return the overrides of a study from its `multirun.yaml`; () if it is missing or broken."""
    overrides = as_plain(as_plain(read_yaml(directory / "multirun.yaml")).get("hydra")).get("overrides")
    words = as_plain(overrides).get("task")
    return tuple(map(str, words)) if isinstance(words, list) else ()


def study_command(directory: Path, change: Callable[[str], str] = str) -> tuple[str, str]:
    """Return the command that continues a study in its own folder ("" if `multirun.yaml` is broken), and its working directory.

    `change` maps each override to the one to type now; the directory is "" if unknown.
    """
    words = [change(word) for word in study_overrides(directory)]
    if not words:
        return "", ""
    jobs = sorted(file.parent.parent for file in directory.glob("*/.hydra/overrides.yaml"))
    kept = next((found for job in jobs if (found := read_saved_run(job)) is not None), None)
    cwd, folders = (kept.cwd, kept.folders) if kept else ("", ())
    if not cwd or directory.resolve() != (Path(cwd) / STUDIES / directory.name).resolve():
        path = str(directory.resolve())
        words.append("hydra.sweep.dir=" + (path if re.fullmatch(r"[\w./+-]+", path) else quoted(path)))
    flags = ["-m", *(f"--config-dir={folder}" for folder in folders)]
    return shlex.join(["python", "-m", "segexp.train", *flags, *words]), cwd


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file without resolving interpolations; None if it is missing or broken."""
    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception:  # edited files can raise anything
        return None


def config_of_choices(choices: Mapping[str, str], folders: Sequence[Path] = ()) -> dict[str, Any] | None:
    """Return the configuration of the chosen options without experiment and overrides; None if an option no longer exists.

    Without a choice of data it has those of data=demo.
    """
    words = tuple(f"{group}={option}" for group, option in ({"data": "demo"} | dict(choices)).items() if group != "experiment")
    return deepcopy(_packaged(words) if not folders else _compose_plain(words, folders))


@cache
def _packaged(words: tuple[str, ...]) -> dict[str, Any] | None:
    """Return a configuration of packaged options only, which do not change while the process runs."""
    return _compose_plain(words)


def _compose_plain(words: Sequence[str], folders: Sequence[Path] = ()) -> dict[str, Any] | None:
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return as_plain(OmegaConf.to_container(compose("train", words, folders), resolve=True))
    except (HydraException, OmegaConfBaseException):
        return None


def read_saved_config(directory: Path) -> dict[str, Any]:
    """Return the resolved configuration that Hydra saved in a run directory, under current key names; {} if broken.

    Inferred facts about the data (`data=auto`) are not included.
    """
    from omegaconf import OmegaConf

    register_resolvers()
    try:
        return upgrade(as_plain(OmegaConf.to_container(OmegaConf.load(directory / ".hydra" / "config.yaml"), resolve=True)))
    except Exception:  # edited files can raise anything
        return {}


def as_plain(values: Any) -> dict[str, Any]:
    """Return a mapping with string keys; {} for anything else."""
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def as_yaml(values: Mapping[str, Any]) -> str:
    """Return plain values as YAML."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))
