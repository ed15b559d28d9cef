"""What `auto` stands for: the batch size that the memory holds, the learning rate at which the loss falls.

Both are found by training itself, for a moment, on the run's own network, loss, optimizer and number format. The answers lie
in the run directory (`found.json`) and in its checkpoints, so that a resumed run goes on with them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from segexp.build import Parts
from segexp.config.auto import AUTO
from segexp.data.datamodule import SegmentationDataModule
from segexp.finding.batch_size import find_batch_size
from segexp.finding.kept import fill, keep
from segexp.finding.learning_rate import find_learning_rate

__all__ = ["fill", "settle"]


def settle(
    config: dict[str, Any], directory: Path, data: SegmentationDataModule, made: Parts, say: Callable[[str], None]
) -> None:
    """Replace each `auto` that is left in the config by what is found, keep it in the run directory, and say it.

    Args:
        config: resolved; `trainer.batch_size` and `optimizer.lr` become numbers.
        directory: of the run.
        data: set up; gets the batch size.
        made: what `build` returned for the config; not changed.
        say: takes a sentence.

    Raises:
        ConfigError: nothing is found; with what to type.
    """
    if config["trainer"]["batch_size"] == AUTO:
        say("trainer.batch_size=auto: looking for the largest batch whose training step the memory holds …")
        size, told = find_batch_size(config, data)
        keep(config, directory, "trainer.batch_size", size)
        say(told)
    data.batch_size = config["trainer"]["batch_size"]
    if config["optimizer"].get("lr") == AUTO:
        say("optimizer.lr=auto: trying learning rates from the smallest to the largest …")
        rate, told = find_learning_rate(config, data, made, directory)
        keep(config, directory, "optimizer.lr", rate)
        say(told)
