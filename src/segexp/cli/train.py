"""segexp train: train and score a network; with -m, a study."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segexp import __version__
from segexp.cli.hydra_app import Stopped, help_page, make_main, run_hydra, running_job
from segexp.config.composition import conf_dir, register_resolvers
from segexp.errors import SegexpError
from segexp.locking import is_main_process

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from segexp.config.composition import Job

# Jobs in other processes import this module and resolve their folder name before calling `task`.
register_resolvers()

HELP = """
Train a segmentation network, score it, and write a run directory.

  python -m segexp.train [key=value ...] [-m] [--config-dir MY_CONF]

Examples
  python -m segexp.train data=demo                                generated pictures, a U-Net
  python -m segexp.train model=unetpp data=liver data.root=DIR    your own images
  python -m segexp.train data=auto data.root=DIR trainer.minutes=10 trainer.gpus=1
  python -m segexp.train -m data=demo model=unet,unetpp loss=bce_dice,focal seed=1,2,3     a study of 12 runs
  python -m segexp.train resume=runs/liver/unet/DATE_TIME trainer.max_epochs=200    resume a run

  python -m segexp.train -m data=demo data.folds=5 'data.fold=range(5)'             a cross-validation, one study

Check the data first
  python -m segexp.check data=auto data.root=DIR fit=true

Main keys
{keys}

More
  trainer=debug             two short epochs, to test the setup
  optimizer.lr=1e-3         auto: by a range test
  --cfg job                 print the composed configuration instead of running
  -m                        each combination of the values a,b,c is one job; finished ones are skipped
  hydra/launcher=joblib     jobs of a study in parallel (pip install 'segexp[parallel]')
  model._target_=my_nets.Net model.width=32               your own class; see CONTRIBUTING.md for its requirements
  'loss.terms.dice.weight={0: 0.0, 50: 1.0}'              a weight that changes over the epochs; or {0%: 0.0, 50%: 1.0}
  distill=kd distill.teacher=RUN                          knowledge distillation from a trained network
  data.unlabeled=DIR        images without masks: pseudo-labels by a first network
  mix=classmix              mixing augmentation; or cutmix, mosaic
  trainer.swa=75%           average of the weights of the last quarter; trainer.ema=0.99: moving average
  trainer.freeze_encoder=5  epochs, or a share of the training; trainer.encoder_lr_scale=0.1
  loss.terms.ce.loss.class_weights=auto                   from the class frequencies
  --config-dir MY_CONF      your own options: MY_CONF/model/mine.yaml gives model=mine
  SEGEXP_DEBUG=1            tracebacks
"""


def task(config: "DictConfig") -> None:
    """Run one composed configuration; called by Hydra, once per job."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from segexp.cli.study import study_job

    job = running_job(config)
    (study_job if HydraConfig.get().mode == RunMode.MULTIRUN else single_job)(job)


def single_job(job: "Job") -> None:
    """Train a composed configuration in its run directory.

    Raises:
        Stopped: on any problem; the traceback of an unexpected exception is in the log of the run.
    """
    from segexp.api.train import start_run

    try:
        start_run(job)
    except Exception as error:
        if not isinstance(error, SegexpError | OSError):
            logging.getLogger("segexp").error("unexpected exception", exc_info=error)
            error.add_note(f"It is also in {job.directory / 'train.log'}.")
        raise Stopped(error) from error


def command(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    if {"--help", "-h"} & set(argv):
        folders = [conf_dir(), *_config_dirs(argv)]
        sys.stdout.write(f"{help_page(HELP, folders)}\n\nsegexp {__version__}\n")
        return 0
    if "--version" in argv:
        sys.stdout.write(f"segexp {__version__}\n")
        return 0
    from segexp.api.resume import check_trust, resume_command
    from segexp.cli.overrides import parse
    from segexp.cli.study import check_data_named, plan_study, wait_for_others
    from segexp.cli.summary import summarize

    line = parse(argv)
    if line.value("resume") is not None:
        typed, line = line, resume_command(line)
        check_trust(line, typed)
    if not line.multirun:
        run_hydra(task, line, "train")
        return 0
    study = plan_study(line)
    check_data_named(study)
    try:
        run_hydra(task, study.command, "train")
        while is_main_process() and wait_for_others(study):
            run_hydra(task, study.command, "train")
    finally:
        failed = summarize(study)
    return 1 if failed else 0


def _config_dirs(argv: Sequence[str]) -> list[Path]:
    places = [argv[n + 1] for n, word in enumerate(argv[:-1]) if word in ("--config-dir", "-cd")]
    places += [word.partition("=")[2] for word in argv if word.startswith("--config-dir=")]
    return [Path(place) for place in places]


main = make_main(command)
