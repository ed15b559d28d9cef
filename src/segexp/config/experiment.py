"""What an experiment says about its network holds for any network that has such a setting; another one keeps its own."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from segexp.config.targets import RESERVED, locate, parameters
from segexp.errors import ConfigError, listed

if TYPE_CHECKING:
    from omegaconf import DictConfig


def fit_to_network(config: "DictConfig", typed: Collection[str], experiment: str | None, folders: Iterable[Path]) -> str:
    """Take out of the model section what the experiment says to its own network and the one that was typed has not, in place.

    `experiment=liver model=fpn` then is the FPN as its file has it, though the experiment says `model.width` to a U-Net. Only
    where a network was typed, and only what nobody typed: an experiment that is wrong about its own network is told so, and
    so is the user by the validation.

    Args:
        config: composed.
        typed: the keys on the command line.
        experiment: its option, None without one.
        folders: of the configuration groups, in the order in which they are searched.

    Returns:
        A sentence that says what was left out; nothing where nothing was.
    """
    from omegaconf import DictConfig, open_dict

    node = config.get("model")
    if experiment is None or "model" not in typed or not isinstance(node, DictConfig):
        return ""
    taken = _arguments(str(node.get("_target_")))
    if taken is None:
        return ""
    wanted = {key.split(".")[1] for key in typed if key.startswith("model.")}
    foreign = _said(experiment, folders) - taken - wanted - RESERVED
    with open_dict(node):
        left_out = [f"model.{name}={node.pop(name)}" for name in sorted(foreign) if name in node]
    if not left_out:
        return ""
    return f"experiment={experiment} says {listed(left_out)} to its own network; the one chosen here has no such setting."


def running() -> tuple[str | None, list[Path]]:
    """Return the experiment of the job that Hydra runs, and the folders of configuration groups."""
    from hydra.core.hydra_config import HydraConfig

    runtime = HydraConfig.get().runtime
    folders = [Path(source.path) for source in runtime.config_sources if source.schema == "file"]
    return runtime.choices.get("experiment"), folders


def _said(experiment: str, folders: Iterable[Path]) -> set[str]:
    """Return the keys of the model section of an experiment's file."""
    from omegaconf import DictConfig, OmegaConf

    files = (folder / "experiment" / f"{experiment}.yaml" for folder in folders)
    file = next((file for file in files if file.is_file()), None)
    content = OmegaConf.load(file) if file else None
    section = content.get("model") if isinstance(content, DictConfig) else None
    return {str(key) for key in section} if isinstance(section, DictConfig) else set()


def _arguments(path: str) -> set[str] | None:
    """Return the arguments that a class or function has by name; None where that cannot be known."""
    try:
        found = parameters(locate(path))
    except (ConfigError, TypeError):  # the validation finds words for it
        return None
    return None if found is None else {name for name, each in found.items() if each.kind is not each.VAR_KEYWORD}
