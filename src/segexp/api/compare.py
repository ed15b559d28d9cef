"""Compare finished runs and studies."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from segexp.api.calls import plain_values, short_traceback
from segexp.config.schema import CompareConfig
from segexp.config.validation import validate_section
from segexp.errors import ConfigError
from segexp.evaluation.compare import Comparison, compare_records
from segexp.evaluation.grouping import check_folds
from segexp.evaluation.records import read_records


@dataclass(frozen=True, eq=False)
class ComparedRuns(Comparison):
    """A comparison that can be printed.

    Attributes:
        files: written files, if an output was given.
    """

    files: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        from segexp.reporting.comparison import as_text

        return as_text(self)

    def show(self) -> None:
        """Print tables, verdicts and notes, fitted to the terminal width."""
        from segexp.reporting.comparison import print_comparison

        print_comparison(self)


@short_traceback
def compare(runs: Sequence["str | os.PathLike[str]"] = (), **keys: Any) -> ComparedRuns:
    """Compare finished runs: scores with intervals, paired differences, and a verdict.

    Args:
        runs: directories of runs and studies, or `Run` objects.
        keys: the keys of `segexp compare`: `metric="dice/liver"`, `split="val"`, `reference=RUN`, `output=DIR`, …

    Returns:
        The comparison; `print` shows tables and verdicts, and `verdicts` has the sentences.

    Raises:
        ConfigError: a wrong key, or an unknown metric, split, reference or file type.
        DataError: a path holds no run, a run is unfinished, a fold is missing or of another split, or the runs use other data.

    Example:
        >>> print(segexp.compare([run, "runs/liver/unet"]))
    """
    values = plain_values({"runs": [runs] if isinstance(runs, str | os.PathLike) else list(runs), **keys})
    return compare_runs(validate_section(CompareConfig, values))


def compare_runs(config: CompareConfig) -> ComparedRuns:
    """Compare the runs of a configuration, and write the comparison if an output is given.

    Raises:
        ConfigError: see `compare_records`.
        DataError: see `compare_records`.
    """
    from segexp.reporting.comparison import output_format, write_comparison

    output = Path(config.output) if config.output else None
    if output:
        output_format(output)
    if not config.runs:
        raise ConfigError(
            "No run is named", "The directories of finished runs were expected", "Type python -m segexp.compare RUN RUN"
        )
    records, skipped = read_records(map(Path, config.runs), config.skip_unfinished)
    check_folds(records, partial=config.skip_unfinished)
    found = compare_records(
        records,
        metric=config.metric,
        split=config.split,
        better=config.better,
        reference=config.reference,
        seeds_together=config.seeds == "together",
        allow_different_data=config.allow_different_data,
    )
    found.notes.extend(skipped)
    files = write_comparison(found, output, command_words(config)) if output else []
    return ComparedRuns(**{each.name: getattr(found, each.name) for each in fields(found)}, files=files)


def command_words(config: CompareConfig) -> list[str]:
    """Return the command that reproduces the comparison."""
    defaults = CompareConfig()
    typed = [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in config.plain().items()
        if key not in ("runs", "output") and value != getattr(defaults, key)
    ]
    return ["python", "-m", "segexp.compare", *config.runs, *typed]
