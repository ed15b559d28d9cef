"""Score a trained network or an ensemble on its own splits or on other data."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp.api.calls import plain_values, short_traceback
from segexp.api.run import Scores, Table
from segexp.config.components import check_measures
from segexp.config.overrides import shell_words
from segexp.config.schema import Component, EvaluateConfig, TrainConfig
from segexp.config.validation import component_problems, report, validate_section
from segexp.errors import ConfigError
from segexp.locking import LOCK_FILE, WAIT, folder_lock

if TYPE_CHECKING:
    from segexp.data.dataset import ScoringCases
    from segexp.evaluation.scoring import Scorable
    from segexp.inference.segmenter import Segmenter
    from segexp.training.artifacts import SplitResult
    from segexp.types import Case

OTHER_DATA = {"root", "image", "mask"}
"""Keys of the data section that select other images than those of the run."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a network.

    Attributes:
        scores: by "<split>/<score>", or without the split.
        intervals: 95 % interval (low, high) of each mean, likewise.
        cases: a row per case and class, as in `cases.csv`.
        output: output folder, or None.
    """

    scores: Scores
    intervals: Scores = field(default_factory=lambda: Scores({}))
    cases: Table = field(default_factory=lambda: Table([], []))
    output: Path | None = None


@short_traceback
def evaluate(checkpoint: Any, **keys: Any) -> Evaluation:
    """Score a trained network or an ensemble, each case at its original size, as `segexp evaluate` does.

    Args:
        checkpoint: a run, a checkpoint, an exported file, a study, or a list of them (an ensemble).
        keys: the keys of the command: `split="train"`, `data={"root": DIR}`, `output=DIR`, `tune="postprocess"`,
            `metrics="lesion"`, … See the key reference.

    Raises:
        CheckpointError: the checkpoint is missing, broken or untrusted.
        ConfigError: a wrong key, other classes or channels than those of the checkpoint, or contradictory keys.
        DataError: the data do not match the configuration of the checkpoint, or differ from those of the run.

    Example:
        >>> segexp.evaluate(run, split="train").scores["dice"]
    """
    values = plain_values({"checkpoint": checkpoint, **keys})
    if isinstance(values.get("metrics"), str):
        values["metrics"] = measures_from_option(values["metrics"])
    report(list(component_problems("metrics", values)))
    return evaluate_checkpoint(validate_section(EvaluateConfig, values))


def measures_from_option(option: str) -> dict[str, Any]:
    """Return the components of an option of the group `metrics`.

    Raises:
        ConfigError: it does not exist.
    """
    from segexp.config.composition import compose, load_option, to_plain

    load_option("metrics", option)  # raises for unknown options
    return dict(to_plain(compose("evaluate", ["checkpoint=-", f"metrics={option}"])).get("metrics") or {})


def evaluate_checkpoint(config: EvaluateConfig) -> Evaluation:
    """Score, or tune the post-processing, as a configuration says; print the result.

    Raises:
        SegexpError: see `evaluate`.
    """
    from segexp.api.loading import checkpoint_files, device_for, heterogeneity_warning, load_members
    from segexp.checkpoint.splits import check_spec, merge_data_config, with_background
    from segexp.console import silence_libraries
    from segexp.evaluation.tune_postprocessing import check_tunable
    from segexp.inference.outputs import as_list

    named = as_list(config.checkpoint)
    if config.tune:
        check_single(named)
    files = checkpoint_files(named, exported=not config.tune)
    if config.tune:
        check_single(files)
        check_tunable(config.split, config.data, config.model.prune_to)
    elif config.output:
        check_not_a_run(Path(config.output))
    silence_libraries()
    with ExitStack() as stack:
        with suppress(OSError):  # of a folder that cannot be written, which is told where something is written
            if config.tune:
                stack.enter_context(folder_lock(run_of(files[0]), "run directory", WAIT))
            elif config.output:
                stack.enter_context(folder_lock(Path(config.output), "output folder"))
                stack.callback((Path(config.output) / LOCK_FILE).unlink, missing_ok=True)
        members = load_members(files, device_for(files, config.gpus), config.trust, config.model.prune_to)
        run = members[0].origin.config
        run = run.changed(data=merge_data_config(run.data, config.data))
        check_spec(run.data, members[0].spec)
        members = [with_background(member, run.data) for member in members]
        if len(members) > 1:
            sys.stdout.write(f"{note}\n" if (note := heterogeneity_warning(files)) else "")
            return score_ensemble(config, members, run)
        return (tune if config.tune else score)(config, members[0], run)


def check_not_a_run(output: Path) -> None:
    """Refuse to replace the scores, cases and report of a training.

    Raises:
        ConfigError: the output is a run directory.
    """
    if (output / ".hydra").is_dir() or (output / "checkpoints").is_dir():
        raise ConfigError(
            f"output={output} is the directory of a run, whose own scores, cases and report would be replaced",
            "A folder of its own was expected",
            f"Type {shell_words({'output': output / 'evaluation'})}",
        )


def run_of(checkpoint: Path) -> Path:
    """Return the run directory of a checkpoint file, or the folder that the file was copied to."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def score(config: EvaluateConfig, segmenter: "Segmenter", run: TrainConfig) -> Evaluation:
    """Score the chosen splits; `run` is the configuration of the run with the current data."""
    from segexp.checkpoint.splits import scoring_set, select_splits
    from segexp.data.layout.pairing import find_data_cases

    other = bool(OTHER_DATA & set(config.data))
    splits = select_splits(config.split, find_data_cases(run.data), run, segmenter.origin, other=other)
    prepared = {split: (cases, scoring_set(run.data, cases, segmenter)) for split, cases in splits.items()}
    outcomes = score_splits(config, segmenter, run, prepared)
    return report_scores(config, segmenter, outcomes, {"checkpoint": str(segmenter.origin.file)})


