"""python -m segexp.evaluate: score a checkpoint on the split it was trained with, on another split, or on other data."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp import __version__, cli
from segexp.config import plain, report
from segexp.config.schema import DataConfig, EvaluateConfig, check_fields
from segexp.errors import ConfigError, DataError, listed

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from segexp.types import Case, DataSpec

HELP = """
Score a trained network: every case at its own size, as validation did.

  python -m segexp.evaluate checkpoint=RUN_OR_FILE [key=value ...]

Examples
  python -m segexp.evaluate checkpoint=runs/liver/unet/DATE_TIME                 the scores of the run again
  python -m segexp.evaluate checkpoint=RUN split=train                           another split
  python -m segexp.evaluate checkpoint=RUN data.root=DIR output=DIR              other data in the same layout
  python -m segexp.evaluate checkpoint=RUN data.root=DIR 'data.image="{id}.png"' 'data.mask="{id}_mask.png"'

Main keys
  split=null       val, test, train or all; by default val and test, and all cases of other data
  output=DIR       write cases.csv, metrics.json and pictures there
  gpus=auto        auto | 0 | 1
  trust=[package]  build networks of a package of yours
"""

ELSEWHERE = {"root", "image", "mask"}
"""The keys of the data section that name other pictures than those of the run."""


def task(config: "DictConfig") -> None:
    """What Hydra calls with the composed configuration."""
    try:
        values = plain(config)
        report(list(check_fields("", values, EvaluateConfig)))
        evaluate(values)
    except Exception as error:
        raise cli.Stopped(error) from error


def evaluate(config: dict[str, Any]) -> dict[str, float]:
    """Score as `conf/evaluate.yaml` says; print a line per split; return the scores by "<split>/<score>".

    Raises:
        CheckpointError: the checkpoint is missing, broken or foreign.
        ConfigError: a wrong data key, or other classes or channels than those of the checkpoint.
        DataError: the data are not what the checkpoint's config says, or differ from those of the run.
    """
    from segexp.checkpoint import load_segmenter
    from segexp.data.datamodule import find, reader
    from segexp.data.dataset import ScoringSet
    from segexp.data.store import ReadingStore
    from segexp.devices import choose_devices
    from segexp.metrics.cases import write_cases
    from segexp.outcome import Rows, score_split, sentences, write_metrics
    from segexp.quiet import quieten

    quieten()
    device, _ = choose_devices(config["gpus"], "gpus")
    segmenter = load_segmenter(config["checkpoint"], device=device, trust=config["trust"])
    run: dict[str, Any] = segmenter.facts["config"]  # type: ignore[assignment]
    data = merged(run["data"], config["data"])
    check_spec(data, segmenter.spec)
    cases = find(data)
    other = bool(ELSEWHERE & set(config["data"]))
    splits = chosen_splits(config["split"], cases, run | {"data": data}, segmenter.facts["split_hash"], other=other)
    output = Path(config["output"]) if config["output"] else None
    scores: dict[str, float] = {}
    rows: Rows = []
    for split, members in splits.items():
        prepared = ScoringSet(ReadingStore(reader(data), members), range(len(members)), segmenter.preprocessing)
        pictures = config["pictures"] if output else 0
        found, more = score_split(segmenter, split, members, prepared, pictures, output)
        scores, rows = scores | found, rows + more
    sys.stdout.write("\n".join(sentences(scores)) + "\n")
    if output:
        write_cases(output / "cases.csv", rows)
        write_metrics(output / "metrics.json", scores, {"status": "evaluated", "checkpoint": str(segmenter.facts["file"])})
        sys.stdout.write(f"Scores, cases and pictures: {output}\n")
    return scores


def merged(trained: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the data section of the run with what was typed in its place.

    Raises:
        ConfigError: a key that the data section does not have, or a value that it cannot have.
    """
    together = trained | changes
    report(list(check_fields("data", together, DataConfig)))
    return together


def check_spec(data: dict[str, Any], trained: "DataSpec") -> None:
    """Refuse classes or channels that are not those of the network.

    Raises:
        ConfigError: naming both.
    """
    typed, names = ", ".join(data["classes"]), ", ".join(trained.classes)
    if list(data["classes"]) != list(trained.classes):
        raise ConfigError(
            f"data.classes names {typed}, and the checkpoint was trained with {names}",
            "The same classes in the same order were expected; only the mask values that mean them may differ",
            f"Type 'data.classes={{{', '.join(f'{name}: VALUE' for name in trained.classes)}}}'",
        )
    if data["channels"] != trained.channels:
        raise ConfigError(
            f"data.channels={data['channels']}, and the checkpoint was trained with {trained.channels}",
            "The network's own number of channels was expected; images are read as gray or colour to fit it",
            "Leave data.channels out",
        )


def chosen_splits(
    split: str | None, cases: "Sequence[Case]", run: dict[str, Any], split_hash: object, *, other: bool
) -> "dict[str, list[Case]]":
    """Return the cases to score by split name.

    Args:
        split: as typed; None takes val and test of the run's own data, and all cases of other data.
        cases: all cases.
        run: the config of the run.
        split_hash: of the run's split.
        other: the data are not those of the run.

    Raises:
        DataError: the data changed since the run, or the split has no case.
    """
    from segexp.data.splits import assign_splits
    from segexp.data.splits import split_hash as hash_of

    if split == "all" or (split is None and other):
        return {"all": list(cases)}
    keys = ("val_fraction", "test_fraction", "folds", "fold")
    assigned = assign_splits(cases, seed=run["seed"], **{key: run["data"][key] for key in keys})
    if not other and hash_of({"id": case.id, "split": assigned[case.id]} for case in cases) != split_hash:
        raise DataError(
            f"The {len(cases)} cases below {run['data']['root']} no longer give the split that the run was trained with",
            "The same files as in training were expected, so that no training image is scored as validation",
            "Bring the files back, or type split=all to score every case whatever it was used for",
        )
    wanted = [split] if split else ["val", "test"]
    members = {name: [case for case in cases if assigned[case.id] == name] for name in wanted}
    found = {name: chosen for name, chosen in members.items() if chosen}
    if not found:
        there = listed(sorted(set(assigned.values())))
        raise DataError(
            f"No case is in the split {listed(wanted)}", f"The data have {there}", f"Type split={there.split(',')[0]}"
        )
    return found


def command(argv: Sequence[str]) -> int:
    """Understand the command line and run it; return the exit code."""
    if {"--help", "-h"} & set(argv):
        sys.stdout.write(f"{HELP.strip()}\n\nsegexp {__version__}\n")
        return 0
    from segexp.cli.overrides import parse

    line = parse([f"+{word}" if word.startswith("data.") else word for word in argv])
    if line.multirun:
        raise ConfigError("-m is on the command line", "One checkpoint is scored at a time", "Leave -m out")
    cli.run_hydra(task, line, "evaluate")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the console script leaves with what this returns."""
    return cli.rim(lambda: command(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
