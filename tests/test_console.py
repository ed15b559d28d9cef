import logging
import warnings

import pytest

from segexp.console import silence_libraries

NAMES = ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda")


@pytest.fixture(autouse=True)
def before():
    """Filters and levels as they were."""
    loggers = [logging.getLogger(name) for name in NAMES]
    saved = [(logger.level, logger.filters[:]) for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silence_libraries()
        yield
    for logger, (level, filters) in zip(loggers, saved, strict=True):
        logger.setLevel(level)
        logger.filters[:] = filters


def heard(caplog, name, level, text):
    caplog.clear()
    logging.getLogger(name).log(level, text)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("text", ["Tip: try litlogger", "install litmodels", "use `LitLogger`"])
def test_advertisements_are_dropped_whatever_their_level(caplog, text):
    assert heard(caplog, "pytorch_lightning.utilities.rank_zero", logging.ERROR, text) == []


@pytest.mark.parametrize("name", NAMES)
def test_chatter_is_dropped_and_warnings_stay(caplog, name):
    assert heard(caplog, name, logging.INFO, "GPU available: False, used: False") == []
    assert heard(caplog, name, logging.WARNING, "the disk is full") == ["the disk is full"]


def test_other_loggers_are_left_alone(caplog):
    caplog.set_level(logging.INFO)
    assert heard(caplog, "segexp.data", logging.INFO, "litlogger is a word") == ["litlogger is a word"]


def test_calling_it_again_changes_nothing():
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    count = len(logger.filters)
    silence_libraries()
    assert len(logger.filters) == count


@pytest.mark.parametrize(
    "text",
    [
        "The 'val_dataloader' does not have many workers which may be a bottleneck.",
        "Checkpoint directory /runs/x exists and is not empty.",
        "Experiment logs directory /runs/x/csv exists and is not empty.",
        "The `srun` command is available on your system but is not used.",
        "The number of training batches (3) is smaller than the logging interval",
        "`training_step` returned `None`. If this was on purpose, ignore this warning...",
        "GPU available but not used. You can set it by doing `Trainer(accelerator='gpu')`.",
    ],
)
def test_warnings_that_nobody_can_act_on_are_silent(text):
    warnings.warn(text, UserWarning, stacklevel=1)


def test_other_warnings_are_heard():
    with pytest.raises(UserWarning, match="loss is NaN"):
        warnings.warn("the loss is NaN", UserWarning, stacklevel=1)
