"""The configuration that typed words give, as training sees it."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import open_dict

from segexp.api.train import resolve_data
from segexp.config.composition import compose, job_of
from segexp.config.experiment import fit_to_choices
from segexp.config.schema import TrainConfig
from segexp.config.validation import validate


def configured(words: Sequence[str]) -> TrainConfig:
    """Return the checked configuration of a training; nothing is written, and no image read where the layout is known.

    Args:
        words: as on the command line.

    Raises:
        SegexpError: a key is wrong, or the data are needed and missing.
    """
    config = compose("train", words, with_hydra=True)
    with open_dict(config):
        hydra = config.pop("hydra")
    job = job_of(config, hydra, Path())
    fit_to_choices(job.config, job.typed, job.choices, job.folders)
    values, _ = resolve_data(job)
    return validate(values)
