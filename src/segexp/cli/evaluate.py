"""python -m segexp.evaluate: score a checkpoint, or an ensemble, on its own splits or on other data."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp import __version__
from segexp.cli import hydra_app
from segexp.config import plain, report, validate
from segexp.config.schema import EvaluateConfig, TrainedConfig, check_fields
from segexp.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from segexp.data.dataset import Prepared
    from segexp.evaluation.scoring import Scorable
    from segexp.inference.segmenter import Segmenter
    from segexp.training.artifacts import Outcome
    from segexp.types import Case

HELP = """
Score a trained network, or an ensemble of them: every case at its own size, as validation did.

  python -m segexp.evaluate checkpoint=RUN_OR_FILE [key=value ...]

Examples
  python -m segexp.evaluate checkpoint=runs/liver/unet/DATE_TIME                 the scores of the run again
  python -m segexp.evaluate checkpoint=RUN split=train                           another split
  python -m segexp.evaluate checkpoint=RUN data.root=DIR output=DIR              other data in the same layout
  python -m segexp.evaluate checkpoint=RUN data.root=DIR 'data.image="{id}.png"' 'data.mask="{id}_mask.png"'
  python -m segexp.evaluate checkpoint=RUN tune=postprocess                      choose the post-processing on val
  python -m segexp.evaluate checkpoint=STUDY                                     folds: each case by the run that held it
                                                                                 out; the test split by all of them
  python -m segexp.evaluate checkpoint=STUDY data.root=DIR                       other data, by the ensemble; and its gain
                                                                                 over the single networks

Main keys
  split=null          val, test, train or all; by default val and test, and all cases of other data
  tune=postprocess    threshold, components, holes: chosen on val, stored in the checkpoint if the gain is beyond doubt
  postprocess=none    without the post-processing that is stored in the checkpoint
  metrics=default     none, default, lesion or membrane in the place of the run's own
  output=DIR          write scores, cases, pictures and report.html there (with tune: tuning.csv)
  model.prune_to=2    a unetpp with deep supervision up to this level alone: less accurate, faster
  gpus=auto           auto | 0 | 1
  trust=[package]     build networks of a package of yours
