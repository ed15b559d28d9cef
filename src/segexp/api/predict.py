"""Predict masks for folders of images."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from segexp.api.calls import plain_values, short_traceback
from segexp.api.loading import checkpoint_files, device_for, heterogeneity_warning, load_members, make_predictor
from segexp.config.schema import DataConfig, PredictConfig
from segexp.config.validation import validate_section
from segexp.data.labels.multilabel import OverlappingTable, label_table
from segexp.deployment.metadata import file_digest
from segexp.errors import ConfigError, DataError, listed, pluralise
from segexp.inference.folder import PredictFolder, PredictReport, predict_folder
from segexp.inference.folder_runner import FolderTask, Truth, run_folders
from segexp.inference.ground_truth import LayersReader, TruthReader, find_layers, find_truth
from segexp.inference.inputs import Inventory, Job
from segexp.inference.out_of_distribution import TrainingStats
from segexp.inference.outputs import MaskWriter, OutputOptions, as_list
from segexp.inference.predictor import Predictor
from segexp.inference.review import UNRECORDED, Review, masks_in, read_earlier
from segexp.inference.shared_run import SharedRun
from segexp.types import DataSpec


@short_traceback
def predict(checkpoint: Any, input: Any, output: Any, **keys: Any) -> PredictReport:
    """Predict masks for folders of images, as `segexp predict` does.

    Args:
        checkpoint: a run, a checkpoint, an exported file or a study; several are an ensemble.
        input: a folder of images at any depth, a file, or a list of them.
        output: the folder of the masks, or one for each input.
        keys: the other keys of the command: `overlay=True`, `probabilities="npz"`, `tta="flips"`, … See the key reference.

    Returns:
        Numbers of predicted and flagged images, and the review files.

    Raises:
        CheckpointError: a checkpoint is missing, broken or untrusted.
        ConfigError: a wrong key, outputs that would overwrite inputs or each other, or members that do not fit together.
        DataError: no image in the input, masks given as images, or an output that cannot be written; or, after all others,
            images that failed.

    Example:
        >>> segexp.predict(run, "photos", output="masks", overlay=True)
    """
    values = plain_values({"checkpoint": checkpoint, "input": input, "output": output, **keys})
    config = validate_section(PredictConfig, values)
    if config.truth is not None and not config.panel:
        raise ConfigError("truth is shown in the panels alone. Type panel=true, or leave truth out.")
    return predict_inputs(config)


def predict_inputs(config: PredictConfig) -> PredictReport:
    """Predict the inputs of a configuration; print where the results are.

    Raises:
        SegexpError: see `predict`.
    """
    files = checkpoint_files(as_list(config.checkpoint))
    device = device_for(files, config.gpus)
    predictor = make_predictor(load_members(files, device, config.trust, config.model.prune_to), config)
    task = PredictTask(config, files, predictor)
    run_folders(task, config.input, config.output, task.training, task.data, suffix=config.suffix, check=config.check)
    return task.report


class PredictTask(FolderTask[PredictFolder]):
    """Masks and other outputs of every image; `report` holds the results so far."""

    outputs_are = "Masks"
    doing = "Predicting"
    command = "predict"

    def __init__(self, config: PredictConfig, files: Sequence[Path], predictor: Predictor) -> None:
        super().__init__(config.overwrite)
        self.config, self.files, self.predictor = config, files, predictor
        self.data: DataConfig = predictor.members[0].origin.config.data
        self.training = TrainingStats.of(predictor.members[0])
        self.wanted = output_options(config, predictor.spec)
        self.report, self.skipped = PredictReport(), 0
        self.made_by = mask_settings(config, files, predictor)
        self._reviews: dict[Path, Review] = {}

    def earlier_outputs(self, folder: Path) -> Iterable[str]:
        """Return the masks listed in the review of a folder."""
        return masks_in(read_earlier(folder).values())

    def prepare(self, inventory: Inventory) -> PredictFolder:
        """Return all jobs of an input.

        Raises:
            ConfigError: the networks were trained with different values of data.exif or, for volumes, data.orientation.
        """
        if len({member.origin.config.data.exif for member in self.predictor.members}) > 1:
            raise ConfigError(
                "Some of the networks were trained with data.exif=apply, the others with data.exif=ignore",
                "An ensemble sees the same pixels",
                "Predict with each network by itself, or train them with the same data.exif",
            )
        found = {str(member.origin.config.data.orientation or "stored"): member for member in self.predictor.members}
        if len(found) > 1 and any(job.volume for job in inventory.jobs):
            raise ConfigError(
                f"The networks were trained on volumes in different orientations: {', '.join(found)}",
                "An ensemble sees the same slices",
                "Predict volumes with each network by itself, or train them with the same data.orientation",
            )
        writer = MaskWriter(inventory.output, self.wanted, self.predictor.spec)
        review = Review(inventory.output, self.predictor.spec, settings=self.made_by)
        review = self._reviews.setdefault(inventory.output.resolve(), review)
        truth = make_truth_reader(inventory, self.config.truth, self.data, wanted=self.config.panel)
        return PredictFolder(inventory.jobs, writer, review, truth)

    def settings(self) -> Mapping[str, str]:
        """Return what determines the masks, and which files are written."""
        return {"settings": self.made_by, "overwrite": str(self.overwrite), "outputs": str(self.wanted)}

    def begin(self, folder: PredictFolder, shared: SharedRun) -> PredictFolder:
        """Return the jobs without complete outputs or without rows.

        Raises:
            ConfigError: masks in the folder are of other settings.
            DataError: the review cannot be written.
        """
        review = folder.review
        with shared.locked():
            review.load()
            if not self.overwrite:
                review.check_settings()
            again = [job for job in folder.jobs if self.overwrite and job.image not in shared.claimed]
            review.drop({job.label(source) for job in again for source in job.sources}, shared.claimed)
        jobs = tuple(job for job in folder.jobs if not (folder.writer.done(job) and review.lists(job, self.wanted.masks(job))))
        self.skipped += len(folder.jobs) - len(jobs)
        return replace(folder, jobs=jobs, shared=shared)

    def jobs(self, folder: PredictFolder) -> Sequence[Job]:
        """Return the jobs without complete outputs."""
        return folder.jobs

    def outputs(self, inventory: Inventory, folder: PredictFolder) -> Mapping[Job, Sequence[Path]]:
        """Return the output files of every job, including finished ones."""
        return {job: [inventory.output / name for name in self.wanted.files(job)] for job in inventory.jobs}

    def count(self, folder: PredictFolder) -> int:
        """Return the number of images, pages and slices to predict."""
        return sum(len(job.sources) for job in folder.jobs)

    def introduction(self) -> Iterator[str]:
        """Yield a description of the predictor."""
        predictor = self.predictor
        views = f", {predictor.views} views" if predictor.views > 1 else ""
        rule = "" if predictor.rule.is_identity else f"; post-processing: {predictor.rule}"
        yield f"Network: {listed(self.files, 3)} ({', '.join(predictor.spec.classes)}{views}{rule})"
        if note := heterogeneity_warning(self.files):
            yield note
        rows = [row for review in self._reviews.values() for row in review.rows.values()]
        if unrecorded := sum(row["settings"] == UNRECORDED for row in rows):
            yield f"{pluralise(unrecorded, 'mask')} of a version that did not record network and settings: kept as done"

    def run(self, folder: PredictFolder, jobs: Iterable[Job], step: Callable[[], None]) -> None:
        """Predict jobs of a folder."""
        predict_folder(folder, self.predictor, self.training, self.report, step, jobs)

    def add_failure(self, job: Job, reason: str) -> None:
        """Note that another process could not predict a file."""
        self.report.failures.setdefault(job, reason)

    def write_table(self, folder: PredictFolder) -> Path | None:
        """Write the rows of all processes in order."""
        with folder.shared.locked() if folder.shared else nullcontext():
            folder.review.load()
            return folder.review.write()

    def summary(self, seconds: float, tables: Collection[Path]) -> Iterator[str]:
        """Yield counts, speed and which images to review first."""
        report, pictures = self.report, self.report.pictures
        slices = f" ({pictures} pages and slices)" if any(job.pages is not None for job in report.written) else ""
        speed = f" ({pictures / max(seconds, 1e-9):.3g} a second)" if pictures else ""
        done = f"; {self.skipped} done before (overwrite=true predicts them again)" if self.skipped else ""
        yield f"{pluralise(report.done, 'image')} predicted{slices} in {seconds:.1f} s{speed}{self.by_others()}{done}"
        if report.flagged:
            yield f"{pluralise(report.flagged, 'image')} unlike the training images: look at the top of {listed(tables, 3)}"
        elif tables:
            yield f"What to look at first: {listed(tables, 3)}"
        if report.untrue:
            yield f"{pluralise(len(report.untrue), 'panel')} without truth: {report.untrue[0]}"

    def problem(self) -> DataError | None:
        """Return an error that names the failed images, or None."""
        report, count = self.report, len(self.report.failures)
        if not count:
            return None
        done = report.done + self.others.total()
        reasons = "; ".join(
            f"{job.image} ({reason.removeprefix(f'{job.file} ')})" for job, reason in list(report.failures.items())[:5]
        )
        more = f"; and {count - 5} more, at the top of the review" if count > 5 else ""
        return DataError(
            f"{count} of {pluralise(count + done, 'image')} could not be predicted: {reasons}{more}",
            "" if not done else "All others were",
            "Fix or remove these files; the same command then continues",
        )


def mask_settings(config: PredictConfig, files: Sequence[Path], predictor: Predictor) -> str:
    """Return what determines the masks of an image: the content of the networks' files, and the settings."""
    digest = hashlib.sha256("".join(sorted(map(file_digest, files))).encode()).hexdigest()[:12]
    further = {
        "tta": config.tta if config.tta != "none" else None,
        "post-processing": None if predictor.rule.is_identity else str(predictor.rule),
        "max_pixels": config.max_pixels,
        "prune_to": config.model.prune_to,
    }
    return "; ".join([f"network {digest}", *(f"{key} {value}" for key, value in further.items() if value is not None)])


def output_options(config: PredictConfig, spec: DataSpec) -> OutputOptions:
    """Return the output options of a configuration."""
    kind = "npz" if config.probabilities is True else config.probabilities or None
    return OutputOptions(
        suffix=config.suffix,
        overlay=config.overlay,
        labels=config.labels,
        panel=config.panel,
        uncertainty=config.uncertainty,
        probabilities=kind,
        layers=spec.classes[1:] if spec.overlapping else (),
    )


def make_truth_reader(inventory: Inventory, where: str | None, data: DataConfig, *, wanted: bool) -> Truth:
    """Return the reader of the true masks of an input, using the class table of the training data.

    `where` is a folder or pattern (None: next to the images); nothing is read unless `wanted`.
    """
    table = label_table(data)
    if isinstance(table, OverlappingTable):
        return LayersReader(table, find_layers(inventory, where, data) if wanted else {})
    return TruthReader(table, find_truth(inventory, where) if wanted else {})
