"""What an experiment says about its network holds for any network that has such settings; another one keeps its own."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from segexp.config.own import arguments
from segexp.config.targets import RESERVED
from segexp.errors import listed

if TYPE_CHECKING:
    from omegaconf import DictConfig


def fit_to_network(
    config: "DictConfig", typed: Collection[str], choices: Mapping[str, str | None], folders: Collection[Path]
) -> str:
    """Take back what the experiment says to its own network where another one was typed that has not all of it, in place.

    `experiment=liver model=fpn` then is the FPN as its file has it, though the experiment says `model.width` to a U-Net. All
    or nothing, because a word like depth does not mean the same to every network. Only where a network was typed, and only
    what nobody typed: the validation tells an experiment that is wrong about its own network, and a user likewise.

    Args:
        config: composed.
        typed: the keys on the command line.
        choices: the option of each group, as in {"model": "fpn", "experiment": "liver"}.
        folders: of the configuration groups, in the order in which they are searched.

    Returns:
        A sentence that says what was taken back; nothing where nothing was.
    """
    from omegaconf import DictConfig, open_dict

    node, experiment = config.get("model"), choices.get("experiment")
    if experiment is None or "model" not in typed or not isinstance(node, DictConfig):
        return ""
    wanted = {key.split(".")[1] for key in typed if key.startswith("model.")}
    said = sorted(set(_section(folders, "experiment", experiment, "model")) & set(map(str, node)) - wanted - RESERVED)
    known = arguments(str(node.get("_target_")))
    if known is None or known.names >= set(said):
        return ""
    before = _section(folders, "model", str(choices.get("model")))
    words = [f"model.{name}={node[name]}" for name in said]
    with open_dict(node):
        for name in said:
            node.pop(name)
            if name in before:
                node[name] = before[name]
    return f"experiment={experiment} says {listed(words)} to its own network; this one has other settings and keeps them."


def running() -> tuple[dict[str, str | None], list[Path]]:
    """Return the option of each group of the job that Hydra runs, and the folders of configuration groups."""
    from hydra.core.hydra_config import HydraConfig

    runtime = HydraConfig.get().runtime
    return dict(runtime.choices), [Path(source.path) for source in runtime.config_sources if source.schema == "file"]


def _section(folders: Iterable[Path], group: str, option: str, key: str | None = None) -> dict[str, object]:
    """Return the file of an option, or a section of it, references as they stand; empty where there is none."""
    from omegaconf import OmegaConf

    file = next((file for folder in folders if (file := folder / group / f"{option}.yaml").is_file()), None)
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False) if file else None
    found = content.get(key) if key and isinstance(content, dict) else content
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}
