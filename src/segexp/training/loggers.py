"""Loggers: CSV always; TensorBoard, MLflow and Weights & Biases as configured."""

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


class BoardLogger(pl.loggers.TensorBoardLogger):
    """TensorBoard logger without the epoch curve and without an empty hyper-parameter file."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log all but the epoch."""
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    def save(self) -> None:
        """Flush pending events."""
        self.experiment.flush()

    def log_table(self, settings: dict[str, Any], scores: dict[str, float], step: int) -> None:
        """Write one row of the HParams table.

        The column list is not written, so that TensorBoard infers it and puts differing columns first.
        """
        from torch.utils.tensorboard.summary import hparams

        self.log_metrics(scores, step)
        _, start, end = hparams(settings, scores)  # type: ignore[no-untyped-call]
        writer = self.experiment._get_file_writer()
        writer.add_summary(start)
        writer.add_summary(end)
        self.finalize("success")


def scalar_layout(spec: DataSpec) -> dict[str, dict[str, list[Any]]]:
    """Return the layout of TensorBoard's custom scalars, with the mean Dice if there are several foreground classes."""
    classes = [f"val/dice/{name}" for name in spec.foreground]
    dice = ["val/dice", *classes] if len(classes) > 1 else classes
    return {
        "Loss": {"training and validation": ["Multiline", [exact_tag_pattern(tag) for tag in ("loss/train", "loss/val")]]},
        "Dice": {"per class": ["Multiline", [exact_tag_pattern(tag) for tag in dice]]},
    }


def exact_tag_pattern(tag: str) -> str:
    """Return a regular expression for exactly this tag; TensorBoard would treat `val/dice` as a prefix."""
    return f"^{re.escape(tag)}$"


COMPARED = ("model", "data", "augment", "mix", "loss", "distill", "optimizer", "scheduler", "trainer", "seed")
"""The configuration groups logged as hyper-parameters."""
NOT_COMPARED = (
    *("root", "image", "mask", "labels", "optional_masks", "exclude", "groups", "classes", "ignore", "threshold", "channels"),
    *("num_classes", "cache", "max_pixels", "num_workers"),
)
"""Keys of the data section that describe files or the machine and are not logged."""


def logged_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the logged settings by dotted key, as numbers or short texts; `model: UNet` is the class of `_target_`."""
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
    for key, value in flatten_as_text(compared | ({"data": data} if data else {})).items():
        if key.endswith("._target_"):
            row[key.removesuffix("._target_")] = str(value).rpartition(".")[2]
        elif not key.endswith("._partial_"):
            row[key.removesuffix(".transforms")] = value
    return row


def flatten_as_text(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key; numbers stay, other values become text, None and [] "none"."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten_as_text(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, int | float) and not isinstance(value, bool) else _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(each, dict) and "name" in each for each in value):
        return ", ".join(str(each["name"]) for each in value)
    return str(value).lower() if isinstance(value, bool) else "none" if value in (None, []) else str(value)


MLFLOW_STORE = os.environ.get("MLFLOW_TRACKING_URI")
"""The user's MLflow store; read at import, because MLflow later sets the variable to the store of each run."""


class MlflowLogger(pl.loggers.MLFlowLogger):
    """MLflow logger that rewrites names MLflow cannot store: `val/dice/liver` becomes `val/dice.liver`."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log under the rewritten names."""
        super().log_metrics({mlflow_name(name): value for name, value in metrics.items()}, step)


def mlflow(given: dict[str, Any], directory: Path) -> Any:
    """Return an MLflow logger, by default with a store in the run directory; `given` overrides its arguments.

    Raises:
        ConfigError: MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # otherwise MLflow requires a database
    place = MLFLOW_STORE or (directory / "mlflow").resolve().as_uri()
    return _made(MlflowLogger, "mlflow", {"tracking_uri": place, "run_name": directory.name, **given})


def wandb(given: dict[str, Any], directory: Path) -> Any:
    """Return a Weights & Biases logger, by default offline in the run directory; `given` overrides its arguments.

    Raises:
        ConfigError: wandb is not installed.
    """
    close_wandb()  # left open by a failed job of the same study
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_CONSOLE", "off")  # do not capture the terminal
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    defaults = {"save_dir": str(directory), "name": directory.name, "offline": True}
    made = _made(pl.loggers.WandbLogger, "wandb", defaults | given)
    if made._wandb_init.get("anonymous") is None:
        made._wandb_init.pop("anonymous", None)  # always passed by Lightning, deprecated in wandb
    return made


def close_wandb() -> None:
    """Finish the active Weights & Biases run; otherwise the next run of this process would be appended to it."""
    if (package := sys.modules.get("wandb")) is not None and package.run is not None:
        package.finish()


def mlflow_name(name: str) -> str:
    """Return a score name with at most one slash and without characters that MLflow rejects."""
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
    """Return the loggers of a run; by default they write to the run directory.

    Args:
        chosen: enabled loggers; a mapping holds the arguments of a logger.
        directory: of the run.
        spec: the class names, for the charts.

    Raises:
        ConfigError: the package of a logger is not installed.
    """
    _set_aside(directory / "csv" / "metrics.csv")
    loggers: list[Any] = [pl.loggers.CSVLogger(directory, name="csv", version="")]
    if chosen.tensorboard:
        board = BoardLogger(directory, name="tensorboard", version="", default_hp_metric=False)
        board.experiment.add_custom_scalars(scalar_layout(spec))
        loggers.append(board)
    if chosen.mlflow:
        loggers.append(mlflow(_arguments(chosen.mlflow), directory))
    if chosen.wandb:
        loggers.append(wandb(_arguments(chosen.wandb), directory))
    return loggers


def log_outcome(loggers: list[Any], config: TrainConfig, scores: dict[str, float], step: int) -> None:
    """Log the settings together with the scores of the best weights, for a table of runs.

    Args:
        loggers: of the finished run.
        config: of the run.
        scores: by "<split>/<score>"; logged as `hp/dice`, `hp/iou` (val), `hp/test_dice` and `hp/test_iou` (test).
        step: number of optimizer steps.
    """
    names = {
        f"{split}/{score}": f"hp/{prefix}{score}"
        for split, prefix in (("val", ""), ("test", "test_"))
        for score in ("dice", "iou")
    }
    final = {new: scores[old] for old, new in names.items() if np.isfinite(scores.get(old, np.nan))}
    row = logged_settings(config)
    for logger in loggers:
        if isinstance(logger, BoardLogger):
            logger.log_table(row, final, step)
        elif not isinstance(logger, pl.loggers.CSVLogger):
            logger.log_hyperparams(row)
            logger.log_metrics(final, step)
    close_wandb()


def _set_aside(file: Path) -> None:
    """Rename the metrics of a resumed run to metrics_1.csv, metrics_2.csv …; the logger would delete them."""
    if file.is_file():
        number = 1 + sum(1 for _ in file.parent.glob("metrics_*.csv"))
        file.rename(file.with_name(f"metrics_{number}.csv"))


def _arguments(chosen: Any) -> dict[str, Any]:
    return {key: value for key, value in chosen.items() if value is not None} if isinstance(chosen, dict) else {}
