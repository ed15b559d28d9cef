"""Compose the configuration from conf/ and the defaults of the schema, and convert it to plain values."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp.atomic import atomic_write
from segexp.config.naming import job_name, network_name, slug, strip_prefix
from segexp.errors import ConfigError, SegexpError, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from segexp.config.schema import Section


def conf_dir() -> Path:
    """Return the folder of the configuration groups: in the installed package, or next to `src` in the repository."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(
        f"the configuration folder is missing: looked for conf/train.yaml in {package} and {package.parents[1]}",
        do="Install segexp again (pip install -e . in the repository)",
    )


def register_resolvers() -> None:
    """Register `${segexp.count:…}` and the other resolvers with OmegaConf; idempotent."""
    from omegaconf import OmegaConf

    for function in (count, first, scales, slug, job_name, network_name):
        OmegaConf.register_new_resolver(f"segexp.{function.__name__}", function, replace=True)


def register() -> None:
    """Register resolvers and schema defaults with Hydra; idempotent.

    The defaults of a group are its option `_base`, those of a command its main configuration `_COMMAND`.
    """
    from hydra.core.config_store import ConfigStore

    register_resolvers()
    store = ConfigStore.instance()
    if store.repo.get("_train.yaml") is None:
        for (group, name), node in defaults().items():
            store.store(name=name, node=node, group=group)


@cache
def defaults() -> dict[tuple[str | None, str], dict[str, Any]]:
    """Return the schema defaults by (group, option); the group is None for commands."""
    from segexp.config.schema import COMMANDS, SECTIONS

    groups: dict[tuple[str | None, str], dict[str, Any]] = {
        (group, "_base"): defaults_of(model) for group, model in SECTIONS.items()
    }
    return groups | {(None, f"_{command}"): defaults_of(model) for command, model in COMMANDS.items()}


def defaults_of(model: "type[Section]") -> dict[str, Any]:
    """Return the default of each key of a model as composed; groups of options are left out."""
    from segexp.config.schema import Component, Section, TrainConfig

    found = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if model is TrainConfig and name in GROUPS:
            continue
        if "compose" in extra:
            found[name] = extra["compose"]
        elif field.is_required():
            found[name] = "???"
        else:
            value = field.get_default(call_default_factory=True)
            found[name] = value.plain() if isinstance(value, Section) and not isinstance(value, Component) else value
    return found


GROUPS = (
    "data",
    "model",
    "augment",
    "mix",
    "loss",
    "distill",
    "optimizer",
    "scheduler",
    "trainer",
    "callbacks",
    "logger",
    "metrics",
)
"""The groups of a training, in the order in which problems are reported."""


def count(entries: Any) -> int | None:
    """Return the number of entries of a mapping or list; None for None."""
    return None if entries is None else len(entries)


def first(*values: Any) -> Any:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), None)


def scales(weights: Any) -> bool:
    """Return whether a network needs heads for `deep_supervision`: true, or a list of weights."""
    return weights is not None and weights is not False


def compose(
    command: str, overrides: Sequence[str] = (), folders: Sequence[Path] = (), *, with_hydra: bool = False
) -> "DictConfig":
    """Compose the configuration of a command.

    Args:
        command: such as "train".
        overrides: as on the command line.
        folders: the user's configuration folders (--config-dir).
        with_hydra: include Hydra's own section.

    Raises:
        HydraException: the overrides do not fit; see `suggestions.explain`.
    """
    import hydra

    register()
    words = list(overrides)
    if folders:
        words.append(f"hydra.searchpath=[{','.join(f'file://{folder.resolve()}' for folder in folders)}]")
    with suspend_hydra(), hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        return hydra.compose(command, overrides=words, return_hydra_config=with_hydra)


@dataclass(frozen=True)
class Job:
    """A composed configuration and its origin.

    Attributes:
        config: without Hydra's own section.
        directory: run directory.
        typed: keys on the command line.
        choices: option by group, such as {"model": "unet", "experiment": None}.
        folders: configuration folders in search order.
        hydra: Hydra's own section.
    """

    config: "DictConfig"
    directory: Path
    typed: frozenset[str]
    choices: Mapping[str, str | None]
    folders: tuple[Path, ...]
    hydra: "DictConfig"

    @contextmanager
    def saved_settings(self) -> Iterator[None]:
        """Write `.hydra` of the run directory, which `resume` reads.

        After an error in the block that refuses these settings, and after one of the disk, the files of before are back.
        """
        folder = self.directory / ".hydra"
        before = {file: file.read_bytes() for file in folder.glob("*.yaml")}
        try:
            save_settings(self.directory, self.config, self.hydra)
            yield
        except (SegexpError, OSError):
            for file, kept in before.items():
                with suppress(OSError), atomic_write(file) as part:  # a full disk keeps what is there
                    part.write_bytes(kept)
            raise


