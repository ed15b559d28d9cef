"""What was chosen, for the terminal and as a table."""

import csv
from pathlib import Path

from segexp.postprocess import Postprocessing
from segexp.tuning.choice import CHOICES, Tuned
from segexp.whole import whole_file


def lines(tuned: Tuned) -> list[str]:
    """Return the table of the best candidates, the gain, and whether the choice is kept and why."""
    alarms = bool(tuned.false_alarms.any())
    rows = [("post-processing", "Dice", "false alarms" * alarms)]
    rows += [(str(tuned.candidates[m]), f"{tuned.dice[m]:.4f}", f"{tuned.false_alarms[m]}" * alarms) for m in _shown(tuned)]
    width, wide = max(len(name) for name, _, _ in rows), max(len(number) for _, _, number in rows)
    table = [f"{name.ljust(width)}  {dice.rjust(6)}  {number.rjust(wide)}".rstrip() for name, dice, number in rows]
    return [*table, f"Chosen of {len(tuned.candidates)}: {tuned.chosen}", _gain(tuned), *_groups(tuned), _verdict(tuned)]


def _shown(tuned: Tuned) -> list[int]:
    """Return none, the best candidate with each single step, and the chosen one."""
    kinds: dict[tuple[bool, ...], int] = {}
    for m, each in enumerate(tuned.candidates):
        kind = _steps(each)
        if sum(kind) <= 1 and (kind not in kinds or tuned.dice[m] > tuned.dice[kinds[kind]]):
            kinds[kind] = m
    return list(dict.fromkeys([*(kinds[kind] for kind in sorted(kinds)), tuned.candidates.index(tuned.chosen)]))


def _steps(each: Postprocessing) -> tuple[bool, ...]:
    return each.threshold is not None, each.min_area > 0, each.largest_component, each.fill_holes


def _gain(tuned: Tuned) -> str:
    gain = tuned.gain
    if gain.low != gain.low:
        return f"Gain in Dice: {gain.mean:+.4f}; {gain.cases} case(s) with foreground give no interval"
    of = f"{gain.cases} cases" + (f" in {tuned.groups} groups" if tuned.over == "groups" else "")
    return (
        f"Gain in Dice on cases that had no part in the choice: {gain.mean:+.5f}, 95 % interval {gain.low:+.5f} to "
        f"{gain.high:+.5f} ({of}; chosen on one half of the {tuned.over} and scored on the other, {CHOICES} times)"
    )


def _groups(tuned: Tuned) -> list[str]:
    if tuned.over == "groups" or tuned.groups is None:
        return []
    few = f"{tuned.groups} group{'s' * (tuned.groups != 1)}"
    return [
        f"The cases are of only {few}, too few to be halved: the interval is for further cases of the same "
        f"group{'s' * (tuned.groups != 1)} and says little about others"
    ]


def _verdict(tuned: Tuned) -> str:
    gain = tuned.gain
    if tuned.kept:
        return "Kept: the interval excludes 0"
    if tuned.chosen.is_identity:
        return "Not kept: no candidate is better than no post-processing"
    if gain.low != gain.low:
        return "Not kept: without an interval the gain may be chance"
    if gain.mean <= 0:
        return "Not kept: on cases that had no part in the choice it gains nothing"
    return "Not kept: the interval includes 0, so the gain may be chance"


def write_table(path: Path, tuned: Tuned) -> None:
    """Write one line per candidate, the simplest first: its parameters, Dice and false alarms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [*Postprocessing().as_dict(), "dice", "false_alarms"]
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for each, dice, alarms in zip(tuned.candidates, tuned.dice.tolist(), tuned.false_alarms.tolist(), strict=True):
            writer.writerow({**each.as_dict(), "dice": dice, "false_alarms": alarms})
