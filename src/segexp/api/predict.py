"""A prediction from start to end, as conf/predict.yaml describes it."""

import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from segexp.api.calls import plain_values, short_traceback
from segexp.api.loading import checkpoint_files, device_for, load_members, make_predictor, unlike
from segexp.config.schema import DataConfig, PredictConfig
from segexp.config.validation import validate_section
from segexp.data.labels.multilabel import OverlappingTable, label_table
from segexp.errors import ConfigError, DataError, listed
from segexp.inference.folder import Folder, Report, Truth, predict_folder, progress
from segexp.inference.ground_truth import LayersReader, TruthReader, find_layers, find_truth
from segexp.inference.inputs import Earlier, Inventory, Job, refuse_masks, take_stock
from segexp.inference.out_of_distribution import Training
from segexp.inference.outputs import Wanted, Writer, check_collisions, check_writable, pair_up, several
from segexp.inference.predictor import Predictor
from segexp.inference.review import Review, masks_in, read_earlier
from segexp.types import DataSpec


def say_what(inventories: Sequence[Inventory], files: Sequence[Path], predictor: Predictor) -> None:
    """Print where the results will be, what predicts and what is predicted."""
    say_where(inventories)
    views = f", {predictor.views} views" if predictor.views > 1 else ""
    rule = "" if predictor.rule.is_identity else f"; post-processing: {predictor.rule}"
    _say(f"Network: {listed(files, 3)} ({', '.join(predictor.spec.classes)}{views}{rule})")
    if note := unlike(files):
        _say(note)
    for inventory in inventories:
        _say(f"Input: {inventory.input}, {_count(len(inventory.jobs), 'image')}")
        for notice in inventory.notices:
            _say(f"  {notice}")


def say_how(outcome: Report, skipped: int, seconds: float, reviews: Collection[Path]) -> None:
    """Print how many images were predicted, how fast, and which file says what to look at first."""
    slices = f" ({outcome.pictures} pages and slices)" if outcome.pictures > outcome.done else ""
    speed = f" ({outcome.pictures / max(seconds, 1e-9):.3g} a second)" if outcome.pictures else ""
    done = f"; {skipped} done before (overwrite=true predicts them again)" if skipped else ""
    _say(f"{_count(outcome.done, 'image')} predicted{slices} in {seconds:.1f} s{speed}{done}")
    if outcome.flagged:
        _say(f"{_count(outcome.flagged, 'picture')} unlike the training images: look at the top of {listed(reviews, 3)}")
    elif reviews:
        _say(f"What to look at first: {listed(reviews, 3)}")
    if outcome.untrue:
        _say(f"{_count(len(outcome.untrue), 'panel')} without truth: {outcome.untrue[0]}")


def failed(outcome: Report) -> DataError:
    """Return what names the images that could not be predicted."""
    count = len(outcome.failures)
    reasons = "; ".join(
        f"{job.image} ({reason.removeprefix(f'{job.file} ')})" for job, reason in list(outcome.failures.items())[:5]
    )
    more = f"; and {count - 5} more, at the top of the review" if count > 5 else ""
    total = _count(count + outcome.done, "image")
    return DataError(
        f"{count} of {total} could not be predicted: {reasons}{more}",
        "" if not outcome.done else "All others were",
        "Mend or remove what is named; the same command again does what is missing",
    )