def job_of(config: "DictConfig", hydra: Any, directory: Path) -> Job:
    """Return the job of a composed configuration; `hydra` is Hydra's own section."""
    sources = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    typed = frozenset(strip_prefix(text).partition("=")[0] for text in hydra.overrides.task)
    return Job(config, directory, typed, dict(hydra.runtime.choices), tuple(sources), hydra)


def compose_job(command: str, overrides: Sequence[str], folders: Sequence[Path] = ()) -> Job:
    """Compose the configuration of a run, as Hydra does for a command.

    Args:
        command: such as "train".
        overrides: as on the command line.
        folders: the user's configuration folders.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import setup_globals
    from omegaconf import open_dict, read_write

    setup_globals()
    whole = compose(command, overrides, folders, with_hydra=True)
    state = HydraConfig.instance()
    before, state.cfg = state.cfg, None
    try:
        state.set_config(whole)
        directory = Path(str(whole.hydra.run.dir)).absolute()
        with read_write(whole.hydra), open_dict(whole):
            whole.hydra.runtime.output_dir = str(directory)
            hydra = whole.pop("hydra")
        return job_of(whole, hydra, directory)
    finally:
        state.cfg = before


def save_settings(directory: Path, config: "DictConfig", hydra: Any) -> None:
    """Write `.hydra` of a run directory, which `resume` reads, under the names that Hydra gives; each file is whole.

    Args:
        directory: of the run.
        config: without Hydra's own section.
        hydra: that section.
    """
    from omegaconf import OmegaConf

    (directory / ".hydra").mkdir(parents=True, exist_ok=True)
    saved = {"config": config, "hydra": OmegaConf.create({"hydra": hydra}), "overrides": hydra.overrides.task}
    for name, content in saved.items():
        with atomic_write(directory / ".hydra" / f"{name}.yaml") as part:
            part.write_text(OmegaConf.to_yaml(content), encoding="utf-8")


@contextmanager
def suspend_hydra() -> Iterator[None]:
    """Allow composing another configuration while Hydra runs a job."""
    from hydra.core.global_hydra import GlobalHydra

    state = GlobalHydra.instance()
    running, state.hydra = state.hydra, None
    try:
        yield
    finally:
        state = GlobalHydra.instance()  # composing may have replaced the instance
        state.hydra = running


def to_plain(config: "DictConfig") -> dict[str, Any]:
    """Return a composed configuration as resolved plain values.

    Raises:
        ConfigError: an interpolation of a missing key, or a mandatory key (`???`) without a value.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

    register_resolvers()
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (MissingMandatoryValue, InterpolationToMissingValueError) as error:
        missing = isinstance(error, InterpolationToMissingValueError) and re.search(r"mandatory value: (\S+)", str(error))
        key = missing[1] if missing else error.full_key or str(error)
        raise ConfigError(f"{key} has no value", "It has no default", f"Type {key}=VALUE") from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{error.full_key or 'the configuration'} cannot be resolved: {reason}") from error
    return {str(key): value for key, value in dict(values).items()}  # type: ignore[arg-type]


def with_data(config: "DictConfig", found: Mapping[str, Any]) -> "DictConfig":
    """Return the configuration with inferred keys of the data section set, so that interpolations resolve."""
    from omegaconf import OmegaConf

    changed = config.copy()
    OmegaConf.set_struct(changed, False)
    for key, value in found.items():
        OmegaConf.update(changed, f"data.{key}", value, merge=False)
    return changed


def load_option(group: str, option: str, folders: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the file of an option as unresolved plain values.

    Raises:
        ConfigError: it does not exist.
    """
    places = [conf_dir(), *folders]
    file = next((file for folder in places if (file := folder / group / f"{option}.yaml").is_file()), None)
    if file is None:
        known = [path.stem for folder in places for path in (folder / group).glob("[!_]*.yaml")]
        raise ConfigError(f"{group}={option} does not exist", nearest(option, known))
    return load_mapping(file)


def load_mapping(file: Path) -> dict[str, Any]:
    """Return the content of a YAML file, unresolved; {} if it is not a mapping."""
    from omegaconf import OmegaConf

    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def options_with_key(group: str, key: str) -> list[str]:
    """Return the options of a group whose files have a key, as "model=unet"."""
    files = sorted((conf_dir() / group).glob("[!_]*.yaml"))
    return [f"{group}={file.stem}" for file in files if key in load_mapping(file)]
