"""Read the configuration that Hydra saved in a run directory."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from segexp.config.components import Trust, check_targets, check_transforms
from segexp.config.composition import compose, register_resolvers
from segexp.config.migration import upgrade
from segexp.config.naming import STUDIES
from segexp.config.overrides import CommandLine, quoted
from segexp.errors import CheckpointError

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
    sources = runtime.get("config_sources")
    files = [source for each in (sources if isinstance(sources, list) else []) if (source := as_plain(each)).get("path")]
    folders = [Path(str(s["path"])) for s in files if s.get("schema") == "file" and s.get("provider") != _OWN]
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


LARGEST = 1 << 20
"""Bytes of a settings file that is read; training writes about ten thousand."""


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file that came with a run, as plain values; nothing is resolved.

    Raises:
        OSError: it does not exist.
        ValueError: it is no YAML of plain values, is larger than `LARGEST`, or repeats parts of itself, which training never
            writes and which can stand for gigabytes.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    try:
        if re.search(rb"\*\w", content) and any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content)):
            raise ValueError("it repeats parts of itself (*NAME)")
        return deepcopy(_parsed(content))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:120]) from error


@lru_cache(maxsize=64)
def _parsed(content: bytes) -> Any:
    """Return the values of a YAML text; a report reads the files of a run several times."""
    return yaml.safe_load(content)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file without resolving interpolations; None if it is missing or broken."""
    try:
        return load_yaml(path)
    except (OSError, ValueError):
        return None


def foreign_interpolation(text: str) -> str:
    """Return the first interpolation of a text that is no other key and no resolver of segexp, "" if there is none.

    Other resolvers have effects: `${oc.env:NAME}` reads the environment, `${oc.create:…}` creates settings.
    """
    for found in re.finditer(r"\$\{", text):
        if not re.match(r"\s*([\w.\[\]]+\s*\}|segexp\.\w+\s*:)", text[found.end() :]):
            return text[found.start() :].partition("}")[0] + "}"
    return ""


def foreign_interpolations(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield key and text of each foreign interpolation in plain values."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from foreign_interpolations(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from foreign_interpolations(value, f"{key}[{number}]")
    elif isinstance(node, str) and (found := foreign_interpolation(node)):
        yield key, found


def resolve_own(node: Any) -> dict[str, Any]:
    """Return settings with references to other keys resolved; foreign interpolations stay as they are written.

    Raises:
        OmegaConfBaseException: a reference leads nowhere.
    """
    from omegaconf import OmegaConf

    def literal(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: literal(each) for name, each in value.items()}
        if isinstance(value, list):
            return [literal(each) for each in value]
        if isinstance(value, str) and foreign_interpolation(value):
            return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # as OmegaConf escapes what is no interpolation
        return value

    register_resolvers()
    return as_plain(OmegaConf.to_container(OmegaConf.create(literal(node)), resolve=True))


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
        return resolve_own(OmegaConf.to_container(compose("train", words, folders), resolve=False))
    except (HydraException, OmegaConfBaseException):
        return None


def read_saved_config(directory: Path) -> dict[str, Any]:
    """Return the resolved configuration that Hydra saved in a run directory, under current key names; {} if broken.

    Inferred facts about the data (`data=auto`) are not included, and foreign interpolations are not resolved.
    """
    try:
        return upgrade(resolve_own(load_yaml(directory / ".hydra" / "config.yaml")))
    except Exception:  # edited files can raise anything
        return {}


def check_run(command: CommandLine, source: str, trust: Trust) -> None:
    """Refuse to resume a run that would do what a checkpoint may not; `trust` as in `components.check_targets`.

    The configuration is composed, with the options from the run's own folder, and nothing in it is built or imported.

    Args:
        command: resumes the run.
        source: the run, for messages.
        trust: packages of one's own; True also permits interpolations, Hydra's own settings and addresses of loggers.

    Raises:
        CheckpointError: names the key and what to type.
        HydraException: the overrides do not fit.
    """
    from omegaconf import OmegaConf

    folders = [command.config_dir] if command.config_dir else []
    words = [text for text in command.overrides if not text.startswith("hydra.run.dir=")]
    whole = OmegaConf.to_container(compose(command.config_name or "train", words, folders, with_hydra=True), resolve=False)
    values = as_plain(whole)
    hydra = as_plain(values.pop("hydra"))
    if trust is not True:
        usual = as_plain(
            as_plain(OmegaConf.to_container(compose("train", ["data=demo"], with_hydra=True), resolve=False))["hydra"]
        )
        changed = [name for name in HYDRA if hydra.get(name) != usual.get(name)]
        urls = [(f"logger.{key}", str(text)) for key, text in _texts(values.get("logger")) if "://" in str(text)]
        odd = [*((f"hydra.{name}", "") for name in changed), *foreign_interpolations(values), *urls]
        if odd:
            key, text = odd[0]
            do = "Leave that option out" if key.startswith("hydra.") else f"Type {key}=VALUE with a value of your own"
            raise CheckpointError(
                f"{source} sets {key}{f' to {text[:120]}' if text else ''}, which reaches beyond the run",
                "Values and references to other keys were expected in a run that may be somebody else's",
                f"{do}; or, if you made the run, type trust=true",
            )
    typed = set(command.keys)
    for key in ("distill", "data.pseudo"):
        section: Any = values
        for part in key.split("."):
            section = as_plain(section.get(part))
        if section.get("trust") and f"{key}.trust" not in typed:
            raise CheckpointError(
                f"{source} says itself what to trust ({key}.trust)",
                "Only you can say that",
                f"Type '{key}.trust=[PACKAGE]', or '{key}.trust=[]'",
            )
    settings = (
        resolve_own(values) if trust is not True else as_plain(OmegaConf.to_container(OmegaConf.create(values), resolve=True))
    )
    for group, node in settings.items():
        check_targets(node, trust, group, source)
    check_transforms(settings.get("augment"), trust, source)


HYDRA = ("callbacks", "hydra_logging", "job_logging", "launcher", "mode", "output_subdir", "sweeper")
"""Settings of Hydra with which it builds objects or writes elsewhere, before segexp starts."""


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of each leaf."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, key)
    else:
        yield key, node


def as_plain(values: Any) -> dict[str, Any]:
    """Return a mapping with string keys; {} for anything else."""
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def as_yaml(values: Mapping[str, Any]) -> str:
    """Return plain values as YAML."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))
