"""A prediction from start to end, as conf/predict.yaml describes it."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segexp.api.loading import checkpoint_files, device_for, load_members, make_predictor
from segexp.data.labels.multilabel import OverlappingTable, label_table
from segexp.inference.folder import Folder, Report, Truth, predict_folder, progress
from segexp.inference.ground_truth import LayersReader, TruthReader, find_layers, find_truth
from segexp.inference.inputs import Earlier, Inventory, Job, refuse_masks, take_stock
from segexp.inference.out_of_distribution import Training
from segexp.inference.outputs import Wanted, Writer, check_collisions, check_writable, pair_up, several
from segexp.inference.predictor import Predictor
from segexp.inference.review import Review, masks_in, read_earlier
from segexp.inference.summary import failed, say_how, say_what, say_where
from segexp.types import DataSpec


def predict(config: Mapping[str, Any]) -> Report:
    """Predict as `conf/predict.yaml` says; print where the results are; return what came of it.

    Raises:
        CheckpointError: a checkpoint is missing, broken or foreign, or its network's code is.
        ConfigError: outputs would be written over inputs or each other, or members of an ensemble do not fit together.
        DataError: no image in the input, masks given as images, an output that cannot be written; or, when all else is done,
            images that could not be predicted.
    """
    files = checkpoint_files(several(config["checkpoint"]))
    device = device_for(files, config["gpus"])
    predictor = make_predictor(load_members(files, device, config["trust"], **config["model"]), config)
    training, wanted = Training.of(predictor.members[0]), wanted_files(config, predictor.spec)
    inventories = take_all(config, predictor)
    check_collisions(inventories, {job: paths for each in inventories for job, paths in _outputs(each, wanted).items()})
    if config["check"]:
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


def wanted_files(config: Mapping[str, Any], spec: DataSpec) -> Wanted:
    """Return which files a configuration asks for."""
    kinds = {False: None, True: "npz"}
    keys = ("suffix", "overlay", "labels", "panel", "uncertainty")
    probabilities: Any = kinds.get(config["probabilities"], config["probabilities"])
    layers = spec.classes[1:] if spec.overlapping else ()
    return Wanted(**{key: config[key] for key in keys}, probabilities=probabilities, layers=layers)


def take_all(config: Mapping[str, Any], predictor: Predictor) -> list[Inventory]:
    """Return what each input holds, less what earlier runs wrote."""
    data: Any = predictor.members[0].facts["config"]
    pairs = pair_up(several(config["input"]), several(config["output"]))
    outputs = {output.resolve() for _, output in pairs}
    masks = {(folder / name).resolve() for folder in outputs for name in masks_in(read_earlier(folder).values())}
    earlier = Earlier(config["suffix"], frozenset(outputs), frozenset(masks))
    return [take_stock(given, output, predictor.spec.channels, data["data"], earlier) for given, output in pairs]


def work(
    inventories: Sequence[Inventory], wanted: Wanted, predictor: Predictor, config: Mapping[str, Any]
) -> tuple[list[Folder], int]:
    """Return what is to be done for each input, and how many images have all their outputs already."""
    data: Any = predictor.members[0].facts["config"]
    reviews: dict[Path, Review] = {}
    folders, skipped = [], 0
    for inventory in inventories:
        writer = Writer(inventory.output, wanted, predictor.spec)
        jobs = tuple(job for job in inventory.jobs if config["overwrite"] or not writer.done(job))
        skipped += len(inventory.jobs) - len(jobs)
        here = inventory.output.resolve()
        if here not in reviews:
            reviews[here] = Review(inventory.output, predictor.spec, read_earlier(inventory.output))
        folders.append(Folder(jobs, writer, reviews[here], truth_of(inventory, config, data["data"])))
    return folders, skipped


def truth_of(inventory: Inventory, config: Mapping[str, Any], data: Mapping[str, Any]) -> Truth:
    """Return what reads the true masks of an input for its panels, by the class table of the network's own data."""
    table = label_table(data)
    if isinstance(table, OverlappingTable):
        return LayersReader(table, find_layers(inventory, config["truth"], data) if config["panel"] else {})
    return TruthReader(table, find_truth(inventory, config["truth"]) if config["panel"] else {})


def _outputs(inventory: Inventory, wanted: Wanted) -> dict[Job, list[Path]]:
    return {job: [inventory.output / name for name in wanted.files(job)] for job in inventory.jobs}
