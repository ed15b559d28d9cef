"""An explanation from start to end, as conf/explain.yaml describes it."""

import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segexp.api.calls import plain_values, short_traceback
from segexp.api.loading import checkpoint_files, device_for, load_members
from segexp.api.predict import truth_of
from segexp.config.schema import ExplainConfig
from segexp.config.validation import report, validate_section
from segexp.errors import ConfigError, DataError, listed, require_packages
from segexp.explainability.attribution import OF_LAYER, SIGNED
from segexp.explainability.explainer import Explainer, make_explainer
from segexp.explainability.folder import Asked, Folder, Report, Table, Writer, explain_folder, read_earlier
from segexp.explainability.regions import class_index
from segexp.inference.folder import Truth, progress
from segexp.inference.ground_truth import LayersReader, TruthReader
from segexp.inference.inputs import Earlier, Inventory, Job, refuse_masks, take_stock
from segexp.inference.out_of_distribution import Training
from segexp.inference.outputs import check_collisions, check_writable, pair_up, several
from segexp.inference.segmenter import Segmenter

SCORE = {"predicted": "the pixels predicted as it", "truth": "its true pixels"}


def say_what(inventories: Sequence[Inventory], asked: Asked, explainer: Explainer) -> None:
    """Print where the results will be, what is explained and of which images."""
    say_where(inventories)
    over = "all pixels" if explainer.whole else SCORE.get(asked.region, f"the box {asked.region}")
    _say(f"Network: {asked.checkpoint} ({', '.join(explainer.segmenter.spec.classes)})")
    kind = "speaks for and against" if asked.method in SIGNED else "speaks for"
    _say(f"Question: what {kind} {asked.target}, by {asked.method} ({asked.layer}), its score over {over}")
    for inventory in inventories:
        count = len(inventory.jobs)
        _say(f"Input: {inventory.input}, {count} image{'' if count == 1 else 's'}")
        for notice in inventory.notices:
            _say(f"  {notice}")


def say_how(outcome: Report, skipped: int, seconds: float, tables: Collection[Path]) -> None:
    """Print how many images were explained, where the maps lie, and which table says it of each."""
    done = f"; {skipped} done before (overwrite=true explains them again)" if skipped else ""
    _say(f"{outcome.done} picture{'' if outcome.done == 1 else 's'} explained in {seconds:.1f} s{done}")
    if outcome.inside:
        inside, share = np.mean(outcome.inside, axis=0)
        _say(
            f"Inside of the outlined pixels: {inside:.1%} of a map on average, where they are {share:.1%} of the image; "
            f"the highest value in {sum(outcome.hits)} of {len(outcome.hits)}"
        )
    for text, found in (("Nothing to explain", outcome.empty), ("To be known", outcome.noted)):
        if found:
            _say(f"{text} in {len(found)}: {listed(found, 4)}")
    if outcome.untrue:
        _say(f"{len(outcome.untrue)} without truth: {outcome.untrue[0]}")
    if tables:
        _say(f"Of each picture: {listed(tables, 3)}")


def failed(outcome: Report) -> DataError:
    """Return what names the images that could not be explained."""
    count = len(outcome.failures)
    reasons = listed((f"{name} ({reason})" for name, reason in outcome.failures.items()), 5)
    others = outcome.done + len(outcome.empty)
    total = count + others
    return DataError(
        f"{count} of {total} picture{'' if total == 1 else 's'} could not be explained: {reasons}",
        "All others were" if others else "",
        "Mend or remove what is named; the same command again does what is missing",
    )