def score_ensemble(config: EvaluateConfig, members: "Sequence[Segmenter]", run: TrainConfig) -> Evaluation:
    """Score an ensemble: other data by all members, their own by those not trained on the case."""
    from segexp.data.layout.pairing import find_data_cases
    from segexp.evaluation.ensemble import Ensemble, assign_members, predict_members, score_members
    from segexp.inference.predictor import Predictor

    ensemble = Ensemble(Predictor(members).spec)  # raises if members do not fit together
    splits = assign_members(members, find_data_cases(run.data), run.data, config.split)
    sys.stdout.writelines(f"{split}: each case by {who.says}\n" for split, who in splits.items())
    prepared = {split: (who.cases, predict_members(run.data, who.cases, who.members)) for split, who in splits.items()}
    outcomes = score_splits(config, ensemble, run, prepared)
    background = ensemble.spec.background
    each = {
        split: score_members(split, outcomes[split].rows, cases.by_member(), background)
        for split, (_, cases) in prepared.items()
    }
    beside = {split: found for split, found in each.items() if found is not None}
    facts: dict[str, Any] = {"checkpoints": [str(member.origin.file) for member in members]}
    facts |= {"singles": {split: found.facts for split, found in beside.items()}} if beside else {}
    return report_scores(config, ensemble, outcomes, facts, [f"{split}: {found}" for split, found in beside.items()])


def score_splits(
    config: EvaluateConfig, segmenter: "Scorable", run: TrainConfig, splits: "Mapping[str, tuple[list[Case], ScoringCases]]"
) -> "dict[str, SplitResult]":
    """Score the cases of each split, with images if an output is given."""
    from segexp.inference.folder_runner import progress
    from segexp.inference.postprocessing import Postprocessing
    from segexp.training.artifacts import score_split
    from segexp.training.build import build_measures

    further = build_measures(chosen_measures(config, run), len(segmenter.spec.foreground))
    stored = segmenter.postprocessing
    if config.postprocess == "none":
        segmenter.postprocessing = Postprocessing()
    output = Path(config.output) if config.output else None
    pictures = config.pictures if output else 0
    if not stored.is_identity:
        use = "Without" if segmenter.postprocessing.is_identity else "With"
        sys.stdout.write(f"{use} the post-processing that is stored in the checkpoint: {stored}\n")
    with progress(sum(len(cases) for cases, _ in splits.values())) as advance:
        return {
            split: score_split(segmenter, split, cases, prepared, pictures, output, further, lambda _: advance())
            for split, (cases, prepared) in splits.items()
        }


