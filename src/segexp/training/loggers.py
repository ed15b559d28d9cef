"""Where scores are written while training runs: CSV always, TensorBoard, MLflow and Weights & Biases by config."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from segexp.config.schema import LoggerConfig, TrainConfig
from segexp.errors import ConfigError
from segexp.types import DataSpec


class Board(pl.loggers.TensorBoardLogger):
    """TensorBoard without the curve of epochs over steps and without an empty file of hyper-parameters."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log all but the epoch."""
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    def save(self) -> None:
        """Write what is waiting."""
        self.experiment.flush()

    def log_table(self, settings: dict[str, Any], scores: dict[str, float], step: int) -> None:
        """Write one row of the HParams table.

        The list of its columns is left for TensorBoard to make from the rows at hand: it then puts those that differ first.
        """
        from torch.utils.tensorboard.summary import hparams

        self.log_metrics(scores, step)
        _, start, end = hparams(settings, scores)  # type: ignore[no-untyped-call]
        writer = self.experiment._get_file_writer()
        writer.add_summary(start)
        writer.add_summary(end)
        self.finalize("success")


def charts(spec: DataSpec) -> dict[str, dict[str, list[Any]]]:
    """Return the layout of TensorBoard's custom scalars; with more than one foreground class their mean is a curve too."""
    classes = [f"val/dice/{name}" for name in spec.classes[1:]]
    dice = ["val/dice", *classes] if len(classes) > 1 else classes
    return {
        "Loss": {"training and validation": ["Multiline", [exactly(tag) for tag in ("loss/train", "loss/val")]]},
        "Dice": {"per class": ["Multiline", [exactly(tag) for tag in dice]]},
    }


def exactly(tag: str) -> str:
    """Return the expression that fits one tag alone: TensorBoard takes `val/dice` for the start of others too."""
    return f"^{re.escape(tag)}$"


COMPARED = ("model", "data", "augment", "mix", "loss", "distill", "optimizer", "scheduler", "trainer", "seed")
"""The parts of a config that stand in the table of runs."""
NOT_COMPARED = (
    *("root", "image", "mask", "labels", "optional_masks", "groups", "classes", "ignore", "threshold", "channels"),
    *("num_classes", "cache", "max_pixels", "num_workers"),
)
"""Keys of the data section that are facts about the files or the machine, not choices."""


def settings(config: TrainConfig) -> dict[str, Any]:
    """Return the choices of a config as one row: dotted keys, numbers or short texts; `model: UNet` says the `_target_`."""
    values = config.plain()
    compared = {group: values[group] for group in COMPARED if values[group] is not None}
    data = {key: value for key, value in compared["data"].items() if key not in NOT_COMPARED}
    if data.get("family") is None:
        data.pop("family", None)
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


MLFLOW_STORE = os.environ.get("MLFLOW_TRACKING_URI")
"""Where the user keeps MLflow's runs; read once, as MLflow puts the store of each run there."""


class Tracker(pl.loggers.MLFlowLogger):
    """MLflow with names it can keep as files: `val/dice` is one, so `val/dice/liver` is written `val/dice.liver`."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log under the changed names."""
        super().log_metrics({tracker_name(name): value for name, value in metrics.items()}, step)


def mlflow(given: dict[str, Any], directory: Path) -> Any:
    """Return an MLflow logger; `given` are its arguments where they differ from a store below the run directory.

    Raises:
        ConfigError: MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else MLflow wants a data base for every run directory
    place = MLFLOW_STORE or (directory / "mlflow").resolve().as_uri()
    return _made(Tracker, "mlflow", {"tracking_uri": place, "run_name": directory.name, **given})


def wandb(given: dict[str, Any], directory: Path) -> Any:
    """Return a logger of Weights & Biases; `given` are its arguments where they differ from offline in the run directory.

    Raises:
        ConfigError: wandb is not installed.
    """
    close_wandb()  # of a job of this study that failed
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_CONSOLE", "off")  # the terminal is not its business
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    defaults = {"save_dir": str(directory), "name": directory.name, "offline": True}
    made = _made(pl.loggers.WandbLogger, "wandb", defaults | given)
    if made._wandb_init.get("anonymous") is None:
        made._wandb_init.pop("anonymous", None)  # Lightning passes it always, and wandb warns of it always
    return made


def close_wandb() -> None:
    """End the run of Weights & Biases: the next one in this process would be added to it."""
    if (package := sys.modules.get("wandb")) is not None and package.run is not None:
        package.finish()


def tracker_name(name: str) -> str:
    """Return a score's name with one slash at most, and without the signs that MLflow refuses."""
    head, slash, rest = name.partition("/")
    return head + slash + re.sub(r"[^\w. -]", ".", rest)


def _made(logger: Callable[..., Any], package: str, arguments: dict[str, Any]) -> Any:
    try:
        return logger(**arguments)
    except ModuleNotFoundError as problem:
        raise ConfigError(
            f"logger={package} was asked for and the package {package} is not installed",
            "The package of the logger was expected",
            f"Type pip install 'segexp[{package}]', or logger=tensorboard",
        ) from problem


def make_loggers(chosen: LoggerConfig, directory: Path, spec: DataSpec) -> list[Any]:
    """Return the loggers of a run; each writes below the run directory, unless its arguments say otherwise.

    Args:
        chosen: which ones; a mapping holds the logger's own arguments.
        directory: of the run.
        spec: the class names, for the charts.

    Raises:
        ConfigError: a logger whose package is not installed.
    """
    _set_aside(directory / "csv" / "metrics.csv")
    loggers: list[Any] = [pl.loggers.CSVLogger(directory, name="csv", version="")]
    if chosen.tensorboard:
        board = Board(directory, name="tensorboard", version="", default_hp_metric=False)
        board.experiment.add_custom_scalars(charts(spec))
        loggers.append(board)
    if chosen.mlflow:
        loggers.append(mlflow(_arguments(chosen.mlflow), directory))
    if chosen.wandb:
        loggers.append(wandb(_arguments(chosen.wandb), directory))
    return loggers


def log_outcome(loggers: list[Any], config: TrainConfig, scores: dict[str, float], step: int) -> None:
    """Write the settings beside the scores of the best weights, so that runs can be compared in one table.

    Args:
        loggers: of the run, which is over.
        config: of the run.
        scores: by "<split>/<score>"; `hp/dice` and `hp/iou` are those of val, `hp/test_dice` and `hp/test_iou` of test.
        step: optimizer steps made.
    """
    names = {
        f"{split}/{score}": f"hp/{prefix}{score}"
        for split, prefix in (("val", ""), ("test", "test_"))
        for score in ("dice", "iou")
    }
    final = {new: scores[old] for old, new in names.items() if np.isfinite(scores.get(old, np.nan))}
    row = settings(config)
    for logger in loggers:
        if isinstance(logger, Board):
            logger.log_table(row, final, step)
        elif not isinstance(logger, pl.loggers.CSVLogger):
            logger.log_hyperparams(row)
            logger.log_metrics(final, step)
    close_wandb()


def _set_aside(file: Path) -> None:
    """Keep the curves of before a resume as metrics_1.csv, metrics_2.csv …: the logger would delete them."""
    if file.is_file():
        number = 1 + sum(1 for _ in file.parent.glob("metrics_*.csv"))
        file.rename(file.with_name(f"metrics_{number}.csv"))


def _arguments(chosen: Any) -> dict[str, Any]:
    return {key: value for key, value in chosen.items() if value is not None} if isinstance(chosen, dict) else {}
