"""Terminal detection, and suppression of third-party messages."""

import logging
import os
import sys
import warnings


class _Advertisement(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Drop Lightning's recommendations of other products."""
        text = record.getMessage()
        return not any(word in text for word in ("litlogger", "litmodels", "LitLogger"))


def silence_libraries() -> None:
    """Suppress third-party warnings that users cannot act on."""
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    if not any(isinstance(f, _Advertisement) for f in logger.filters):
        logger.addFilter(_Advertisement())
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for pattern in (
        r".*LeafSpec.*",
        r".*`srun` command is available.*",
        r".*does not have many workers.*",
        r".*(Checkpoint|Experiment logs) directory .* exists and is not empty.*",
        r".*GPU available but not used.*",
        r".*number of training batches.*",
        r".*`training_step` returned `None`.*",
    ):
        warnings.filterwarnings("ignore", message=pattern)


def is_terminal() -> bool:
    """Return whether a progress bar can be drawn; notebooks would show the control characters as text."""
    return sys.stdout.isatty() and "JPY_PARENT_PID" not in os.environ