def report_scores(
    config: EvaluateConfig,
    segmenter: "Scorable",
    outcomes: "Mapping[str, SplitResult]",
    origin: dict[str, Any],
    more: Sequence[str] = (),
) -> Evaluation:
    """Print the scores by split and further sentences, and write them, with their origin, if an output is given."""
    from segexp.evaluation.records import background_fact
    from segexp.reporting.regenerate import write_report_safely
    from segexp.reporting.run_report import write_run_report
    from segexp.training.artifacts import all_intervals, all_scores, format_scores, write_metrics, write_outcomes

    scores, intervals = all_scores(outcomes), all_intervals(outcomes)
    sys.stdout.write("\n".join([*format_scores(scores, intervals), *more]) + "\n")
    output = Path(config.output) if config.output else None
    if output:
        write_outcomes(output, outcomes, segmenter.spec.classes)
        facts = {**origin, "postprocessing": segmenter.postprocessing.as_dict(), **background_fact(segmenter.spec.background)}
        facts |= {key: value for key, value in config.model.plain().items() if value is not None}
        write_metrics(output / "metrics.json", scores, {"status": "evaluated", **facts}, intervals)
        sys.stdout.write(f"Scores, cases and pictures: {output}\n{write_report_safely(write_run_report, output)}\n")
    rows = [row for outcome in outcomes.values() for row in outcome.rows]
    table = Table(rows, list(rows[0]) if rows else [])
    ends = {name: (found.low, found.high) for name, found in intervals.items()}
    return Evaluation(Scores(scores), Scores(ends), table, output)


def chosen_measures(config: EvaluateConfig, run: TrainConfig) -> Mapping[str, Component]:
    """Return the typed measures, else those of the run, which must be known or trusted."""
    if config.metrics is not None:
        return config.metrics
    check_measures({name: component.plain() for name, component in run.metrics.items()}, config.trust)
    return run.metrics


def tune(config: EvaluateConfig, segmenter: "Segmenter", run: TrainConfig) -> Evaluation:
    """Choose the post-processing on the validation cases; store it if the gain is significant."""
    from segexp.checkpoint.splits import scoring_set
    from segexp.evaluation import tune_postprocessing as tuning
    from segexp.inference.folder_runner import progress

    tuning.check_background(segmenter.spec)
    cases = tuning.validation_cases(segmenter, run)
    with progress(len(cases)) as advance:
        prepared = scoring_set(run.data, cases, segmenter)
        found = tuning.tune_postprocessing(segmenter, prepared, [case.group for case in cases], lambda _: advance())
    text_lines = [
        f"Post-processing on val, {len(cases)} cases",
        *tuning.tuning_lines(found),
        tuning.store_tuning(segmenter, found),
    ]
    if config.output:
        table = Path(config.output) / "tuning.csv"
        tuning.write_table(table, found)
        text_lines.append(f"All candidates: {table}")
    sys.stdout.write("\n".join(text_lines) + "\n")
    scores = {"val/dice": float(found.dice[0]), "val/gain": found.gain.mean}
    return Evaluation(Scores(scores), output=Path(config.output) if config.output else None)


def check_single(files: Sequence[object]) -> None:
    """Refuse to tune the post-processing of several networks.

    Raises:
        ConfigError: several are named.
    """
    if len(files) != 1:
        raise ConfigError(
            f"checkpoint names {len(files)} files",
            "The post-processing is chosen for one network, and stored in its file",
            "Type checkpoint=RUN with one of them",
        )
