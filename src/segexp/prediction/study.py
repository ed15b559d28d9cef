"""The runs of a study as members of one ensemble: all of them finished, and no fold missing."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from segexp.comparison.directories import unfinished
from segexp.comparison.folds import FREE, again, alike, gaps
from segexp.comparison.records import Record
from segexp.comparison.settings import varying
from segexp.config.saved import composed
from segexp.errors import CheckpointError, listed

BEST = "*/checkpoints/best.ckpt"


def study_files(folder: Path) -> list[Path]:
    """Return the best checkpoint of each run of a study; nothing where the folder holds none.

    Of runs that were copied without their settings (`.hydra`), only the checkpoints are known, and nothing is checked.

    Raises:
        CheckpointError: a run never finished, or a fold has no run.
    """
    files = sorted(folder.glob(BEST))
    jobs = sorted(path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")) if files else []
    problems = {job: problem for job in jobs if (problem := unfinished(job))}
    done = [job for job in jobs if job not in problems]
    some = f"To take some of its runs, name them: '[{','.join(map(str, done[:3]))}{',…' if len(done) > 3 else ''}]'"
    known = settings_of(jobs)
    count = known[0].folds if known else None
    if problems:
        raise CheckpointError(
            f"{len(problems)} of the {len(jobs)} runs of {folder} never finished: "
            f"{listed(f'{job.name} ({problem})' for job, problem in problems.items())}",
            "All runs of a study were expected to be finished: together they are one ensemble, and each case was held out once",
            f"{again(folder, count)}. {some}",
        )
    for runs in alike(known):
        if lacking := gaps(runs):
            raise CheckpointError(
                f"The cross-validation in {folder} is not whole: {lacking}",
                f"A run of each of the {count} folds was expected, of the same settings",
                f"{again(folder, count)}. {some}",
            )
    return files


def differing(files: Iterable[Path]) -> list[str]:
    """Return the settings in which the runs of some checkpoint files differ, other than seed and fold."""
    known = alike(settings_of([file.resolve().parent.parent for file in files]))
    return list(varying([runs[0] for runs in known], FREE)) if len(known) > 1 else []


def settings_of(runs: Sequence[Path]) -> list[Record]:
    """Return what is known of runs, finished or not, whose settings lie beside them: these alone."""
    return [Record(run, {}, {}, [], config=config) for run in runs if (config := composed(run))]
