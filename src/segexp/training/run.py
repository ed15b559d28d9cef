"""A training run: train, score the best weights, and write the run directory."""

import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from segexp.atomic import sweep_parts
from segexp.checkpoint import check_resume, describe, load_segmenter
from segexp.checkpoint.content import stored_split
from segexp.checks.run import run_preflight_checks
from segexp.config.components import named_targets, needed_trust
from segexp.config.naming import TEACHER
from segexp.config.schema import Component, TrainConfig
from segexp.console import is_terminal, silence_libraries
from segexp.data.datamodule import SegmentationDataModule
from segexp.data.splits import write_split_csv
from segexp.data.statistics import DecodedCase
from segexp.devices import choose_devices, describe_device, deterministic
from segexp.evaluation.records import background_fact
from segexp.evaluation.run_info import write_run_info
from segexp.inference.postprocessing import Postprocessing
from segexp.interrupts import Interrupted, interruptible
from segexp.locking import is_main_process
from segexp.metrics.measures import Measure, check_spacings
from segexp.metrics.significance import Interval
from segexp.models.checkpointing import checkpointed_blocks
from segexp.reporting.regenerate import write_report_safely
from segexp.reporting.rendering import REPORT_FILE
from segexp.reporting.run_report import write_run_report
from segexp.training.artifacts import all_intervals, explain_split, format_scores, score_split, write_metrics, write_outcomes
from segexp.training.build import (
    Components,
    apply_class_weights,
    build_callbacks,
    build_components,
    build_datamodule,
    build_explainer,
    build_explanations,
    build_segmenter,
    build_trainer,
    with_teacher,
)
from segexp.training.callbacks.checkpoint import Checkpoints
from segexp.training.callbacks.progress import Speed
from segexp.training.distillation import load_teacher
from segexp.training.loggers import log_outcome, make_loggers
from segexp.training.pseudo_labels import add_pseudo_labels
from segexp.training.task import SegmentationTask
from segexp.training.tuner import load_cached_auto_values, resolve_auto_values


def run(config: TrainConfig, directory: Path, part_of: Path | None = None) -> dict[str, float]:
    """Train with a configuration and write the run directory.

    Args:
        config: validated; `resume` is the run directory to resume, or None.
        directory: the run directory.
        part_of: the outer run that trains this one first and is resumed after an interruption.

    Returns:
        The scores in `metrics.json`, by "<split>/<score>".

    Raises:
        SegexpError: any error that the user can fix.
        Interrupted: after Ctrl-C or SIGTERM; `checkpoints/last.ckpt` is complete.
    """
    silence_libraries()
    started = time.perf_counter()
    console = Console(soft_wrap=True, highlight=False)
    say: Callable[[str], None] = console.print if is_main_process() else (lambda _: None)
    say(f"Run directory: {directory}")
    if is_main_process():
        sweep_parts(directory)
        for draft in directory.glob(".part-*"):  # of `atomic_folder`, in a process that was killed
            shutil.rmtree(draft, ignore_errors=True)
    config = absolute_paths(config)
    if not (directory / "checkpoints" / "last.ckpt").is_file():
        config = config.updated({"resume": None})  # interrupted before the first step of this network
    with interruptible(), deterministic(config.trainer.deterministic):
        try:
            config = load_cached_auto_values(config, directory)
            components, teacher = build_components(config), load_teacher(config)
            before = stored_split(directory / "checkpoints" / "last.ckpt") if config.resume else None
            data = build_datamodule(config, _tracked(console), before)
            data.setup()
            run_preflight_checks(data, say, config.trainer.monitor)
            for split in ("val", "test"):
                check_spacings(components.measures, data.spacings(split), 1 + len(data.spec.foreground))
            if config.resume:
                check_resume(directory / "checkpoints" / "last.ckpt", config, data.spec, data.split_hash())
                for name in ("metrics.json", REPORT_FILE):  # they mark a finished run
                    (directory / name).unlink(missing_ok=True)
            if config.data.unlabeled:
                add_pseudo_labels(config, data, directory, partial(run, part_of=directory), say)
            write_split_csv(directory / "split.csv", data.split_rows())
            say(_describe_data(data))
            say(describe_network(config.model, components.network))
            config, components, weighed = apply_class_weights(config, components, data.fingerprint.class_share)
            components, taught = with_teacher(config, components, teacher, data)
            for said in filter(None, (weighed, taught)):
                say(said)
            config = resolve_auto_values(config, directory, data, components, say)
            loggers = make_loggers(config.logger, directory, data.spec)
            best, facts = _fit(config, directory, data, components, loggers, started)
            if not is_main_process():
                return {}
            if config.trainer.lightning_arguments.get("fast_dev_run"):
                say("A batch went through training and validation (fast_dev_run). No scores are written.")
                say(f"Run directory: {directory}")
                return {}
            scoring = time.perf_counter()
            scores, intervals = _score(config, directory, data, best, components.measures)
            log_outcome(loggers, config, scores, facts["steps"])
        except Interrupted:
            if part_of is None:
                say(_how_to_go_on(directory, needed_trust(config.plain())))
            raise
    facts |= {"seconds": round(facts["seconds"] + time.perf_counter() - scoring, 1), **background_fact(data.spec.background)}
    found = {"status": "finished", **facts}
    write_metrics(directory / "metrics.json", scores, found, intervals)  # written last: its existence marks a finished run
    page = write_report_safely(write_run_report, directory)
    say(_farewell(directory, format_scores(scores, intervals), config.trainer.monitor, facts["best_epoch"], page))
    return scores


def absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return the configuration with absolute paths, as required in checkpoints."""
    paths = {
        "data.root": config.data.root,
        "data.unlabeled": config.data.unlabeled,
        "data.pseudo.teacher": config.data.pseudo.teacher,
        "distill.teacher": config.distill.teacher if config.distill else None,
    }
    return config.updated({key: str(Path(path).resolve()) for key, path in paths.items() if path is not None})


def _fit(
    config: TrainConfig,
    directory: Path,
    data: SegmentationDataModule,
    components: Components,
    loggers: list[Any],
    started: float,
) -> tuple[Path, dict[str, Any]]:
    """Train; return the best checkpoint and facts about the training, among them the seconds since `started`."""
    segmenter = build_segmenter(config, components.network, data)
    found = data.fingerprint.as_dict()
    content = describe(
        *(config, data.spec, data.preprocessing, data.split_hash(), segmenter.precision, found), held_out=data.held_out()
    )
    if is_main_process():
        write_run_info(directory, content | {"device": describe_device(*choose_devices(config.trainer.gpus))})
    checkpoints = Checkpoints(directory / "checkpoints", f"val/{config.trainer.monitor}")
    task = SegmentationTask.from_components(config, components, segmenter, content)
    chosen = [*build_callbacks(config, components, checkpoints), *build_explanations(config, segmenter)]
    trainer = build_trainer(config, directory, chosen, loggers)
    speed = next(c for c in chosen if isinstance(c, Speed))
    speed.started = started
    resume = str(checkpoints.last_path) if config.resume else None
    try:
        trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
    except SystemExit as leaving:  # Lightning's reaction to a KeyboardInterrupt
        raise leaving.__context__ if isinstance(leaving.__context__, Interrupted) else leaving from None
    epochs: Any = trainer.fit_loop.epoch_progress.current  # trainer.current_epoch is one less if nothing was left to train
    return checkpoints.best_path, {
        "seconds": speed.elapsed,
        "best_epoch": checkpoints.best_epoch,
        "parameters": sum(p.numel() for p in components.network.parameters()),
        "epochs": epochs.processed,
        "steps": trainer.global_step,
        "images_per_second": round(speed.images_per_second, 3),
        "precision": segmenter.precision,
        "peak_memory_bytes": _peak_memory(),
    }


def _score(
    config: TrainConfig, directory: Path, data: SegmentationDataModule, best: Path, measures: list[Measure]
) -> tuple[dict[str, float], dict[str, Interval]]:
    """Score the best weights on val and test, write the results, and return means and intervals."""
    accelerator, _ = choose_devices(config.trainer.gpus)
    segmenter = load_segmenter(best, device=accelerator, trust=named_targets(config.model.plain()))
    segmenter.postprocessing = Postprocessing()  # a resumed run may have been tuned before
    outcomes = {
        split: score_split(segmenter, split, cases, data.scoring_set(split), config.callbacks.pictures, directory, measures)
        for split in ("val", "test")
        if (cases := data.cases_of(split))
    }
    if count := config.callbacks.explain:
        explain_split(build_explainer(config, segmenter), data.cases_of("val"), data.scoring_set("val"), count, directory)
    return write_outcomes(directory, outcomes, segmenter.spec.classes), all_intervals(outcomes)


def _tracked(console: Console) -> Any:
    def tracked(pictures: Iterator[DecodedCase], count: int) -> Iterator[DecodedCase]:
        shown = is_terminal() and count > 20
        yield from track(pictures, "Reading pictures", count, console=console, transient=True, disable=not shown)

    return tracked


def _describe_data(data: SegmentationDataModule) -> str:
    counts = {split: len(data.members(split)) for split in ("train", "val", "test")}
    split = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    share = ", ".join(f"{n} {s:.1%}" for n, s in zip(data.spec.classes, data.fingerprint.class_share, strict=True))
    told = "" if data.spec.background else "; no class is the background, every class counts in means"
    split += " images" + ", stratified by class" * data.stratified
    return f"Data: {data.spec.name}, {split}, {data.spec.channels} channel(s); training pixels: {share}{told}"


def describe_network(model: Component, network: torch.nn.Module) -> str:
    """Return a description of the network: class, number of parameters and pretrained weights."""
    arguments = model.arguments
    name = " ".join([model.target.rpartition(".")[2], *filter(None, [arguments.get("architecture")])])
    text = f"Network: {name}, {sum(p.numel() for p in network.parameters()) / 1e6:.3g} million parameters"
    if blocks := checkpointed_blocks(network):
        text += f"; the inner maps of {len(blocks)} blocks are computed again in the backward pass"
    if "weights" not in arguments:
        return text
    weights = arguments["weights"]
    start = {"none": "random weights", "imagenet": "weights learned on ImageNet"}.get(weights, "the weights of a file")
    return f"{text}; encoder {arguments.get('encoder')} starts from {start} (model.weights={weights})"


def _how_to_go_on(directory: Path, trust: str) -> str:
    again = f"python -m segexp.train 'resume={directory}'{f' {trust}' if trust else ''}"
    first, last = (folder / "checkpoints" / "last.ckpt" for folder in (directory / TEACHER, directory))
    if first.is_file() and not last.is_file():
        return (
            f"Interrupted before the first step of the network that learns from all images; {first} is the state of the one "
            f"that labels them. To go on: {again}"
        )
    if not last.is_file():
        return f"Interrupted before the first step; nothing to go on with in {directory}. Start again with the same command."
    return f"Interrupted. The state after the last complete epoch is in {last}. To go on: {again}"


def _farewell(directory: Path, scores: list[str], monitor: str, best_epoch: int | None, page: str) -> str:
    undefined = f"val/{monitor} was undefined (nan) in every epoch, so the last weights are kept as best.ckpt. Their scores:"
    lines = [
        f"Scores of the weights with the best val/{monitor}:" if best_epoch is not None else undefined,
        *scores,
        f"Run directory: {directory}",
        page,
        f"Pictures: {directory / 'pictures'}",
        f"TensorBoard: tensorboard --logdir {directory}",
    ]
    return "\n".join(lines)


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
