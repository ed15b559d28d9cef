"""Explain predictions of a trained network by heat maps."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from segexp.api.calls import plain_values, short_traceback
from segexp.api.loading import checkpoint_files, device_for, load_members
from segexp.api.predict import make_truth_reader
from segexp.config.overrides import shell_words
from segexp.config.schema import ExplainConfig
from segexp.config.validation import report, validate_section
from segexp.deployment.metadata import file_digest
from segexp.errors import ConfigError, DataError, listed, pluralise, require_packages
from segexp.explainability.attribution import OF_LAYER, SIGNED
from segexp.explainability.explainer import Explainer, make_explainer
from segexp.explainability.folder import (
    ExplainFolder,
    ExplainReport,
    ExplanationRequest,
    ExplanationTable,
    ExplanationWriter,
    explain_folder,
    read_earlier,
)
from segexp.explainability.regions import class_index
from segexp.inference.folder_runner import FolderTask, Truth, run_folders
from segexp.inference.ground_truth import LayersReader, TruthReader
from segexp.inference.inputs import Inventory, Job
from segexp.inference.out_of_distribution import TrainingStats
from segexp.inference.outputs import as_list
from segexp.inference.segmenter import Segmenter
from segexp.inference.shared_run import SharedRun
from segexp.types import Source

SCORE = {"predicted": "the pixels predicted as it", "truth": "its true pixels"}


@short_traceback
def explain(checkpoint: Any, input: Any, output: Any, **keys: Any) -> ExplainReport:
    """Write heat maps of the evidence for a class, and a table of where they point, as `segexp explain` does.

    Args:
        checkpoint: a run or a checkpoint.
        input: a folder of images at any depth, a file, or a list of them.
        output: the folder of the heat maps, or one for each input.
        keys: the other keys of the command: `method="occlusion"`, `target="liver"`, `region="truth"`, … See the key reference.

    Raises:
        CheckpointError: the checkpoint is missing, broken or untrusted.
        ConfigError: a wrong key, contradictory keys, an unknown class or layer, or Captum is not installed.
        DataError: no image in the input, or an output that cannot be written; or, after all others, images that failed.

    Example:
        >>> segexp.explain(run, "photos", output="why", method="gradcam++")
    """
    require_packages("captum", extra="explain", purpose="An explanation")
    values = plain_values({"checkpoint": checkpoint, "input": input, "output": output, **keys})
    config = validate_section(ExplainConfig, values)
    report(list(_key_conflicts(config)))
    return explain_inputs(config)


def _key_conflicts(config: ExplainConfig) -> Iterator[str]:
    """Yield a message for each contradictory key."""
    method, box, region = config.method, config.box, config.region
    shown = list(box) if box is not None else None
    if config.layer != "auto" and method in ("integrated_gradients", "occlusion"):
        yield f"layer={config.layer} is of no use for method={method}, which looks at pixels. Leave it out"
    if config.steps != 32 and method != "integrated_gradients":
        yield f"steps={config.steps} is of no use for method={method}. Leave it out, or type method=integrated_gradients"
    if config.window is not None and method != "occlusion":
        yield f"window={config.window} is of no use for method={method}. Leave it out, or type method=occlusion"
    if box is None and region == "box":
        yield "region=box has no box. Type for example 'box=[40,60,120,160]' for top, left, bottom and right in pixels"
    if box is not None and region not in (None, "box"):
        yield f"box={shown} and region={region} are two answers to one question. Leave one of them out"
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        yield f"box={shown} has no pixel. Its order is [top,left,bottom,right], and bottom and right are not in it"


def explain_inputs(config: ExplainConfig) -> ExplainReport:
    """Explain the inputs of a configuration; print where the results are.

    Raises:
        CheckpointError: the checkpoint is missing, broken or untrusted.
        ConfigError: an unknown class or layer, several networks, or outputs that would overwrite inputs.
        DataError: no image in the input, masks given as images, or an output that cannot be written; or, after all others,
            images that failed.
    """
    segmenter = load_single(config)
    target = class_index(config.target, segmenter.spec)
    explainer = make_explainer(segmenter, target, config.method, config.layer, config.steps, config.window)
    task = ExplainTask(config, explainer)
    run_folders(task, config.input, config.output, task.training, segmenter.origin.config.data, check=config.check)
    return task.report


class ExplainTask(FolderTask[ExplainFolder]):
    """A heat map of every image, and a table; `report` holds the results so far."""

    outputs_are = "Explanations"
    doing = "Explaining"
    command = "explain"

    def __init__(self, config: ExplainConfig, explainer: Explainer) -> None:
        super().__init__(config.overwrite)
        self.config, self.explainer, self.segmenter = config, explainer, explainer.segmenter
        self.asked, self.training = question(config, explainer), TrainingStats.of(explainer.segmenter)
        self.scope = f"{self.asked.method} {self.asked.target}"
        self.report, self.skipped = ExplainReport(), 0
        self._tables: dict[Path, ExplanationTable] = {}

    def earlier_outputs(self, folder: Path) -> Iterable[str]:
        """Return the heat maps listed in the table of a folder."""
        return [row["picture"] for row in read_earlier(folder).values()]

    def prepare(self, inventory: Inventory) -> ExplainFolder:
        """Return all images of an input.

        Raises:
            ConfigError: region=truth without true masks.
        """
        output = inventory.output
        table = self._tables.setdefault(output.resolve(), ExplanationTable(output, self.asked))
        writer = ExplanationWriter(output, self.segmenter.spec, self.asked, self.config.values)
        items = {job: job.sources for job in inventory.jobs}
        truth = make_truth_reader(inventory, self.config.truth, self.segmenter.origin.config.data, wanted=True)
        if self.asked.region == "truth":
            _check_known(truth, inventory)
        return ExplainFolder(items, writer, table, truth)

    def settings(self) -> Mapping[str, str]:
        """Return what determines the maps, and which files are written."""
        return {**asdict(self.asked), "values": str(self.config.values), "overwrite": str(self.overwrite)}

    def begin(self, folder: ExplainFolder, shared: SharedRun) -> ExplainFolder:
        """Return the images that are not explained yet.

        Raises:
            DataError: the table cannot be written.
        """
        again = [job for job in folder.items if self.overwrite and job.image not in shared.claimed]
        with shared.locked():
            folder.table.begin([job.label(source) for job in again for source in job.sources])
        left = {
            job: tuple(source for source in sources if not _done(folder.table, folder.writer, job, source))
            for job, sources in folder.items.items()
        }
        self.skipped += sum(len(folder.items[job]) - len(sources) for job, sources in left.items())
        return replace(folder, items={job: sources for job, sources in left.items() if sources}, shared=shared)

    def jobs(self, folder: ExplainFolder) -> Sequence[Job]:
        """Return the files with images to explain."""
        return list(folder.items)

    def outputs(self, inventory: Inventory, folder: ExplainFolder) -> Mapping[Job, Sequence[Path]]:
        """Return the output files of every image."""
        writer = folder.writer
        return {
            job: [writer.folder / name for source in sources for name in writer.files(job, source)]
            for job, sources in folder.items.items()
        }

    def count(self, folder: ExplainFolder) -> int:
        """Return the number of images to explain."""
        return sum(map(len, folder.items.values()))

    def introduction(self) -> Iterator[str]:
        """Yield a description of network and question."""
        asked = self.asked
        over = "all pixels" if self.explainer.whole else SCORE.get(asked.region, f"the box {asked.region}")
        kind = "speaks for and against" if asked.method in SIGNED else "speaks for"
        yield f"Network: {self.segmenter.origin.file} ({', '.join(self.segmenter.spec.classes)})"
        yield f"Question: what {kind} {asked.target}, by {asked.method} ({asked.layer}), its score over {over}"

    def run(self, folder: ExplainFolder, jobs: Iterable[Job], step: Callable[[], None]) -> None:
        """Explain images of a folder."""
        explain_folder(folder, self.explainer, self.config.box, self.training, self.report, jobs, step)

    def add_failure(self, job: Job, reason: str) -> None:
        """Note that another process could not explain a file."""
        self.report.failures.setdefault(job.image, reason)

    def write_table(self, folder: ExplainFolder) -> Path | None:
        """Write the rows of all processes in order."""
        with folder.locked():
            return folder.table.write()

    def summary(self, seconds: float, tables: Collection[Path]) -> Iterator[str]:
        """Yield counts, statistics and where the results are."""
        report = self.report
        done = f"; {self.skipped} done before (overwrite=true explains them again)" if self.skipped else ""
        yield f"{pluralise(report.done, 'image')} explained in {seconds:.1f} s{self.by_others()}{done}"
        if report.inside:
            inside, share = np.mean(report.inside, axis=0)
            yield (
                f"Inside of the outlined pixels: {inside:.1%} of a map on average, where they are {share:.1%} of the image; "
                f"the highest value in {sum(report.hits)} of {len(report.hits)}"
            )
        for text, found in (("Nothing to explain", report.empty), ("Note", report.noted)):
            if found:
                yield f"{text} in {len(found)}: {listed(found, 4)}"
        if report.untrue:
            yield f"{len(report.untrue)} without truth: {report.untrue[0]}"
        if tables:
            yield f"Of each image: {listed(tables, 3)}"

    def problem(self) -> DataError | None:
        """Return an error that names the failed images, or None."""
        report, count = self.report, len(self.report.failures)
        if not count:
            return None
        reasons = listed((f"{name} ({reason})" for name, reason in report.failures.items()), 5)
        others = report.done + len(report.empty) + self.others.total()
        return DataError(
            f"{count} of {pluralise(count + others, 'image')} could not be explained: {reasons}",
            "All others were" if others else "",
            "Fix or remove these files; the same command then continues",
        )


def load_single(config: ExplainConfig) -> Segmenter:
    """Load the segmenter to explain.

    Raises:
        ConfigError: several are named.
        CheckpointError: it is missing, broken, untrusted or exported.
        DeviceError: missing GPUs.
    """
    files = checkpoint_files(as_list(config.checkpoint), exported=False)
    if len(files) > 1:
        raise ConfigError(
            f"checkpoint names {len(files)} networks",
            "One network is explained at a time",
            f"Type {shell_words({'checkpoint': files[0]})}",
        )
    (segmenter,) = load_members(files, device_for(files, config.gpus), config.trust, config.model.prune_to)
    if config.max_pixels is not None:
        segmenter.max_pixels = config.max_pixels or None
    return segmenter


def question(config: ExplainConfig, explainer: Explainer) -> ExplanationRequest:
    """Return the question asked about every image."""
    layer = f"layer {explainer.layer.name}" if explainer.layer else ""
    if config.method not in OF_LAYER:
        steps, window = f"{config.steps} steps", f"window {config.window or 'auto'}"
        layer = steps if config.method == "integrated_gradients" else window
    region = ",".join(map(str, config.box)) if config.box else config.region or "predicted"
    name = explainer.segmenter.spec.classes[explainer.target]
    file = explainer.segmenter.origin.file
    return ExplanationRequest(name, config.method, layer, region, f"{file} ({file_digest(file)[:12]})")


def _done(table: ExplanationTable, writer: ExplanationWriter, job: Job, source: Source) -> bool:
    """Return whether an image was explained with the same settings and all its outputs exist."""
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
