"""Deep supervision as a configuration asks for it: which networks have the heads, and what cannot go together."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segexp.errors import listed


def head_problems(config: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yield one sentence per problem of `deep_supervision`.

    Args:
        config: plain values.
        folder: of the configuration groups, for the names of the networks that have heads.
    """
    asked, model = config.get("deep_supervision"), config.get("model") or {}
    if isinstance(asked, list) and not any(isinstance(weight, int | float) and weight > 0 for weight in asked):
        yield f"deep_supervision={asked} has no weight above 0. Give one per head, finest first, or type deep_supervision=true"
    elif asked not in (None, False) and "deep_supervision" not in model:
        named = model.get("_target_", "of this configuration")
        yield (
            f"deep_supervision={str(asked).lower()}, and the network {named} has no heads for it. "
            f"Networks that have: {listed(with_heads(folder), 20)}. A network of your own needs the argument deep_supervision "
            "and the method forward_scales; then type model.deep_supervision=true"
        )
    elif asked is not None and "deep_supervision" in model and bool(model["deep_supervision"]) != bool(asked):
        now = str(model["deep_supervision"]).lower()
        yield (
            f"deep_supervision={str(asked).lower()} and model.deep_supervision={now} contradict each other. "
            "Leave model.deep_supervision out: it follows from the other"
        )


def with_heads(folder: Path) -> list[str]:
    """Return the options of `model` that offer deep supervision."""
    from omegaconf import OmegaConf

    files = sorted((folder / "model").glob("[!_]*.yaml"))
    return [f"model={file.stem}" for file in files if "deep_supervision" in OmegaConf.load(file)]