def say_where(inventories: Sequence[Inventory]) -> None:
    """Print where the pictures are."""
    _say(f"Explanations: {listed(dict.fromkeys(inventory.output for inventory in inventories), 8)}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@short_traceback
def explain(checkpoint: Any, input: Any, output: Any, **keys: Any) -> Report:
    """Write heat maps of what in an image speaks for a class, and a table of where they point; what `segexp explain` does.

    Args:
        checkpoint: a run or a checkpoint.
        input: a folder of images at any depth, a file, or a list of them.
        output: the folder of the heat maps, or one for each input.
        keys: the other keys of the command: `method="occlusion"`, `target="liver"`, `region="truth"`, … See the key reference.

    Raises:
        CheckpointError: the checkpoint is missing, broken or foreign.
        ConfigError: a wrong key, or keys that do not go together; there is no such class or layer; Captum is not installed.
        DataError: no image in the input, an output that cannot be written; or, when all else is done, images that could not be
            explained.

    Example:
        >>> segexp.explain(run, "photos", output="why", method="gradcam++")
    """
    require_packages("captum", extra="explain", purpose="An explanation")
    values = plain_values({"checkpoint": checkpoint, "input": input, "output": output, **keys})
    config = validate_section(ExplainConfig, values)
    report(list(_together(config)))
    return explain_inputs(config)


def _together(config: ExplainConfig) -> Iterator[str]:
    """Yield a sentence for each key that does not go with the others."""
    method, box, region = config.method, config.box, config.region
    shown = list(box) if box is not None else None
    if config.layer != "auto" and method in ("integrated_gradients", "occlusion"):
        yield f"layer={config.layer} is of no use for method={method}, which looks at pixels. Leave it out"
    if config.steps != 32 and method != "integrated_gradients":
        yield f"steps={config.steps} is of no use for method={method}. Leave it out, or type method=integrated_gradients"
    if config.window is not None and method != "occlusion":
        yield f"window={config.window} is of no use for method={method}. Leave it out, or type method=occlusion"
    if box is None and region == "box":
        yield "region=box has no box. Type 'box=[top,left,bottom,right]' in pixels, such as 'box=[40,60,120,160]'"
    if box is not None and region not in (None, "box"):
        yield f"box={shown} and region={region} are two answers to one question. Leave one of them out"
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        yield f"box={shown} has no pixel. Its order is [top,left,bottom,right], and bottom and right are not in it"


def explain_inputs(config: ExplainConfig) -> Report:
    """Explain what a configuration names; print where the results are; return what came of it.

    Raises:
        CheckpointError: the checkpoint is missing, broken or foreign, or its network's code is.
        ConfigError: there is no such class or layer, several networks are named, outputs would be written over inputs.
        DataError: no image in the input, masks given as images, an output that cannot be written; or, when all else is done,
            images that could not be explained.
    """
    segmenter = load_one(config)
    target = class_index(config.target, segmenter.spec)
    explainer = make_explainer(segmenter, target, config.method, config.layer, config.steps, config.window)
    asked, training = question(config, explainer), Training.of(segmenter)
    inventories = take_all(config, segmenter)
    folders, skipped = work(inventories, asked, segmenter, config)
    check_collisions(inventories, {job: paths for each in folders for job, paths in _outputs(each).items()})
    if config.check:
        for inventory in inventories:
            refuse_masks(inventory.jobs, training)
    for output in {inventory.output for inventory in inventories}:
        check_writable(output)
    say_what(inventories, asked, explainer)
    outcome, started = Report(), time.monotonic()
    try:
        with progress(sum(len(folder.items) for folder in folders), "Explaining") as step:
            for folder in folders:
                explain_folder(folder, explainer, config.box, training, outcome, step)
    finally:
        tables = dict.fromkeys(path for folder in folders if (path := folder.table.write()))
        say_how(outcome, skipped, time.monotonic() - started, tables)
        say_where(inventories)
    if outcome.failures:
        raise failed(outcome)
    return outcome


def load_one(config: ExplainConfig) -> Segmenter:
    """Return the segmenter that is explained.

    Raises:
        ConfigError: several are named.
        CheckpointError: it is missing, broken or foreign, or was exported.
        DeviceError: GPUs that are not there.
    """
    files = checkpoint_files(several(config.checkpoint), exported=False)
    if len(files) > 1:
        raise ConfigError(
            f"checkpoint names {len(files)} networks", "One network is explained at a time", f"Type checkpoint={files[0]}"
        )
    (segmenter,) = load_members(files, device_for(files, config.gpus), config.trust, config.model.prune_to)
    if config.max_pixels is not None:
        segmenter.max_pixels = config.max_pixels or None
    return segmenter


def question(config: ExplainConfig, explainer: Explainer) -> Asked:
    """Return what is asked about every image."""
    layer = f"layer {explainer.layer.name}" if explainer.layer else ""
    if config.method not in OF_LAYER:
        steps, window = f"{config.steps} steps", f"window {config.window or 'auto'}"
        layer = steps if config.method == "integrated_gradients" else window
    region = ",".join(map(str, config.box)) if config.box else config.region or "predicted"
    name = explainer.segmenter.spec.classes[explainer.target]
    return Asked(name, config.method, layer, region, str(explainer.segmenter.origin.file))


def take_all(config: ExplainConfig, segmenter: Segmenter) -> list[Inventory]:
    """Return what each input holds, less what earlier runs wrote."""
    pairs = pair_up(several(config.input), several(config.output))
    outputs = {output.resolve() for _, output in pairs}
    written = {(folder / row["picture"]).resolve() for folder in outputs for row in read_earlier(folder).values()}
    earlier = Earlier("", frozenset(outputs), frozenset(written))
    return [
        take_stock(given, output, segmenter.spec.channels, segmenter.origin.config.data, earlier) for given, output in pairs
    ]


def work(
    inventories: Sequence[Inventory], asked: Asked, segmenter: Segmenter, config: ExplainConfig
) -> tuple[list[Folder], int]:
    """Return what is to be done for each input, and how many pictures are done already.

    Raises:
        ConfigError: true pixels are asked about, and no true mask is found.
    """
    tables: dict[Path, Table] = {}
    folders, skipped = [], 0
    for inventory in inventories:
        here = inventory.output.resolve()
        table = tables.setdefault(here, Table(inventory.output, asked, read_earlier(inventory.output)))
        writer = Writer(inventory.output, segmenter.spec, asked, config.values)
        everything = [(job, source) for job in inventory.jobs for source in job.sources]
        items = tuple(item for item in everything if config.overwrite or not _done(table, writer, *item))
        skipped += len(everything) - len(items)
        truth = truth_of(inventory, config.truth, segmenter.origin.config.data, wanted=True)
        if asked.region == "truth":
            _check_known(truth, inventory)
        folders.append(Folder(items, writer, table, truth))
    return folders, skipped


def _done(table: Table, writer: Writer, job: Job, source: Any) -> bool:
    """Say whether a picture was explained just so, and all that is asked for is there."""
    row = table.done(job.label(source))
    return row is not None and (
        not row["picture"] or all((writer.folder / file).is_file() for file in writer.files(job, source))
    )


def _check_known(truth: Truth, inventory: Inventory) -> None:
    if isinstance(truth, TruthReader | LayersReader) and not truth.files:
        raise ConfigError(
            f"region=truth asks about true pixels, and no true mask lies beside the images of {inventory.input}",
            "Masks with the names of the images, or an ending such as _mask more, were expected",
            "Type truth=DIR or 'truth=\"DIR/{id}_mask.png\"'; or region=predicted",
        )


def _outputs(folder: Folder) -> dict[Job, list[Path]]:
    found: dict[Job, list[Path]] = {}
    for job, source in folder.items:
        found.setdefault(job, []).extend(folder.writer.folder / name for name in folder.writer.files(job, source))
    return found
