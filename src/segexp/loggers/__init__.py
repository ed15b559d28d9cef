"""Where scores are written while training runs: CSV always, TensorBoard, MLflow and Weights & Biases by config."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from segexp.loggers import trackers
from segexp.loggers.board import Board, charts
from segexp.loggers.settings import settings
from segexp.types import DataSpec


def make_loggers(chosen: dict[str, Any], directory: Path, spec: DataSpec) -> list[Any]:
    """Return the loggers of a run; each writes below the run directory, unless its arguments say otherwise.

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
        board = Board(directory, name="tensorboard", version="", default_hp_metric=False)
        board.experiment.add_custom_scalars(charts(spec))
        loggers.append(board)
    if chosen.get("mlflow"):
        loggers.append(trackers.mlflow(_arguments(chosen["mlflow"]), directory))
    if chosen.get("wandb"):
        loggers.append(trackers.wandb(_arguments(chosen["wandb"]), directory))
    return loggers


def log_outcome(loggers: list[Any], config: dict[str, Any], scores: dict[str, float], step: int) -> None:
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
    trackers.close_wandb()


def _set_aside(file: Path) -> None:
    """Keep the curves of before a resume as metrics_1.csv, metrics_2.csv …: the logger would delete them."""
    if file.is_file():
        number = 1 + sum(1 for _ in file.parent.glob("metrics_*.csv"))
        file.rename(file.with_name(f"metrics_{number}.csv"))


def _arguments(chosen: Any) -> dict[str, Any]:
    return {key: value for key, value in chosen.items() if value is not None} if isinstance(chosen, dict) else {}