def say_where(inventories: Sequence[Inventory]) -> None:
    """Print where the masks are."""
    _say(f"Masks: {listed(dict.fromkeys(inventory.output for inventory in inventories), 8)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@short_traceback
def predict(checkpoint: Any, input: Any, output: Any, **keys: Any) -> Report:
    """Predict masks for folders of images, and print where they are; what `segexp predict` does.

    Args:
        checkpoint: a run, a checkpoint, an exported file or a study; several are an ensemble.
        input: a folder of images at any depth, a file, or a list of them.
        output: the folder of the masks, or one for each input.
        keys: the other keys of the command: `overlay=True`, `probabilities="npz"`, `tta="flips"`, … See the key reference.

    Returns:
        What came of it: how many images were predicted, which were flagged, and where the review lies.

    Raises:
        CheckpointError: a checkpoint is missing, broken or foreign.
        ConfigError: a wrong key; outputs would be written over inputs or each other; members of an ensemble do not fit.
        DataError: no image in the input, masks given as images, an output that cannot be written; or, when all else is done,
            images that could not be predicted.

    Example:
        >>> segexp.predict(run, "photos", output="masks", overlay=True)
    """
    values = plain_values({"checkpoint": checkpoint, "input": input, "output": output, **keys})
    config = validate_section(PredictConfig, values)
    if config.truth is not None and not config.panel:
        raise ConfigError("truth is shown in the panels alone. Type panel=true, or leave truth out.")
    return predict_inputs(config)


def predict_inputs(config: PredictConfig) -> Report:
    """Predict what a configuration names; print where the results are; return what came of it.

    Raises:
        CheckpointError: a checkpoint is missing, broken or foreign, or its network's code is.
        ConfigError: outputs would be written over inputs or each other, or members of an ensemble do not fit together.
        DataError: no image in the input, masks given as images, an output that cannot be written; or, when all else is done,
            images that could not be predicted.
    """
    files = checkpoint_files(several(config.checkpoint))
    device = device_for(files, config.gpus)
    predictor = make_predictor(load_members(files, device, config.trust, config.model.prune_to), config)
    training, wanted = Training.of(predictor.members[0]), wanted_files(config, predictor.spec)
    inventories = take_all(config, predictor)
    check_collisions(inventories, {job: paths for each in inventories for job, paths in _outputs(each, wanted).items()})
    if config.check:
        for inventory in inventories:
            refuse_masks(inventory.jobs, training)
    folders, skipped = work(inventories, wanted, predictor, config)
    for output in {inventory.output for inventory in inventories}:
        check_writable(output)
    say_what(inventories, files, predictor)
    outcome, started = Report(), time.monotonic()
    try:
        with progress(sum(len(job.sources) for folder in folders for job in folder.jobs)) as step:
            for folder in folders:
                predict_folder(folder, predictor, training, outcome, step)
    finally:
        reviews = dict.fromkeys(path for folder in folders if (path := folder.review.write()))
        say_how(outcome, skipped, time.monotonic() - started, reviews)
        say_where(inventories)
    if outcome.failures:
        raise failed(outcome)
    return outcome


def wanted_files(config: PredictConfig, spec: DataSpec) -> Wanted:
    """Return which files a configuration asks for."""
    kind = "npz" if config.probabilities is True else config.probabilities or None
    return Wanted(
        suffix=config.suffix,
        overlay=config.overlay,
        labels=config.labels,
        panel=config.panel,
        uncertainty=config.uncertainty,
        probabilities=kind,
        layers=spec.classes[1:] if spec.overlapping else (),
    )


def take_all(config: PredictConfig, predictor: Predictor) -> list[Inventory]:
    """Return what each input holds, less what earlier runs wrote."""
    data = predictor.members[0].origin.config.data
    pairs = pair_up(several(config.input), several(config.output))
    outputs = {output.resolve() for _, output in pairs}
    masks = {(folder / name).resolve() for folder in outputs for name in masks_in(read_earlier(folder).values())}
    earlier = Earlier(config.suffix, frozenset(outputs), frozenset(masks))
    return [take_stock(given, output, predictor.spec.channels, data, earlier) for given, output in pairs]


def work(
    inventories: Sequence[Inventory], wanted: Wanted, predictor: Predictor, config: PredictConfig
) -> tuple[list[Folder], int]:
    """Return what is to be done for each input, and how many images have all their outputs already."""
    data = predictor.members[0].origin.config.data
    reviews: dict[Path, Review] = {}
    folders, skipped = [], 0
    for inventory in inventories:
        writer = Writer(inventory.output, wanted, predictor.spec)
        jobs = tuple(job for job in inventory.jobs if config.overwrite or not writer.done(job))
        skipped += len(inventory.jobs) - len(jobs)
        here = inventory.output.resolve()
        if here not in reviews:
            reviews[here] = Review(inventory.output, predictor.spec, read_earlier(inventory.output))
        folders.append(Folder(jobs, writer, reviews[here], truth_of(inventory, config.truth, data, wanted=config.panel)))
    return folders, skipped


def truth_of(inventory: Inventory, where: str | None, data: DataConfig, *, wanted: bool) -> Truth:
    """Return what reads the true masks of an input, by the class table of the network's own data.

    Args:
        inventory: of the input.
        where: the folder of the masks or a pattern; None takes those beside the images.
        data: the data section of the run that trained the network.
        wanted: False knows none.
    """
    table = label_table(data)
    if isinstance(table, OverlappingTable):
        return LayersReader(table, find_layers(inventory, where, data) if wanted else {})
    return TruthReader(table, find_truth(inventory, where) if wanted else {})


def _outputs(inventory: Inventory, wanted: Wanted) -> dict[Job, list[Path]]:
    return {job: [inventory.output / name for name in wanted.files(job)] for job in inventory.jobs}
