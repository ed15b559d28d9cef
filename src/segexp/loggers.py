"""Where scores are written while training runs: TensorBoard and CSV always at hand, MLflow and Weights & Biases by config."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from segexp.errors import ConfigError
from segexp.types import DataSpec


def make_loggers(chosen: dict[str, Any], directory: Path, spec: DataSpec) -> list[Any]:
    """Return the loggers of a run; each writes below the run directory.

    Args:
        chosen: switches by name: `tensorboard`, `csv`, `mlflow`, `wandb`; a mapping holds the logger's own arguments.
        directory: of the run.
        spec: the class names, for the charts.

    Raises:
        ConfigError: a logger whose package is not installed.
    """
    _set_aside(directory / "csv" / "metrics.csv")
    loggers: list[Any] = [pl.loggers.CSVLogger(directory, name="csv", version="")]
    if chosen.get("tensorboard"):
        board = pl.loggers.TensorBoardLogger(directory, name="tensorboard", version="", default_hp_metric=False)
        board.experiment.add_custom_scalars(_charts(spec))
        loggers.append(board)
    if chosen.get("mlflow"):
        loggers.append(
            _optional("mlflow", "MLFlowLogger", _arguments(chosen["mlflow"], tracking_uri=f"file:{directory / 'mlflow'}"))
        )
    if chosen.get("wandb"):
        loggers.append(_optional("wandb", "WandbLogger", _arguments(chosen["wandb"], save_dir=str(directory), offline=True)))
    return loggers


def log_outcome(loggers: list[Any], config: dict[str, Any], scores: dict[str, float], best: float | None) -> None:
    """Write the hyper-parameters beside the scores, so that the runs of a study can be compared in one table."""
    flat = {key: value for key, value in flatten(config).items() if not key.startswith(("callbacks", "logger", "data.classes"))}
    final = {f"hp/{name}": scores[f"val/{name}"] for name in ("dice", "iou", "accuracy") if f"val/{name}" in scores}
    if best is not None:
        final["hp/best"] = best
    for logger in loggers:
        if isinstance(logger, pl.loggers.TensorBoardLogger):
            logger.log_hyperparams(flat, final)
        elif not isinstance(logger, pl.loggers.CSVLogger):
            logger.log_hyperparams(flat)
            logger.log_metrics(final)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted keys; lists become text, None becomes "none"."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, int | float | str | bool) else "none" if value is None else str(value)
    return flat


def _set_aside(file: Path) -> None:
    """Keep the curves of before a resume as metrics_1.csv, metrics_2.csv …: the logger would delete them."""
    if file.is_file():
        number = 1 + sum(1 for _ in file.parent.glob("metrics_*.csv"))
        file.rename(file.with_name(f"metrics_{number}.csv"))


def _charts(spec: DataSpec) -> dict[str, dict[str, list[Any]]]:
    dice = ["val/dice", *(f"val/dice/{name}" for name in spec.classes[1:])]
    return {
        "Loss": {"training and validation": ["Multiline", ["loss/train", "loss/val"]]},
        "Dice": {"per class": ["Multiline", dice]},
    }


def _arguments(chosen: Any, **defaults: Any) -> dict[str, Any]:
    return defaults | (chosen if isinstance(chosen, dict) else {})


def _optional(package: str, name: str, arguments: dict[str, Any]) -> Any:
    try:
        return getattr(pl.loggers, name)(**arguments)
    except ModuleNotFoundError as problem:
        raise ConfigError(
            f"logger={package} was asked for and {problem.name or package} is not installed",
            "The package of the logger was expected",
            f"Type pip install 'segexp[{package}]', or logger=tensorboard",
        ) from problem