"""

ELSEWHERE = {"root", "image", "mask"}
"""The keys of the data section that name other pictures than those of the run."""


def task(config: "DictConfig") -> None:
    """What Hydra calls with the composed configuration."""
    try:
        values = plain(config)
        network = values["model"] if isinstance(values["model"], dict) else {}
        report([*check_fields("", values, EvaluateConfig), *check_fields("model", network, TrainedConfig)])
        validate({"metrics": values.get("metrics")})
        evaluate(values)
    except Exception as error:
        raise hydra_app.Stopped(error) from error


def evaluate(config: dict[str, Any]) -> dict[str, float]:
    """Score, or tune, as `conf/evaluate.yaml` says and print what was found; return the scores by "<split>/<score>".

    Raises:
        CheckpointError: the checkpoint is missing, broken or foreign.
        ConfigError: a wrong data key, other classes or channels than those of the checkpoint, or keys that do not go together.
        DataError: the data are not what the checkpoint's config says, or differ from those of the run.
    """
    from segexp.api.loading import checkpoint_files, device_for, load_members, unlike
    from segexp.checkpoint.splits import check_spec, merged
    from segexp.console import quieten
    from segexp.evaluation.tune_postprocessing import check_tunable
    from segexp.inference.outputs import several

    named = several(config["checkpoint"])
    if config["tune"]:
        check_one(named)
    files = checkpoint_files(named, exported=not config["tune"])
    if config["tune"]:
        check_one(files)
        check_tunable(config["split"], config["data"], config["model"])
    quieten()
    members = load_members(files, device_for(files, config["gpus"]), config["trust"], **config["model"])
    run: dict[str, Any] = members[0].facts["config"]  # type: ignore[assignment]
    run = run | {"data": merged(run["data"], config["data"])}
    check_spec(run["data"], members[0].spec)
    if len(members) > 1:
        sys.stdout.write(f"{note}\n" if (note := unlike(files)) else "")
        return score_ensemble(config, members, run)
    return (tune if config["tune"] else score)(config, members[0], run)


def score(config: dict[str, Any], segmenter: "Segmenter", run: dict[str, Any]) -> dict[str, float]:
    """Score the chosen splits; `run` is the config of the run with the data of now."""
    from segexp.checkpoint.splits import chosen_splits, scoring_set
    from segexp.data.datamodule import find

    other = bool(ELSEWHERE & set(config["data"]))
    splits = chosen_splits(config["split"], find(run["data"]), run, segmenter.facts["split_hash"], other=other)
    prepared = {split: (cases, scoring_set(run["data"], cases, segmenter)) for split, cases in splits.items()}
    outcomes = scored(config, segmenter, run, prepared)
    return put_down(config, segmenter, outcomes, {"checkpoint": str(segmenter.facts["file"])})


def score_ensemble(config: dict[str, Any], members: "Sequence[Segmenter]", run: dict[str, Any]) -> dict[str, float]:
    """Score several networks as one: other data by all of them, their own by those that were not trained on the case."""
    from segexp.data.datamodule import find
    from segexp.evaluation.ensemble import Ensemble, chosen, foretold, singles
    from segexp.inference.predictor import Predictor

    ensemble = Ensemble(Predictor(members).spec)  # members that do not fit together are refused
    splits = chosen(members, find(run["data"]), run["data"], config["split"])
    sys.stdout.writelines(f"{split}: each case by {who.says}\n" for split, who in splits.items())
    prepared = {split: (who.cases, foretold(run["data"], who.cases, who.members)) for split, who in splits.items()}
    outcomes = scored(config, ensemble, run, prepared)
    each = {split: singles(split, outcomes[split].rows, cases.by_member()) for split, (_, cases) in prepared.items()}
    beside = {split: found for split, found in each.items() if found is not None}
    facts: dict[str, Any] = {"checkpoints": [str(member.facts["file"]) for member in members]}
    facts |= {"singles": {split: found.facts for split, found in beside.items()}} if beside else {}
    return put_down(config, ensemble, outcomes, facts, [f"{split}: {found}" for split, found in beside.items()])


def scored(
    config: dict[str, Any], segmenter: "Scorable", run: dict[str, Any], splits: "Mapping[str, tuple[list[Case], Prepared]]"
) -> "dict[str, Outcome]":
    """Score cases by split, with pictures where an output is asked for."""
    from segexp.inference.folder import progress
    from segexp.inference.postprocessing import Postprocessing
    from segexp.training.artifacts import score_split
    from segexp.training.build import measures

    further = measures(chosen_measures(config, run), segmenter.spec.num_classes)
    stored = segmenter.postprocessing
    if config["postprocess"] == "none":
        segmenter.postprocessing = Postprocessing()
    output = Path(config["output"]) if config["output"] else None
    pictures = config["pictures"] if output else 0
    if not stored.is_identity:
        use = "Without" if segmenter.postprocessing.is_identity else "With"
        sys.stdout.write(f"{use} the post-processing that is stored in the checkpoint: {stored}\n")
    with progress(sum(len(cases) for cases, _ in splits.values())) as advance:
        return {
            split: score_split(segmenter, split, cases, prepared, pictures, output, further, lambda _: advance())
            for split, (cases, prepared) in splits.items()
        }


def put_down(
    config: dict[str, Any],
    segmenter: "Scorable",
    outcomes: "Mapping[str, Outcome]",
    origin: dict[str, Any],
    more: Sequence[str] = (),
) -> dict[str, float]:
    """Say what was found, and write it where that is asked for; return the scores.

    Args:
        config: of the command.
        segmenter: what was scored.
        outcomes: by split.
        origin: what metrics.json is to say of it.
        more: further sentences.
    """
    from segexp.reporting.regenerate import write_report_safely
    from segexp.reporting.run_report import write_run_report
    from segexp.training.artifacts import all_intervals, all_scores, sentences, write_metrics, write_outcomes

    scores, intervals = all_scores(outcomes), all_intervals(outcomes)
    sys.stdout.write("\n".join([*sentences(scores, intervals), *more]) + "\n")
    output = Path(config["output"]) if config["output"] else None
    if output:
        write_outcomes(output, outcomes, segmenter.spec.classes)
        facts = {**origin, "postprocessing": segmenter.postprocessing.as_dict()}
        facts |= {key: value for key, value in config["model"].items() if value is not None}
        write_metrics(output / "metrics.json", scores, {"status": "evaluated", **facts}, intervals)
        sys.stdout.write(f"Scores, cases and pictures: {output}\n{write_report_safely(write_run_report, output)}\n")
    return scores


def chosen_measures(config: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics section that was typed, else that of the run, which must be known or trusted."""
    from segexp.config.instantiate import check_measures

    if config.get("metrics") is not None:
        return dict(config["metrics"])
    stored: dict[str, Any] = run.get("metrics") or {}
    check_measures(stored, config["trust"])
    return stored


def tune(config: dict[str, Any], segmenter: "Segmenter", run: dict[str, Any]) -> dict[str, float]:
    """Choose the post-processing on the run's own validation cases and store it if its gain is beyond doubt."""
    from segexp.checkpoint.splits import scoring_set
    from segexp.evaluation import tune_postprocessing
    from segexp.evaluation.tune_postprocessing import lines, own_validation, put_down, write_table
    from segexp.inference.folder import progress

    cases = own_validation(segmenter, run)
    with progress(len(cases)) as advance:
        prepared = scoring_set(run["data"], cases, segmenter)
        found = tune_postprocessing.tune(segmenter, prepared, [case.group for case in cases], lambda _: advance())
    said = [f"Post-processing on val, {len(cases)} cases", *lines(found), put_down(segmenter, found)]
    if config["output"]:
        table = Path(config["output"]) / "tuning.csv"
        write_table(table, found)
        said.append(f"All candidates: {table}")
    sys.stdout.write("\n".join(said) + "\n")
    return {"val/dice": float(found.dice[0]), "val/gain": found.gain.mean}


def check_one(files: Sequence[object]) -> None:
    """Refuse to choose the post-processing of several networks.

    Raises:
        ConfigError: several are named.
    """
    if len(files) != 1:
        raise ConfigError(
            f"checkpoint names {len(files)} files",
            "The post-processing is chosen for one network, and stored in its file",
            "Type checkpoint=RUN with one of them",
        )


def command(argv: Sequence[str]) -> int:
    """Understand the command line and run it; return the exit code."""
    if {"--help", "-h"} & set(argv):
        sys.stdout.write(f"{HELP.strip()}\n\nsegexp {__version__}\n")
        return 0
    from segexp.cli.overrides import parse

    line = parse([f"+{word}" if word.startswith("data.") else word for word in argv])
    if line.multirun:
        raise ConfigError("-m is on the command line", "One checkpoint is scored at a time", "Leave -m out")
    hydra_app.run_hydra(task, line, "evaluate")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the console script leaves with what this returns."""
    return hydra_app.rim(lambda: command(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
