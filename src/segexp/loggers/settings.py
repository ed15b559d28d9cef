"""The choices of a run as one row of a table."""

from typing import Any

COMPARED = ("model", "data", "augment", "mix", "loss", "distill", "optimizer", "scheduler", "trainer", "seed")
"""The parts of a config that stand in the table of runs."""
NOT_COMPARED = (
    *("root", "image", "mask", "labels", "optional_masks", "groups", "classes", "ignore", "threshold", "channels"),
    *("num_classes", "cache", "max_pixels"),
)
"""Keys of the data section that are facts about the files or the machine, not choices."""


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the choices of a config as one row: dotted keys, numbers or short texts; `model: UNet` says the `_target_`."""
    compared = {group: config[group] for group in COMPARED if group in config}
    data = {key: value for key, value in compared.get("data", {}).items() if key not in NOT_COMPARED}
    if data.get("folds") is None:
        data = {key: value for key, value in data.items() if key not in ("folds", "fold")}
    if data.get("unlabeled") is None:
        data = {key: value for key, value in data.items() if key not in ("unlabeled", "pseudo")}
    row: dict[str, Any] = {}
    for key, value in flatten(compared | ({"data": data} if data else {})).items():
        if key.endswith("._target_"):
            row[key.removesuffix("._target_")] = str(value).rpartition(".")[2]
        elif not key.endswith("._partial_"):
            row[key.removesuffix(".transforms")] = value
    return row


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted keys; numbers stay, all else becomes text, None and [] "none"."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, int | float) and not isinstance(value, bool) else _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(each, dict) and "name" in each for each in value):
        return ", ".join(str(each["name"]) for each in value)
    return str(value).lower() if isinstance(value, bool) else "none" if value in (None, []) else str(value)
