"""MLflow and Weights & Biases: optional packages, offline and silent unless told otherwise."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from segexp.errors import ConfigError

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
