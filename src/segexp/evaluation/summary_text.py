"""Verdicts and notes of a comparison as text."""

import math
from collections.abc import Sequence

from segexp.errors import pluralise
from segexp.evaluation.case_scores import Metric
from segexp.evaluation.contrast import LEVEL, Contrast
from segexp.evaluation.grouping import FEWEST_GROUPS, Entry, missing_folds, unit_count
from segexp.metrics.significance import Interval


def format_score(value: float, signed: bool = False) -> str:
    """Format a score with four decimals, two from 10 on; "-" for NaN."""
    if math.isnan(value):
        return "-"
    digits = 4 if abs(value) < 10 else 2
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def format_interval(interval: Interval, signed: bool = False) -> str:
    """Return "low to high"."""
    if math.isnan(interval.low):
        return "no interval"
    return f"{format_score(interval.low, signed)} to {format_score(interval.high, signed)}"


def format_p_value(value: float) -> str:
    """Return "p = 0.012", "p < 0.001" or "p not defined"."""
    if math.isnan(value):
        return "p not defined"
    digits = 4 if round(value, 3) == LEVEL else 3  # so that the side of the level is visible
    return "p < 0.001" if value < 0.0005 else f"p = {value:.{digits}f}"


def verdict(contrast: Contrast, metric: Metric) -> str:
    """Describe the result of one row against the reference."""
    entry, reference, found = contrast.entry.name, contrast.reference.name, contrast.difference
    if not found.cases:
        return f"{entry} and {reference} have no case in which {metric} is defined for both."
    wins, losses = contrast.better, contrast.worse
    if contrast.shown:
        first, second = (entry, reference) if contrast.gain > 0 else (reference, entry)
        wins, losses = (wins, losses) if contrast.gain > 0 else (losses, wins)
        low, high = sorted((abs(found.low), abs(found.high)))
        more = f"{'lower' if contrast.low else 'higher'} by {format_score(abs(found.mean))}"
        inside = f"95 % interval {format_score(low)} to {format_score(high)}, {_p(contrast)}, {_over(contrast)}"
        text = f"{first} is better than {second}: its {metric} is {more} ({inside})"
    else:
        interval = "no interval" if math.isnan(found.low) else f"95 % interval {format_interval(found, signed=True)}"
        text = f"No difference between {entry} and {reference} can be shown with these {_over(contrast)}: "
        text += f"{metric} {format_score(found.mean, signed=True)} ({interval}, {_p(contrast)})"
    return f"{text}, better in {wins} and worse in {losses}.{_limits(contrast)}"


def _limits(contrast: Contrast) -> str:
    """Return a limitation of the verdict, "" if there is none."""
    groups = contrast.entry.scored.groups
    if contrast.hopeless:
        units = pluralise(contrast.units, "group" if contrast.of_groups else "case")
        among = f" among {pluralise(contrast.comparisons, 'comparison')}" if contrast.comparisons > 1 else ""
        return f" {units} are too few for this test to show one{among}, whatever the scores."
    if contrast.shown and any(groups) and not contrast.of_groups:
        return f" That holds for {'this group' if unit_count(groups) == 1 else 'these groups'} only."
    return ""


def _p(contrast: Contrast) -> str:
    text = format_p_value(contrast.p_holm)
    if contrast.comparisons > 1 and not math.isnan(contrast.p_holm):
        text += f" after Holm's correction for {contrast.comparisons} comparisons"
    return text


def _over(contrast: Contrast) -> str:
    cases = pluralise(contrast.difference.cases, "case")
    groups = contrast.entry.scored.groups
    return f"{cases} of {pluralise(unit_count(groups), 'group')}" if any(groups) else cases


def notes(entries: Sequence[Entry], metric: Metric, split: str, found: Sequence[Contrast], chosen: bool) -> list[str]:
    """Return notes that explain the numbers.

    Args:
        entries: the rows.
        metric: that is compared.
        split: that is compared.
        found: their differences; empty for a single row.
        chosen: whether the user named the reference.
    """
    texts = [_what(entries[0], metric, split)]
    texts += _cases(entries, metric)
    texts += _runs(entries, split)
    if found:
        against = "the reference" if chosen else "the best"
        units = "groups" if found[0].of_groups else "cases"
        text = f"Differences are of the same cases, against {against}; p is of Wilcoxon's signed-rank test over {units}"
        if found[0].comparisons > 1:
            pairs = "" if chosen or len(entries) < 3 else ": every pair, since the best was chosen by the same scores"
            text += f", after Holm's correction for {found[0].comparisons} comparisons{pairs}"
        texts.append(f"{text}. A difference is called shown when p is below 0.05 and the interval leaves 0 out.")
    return texts


def _what(entry: Entry, metric: Metric, split: str) -> str:
    groups = entry.scored.groups
    classes = entry.scored.values.shape[1]
    over = f"mean over the {split} cases" + (f" of each class, then over {classes} classes" if classes > 1 else "")
    text = f"{metric}: {over}, {'lower' if metric.low else 'higher'} is better"
    if not any(groups):
        return f"{text}. The 95 % interval is over cases."
    count = unit_count(groups)
    if count >= FEWEST_GROUPS:
        return f"{text}. The 95 % interval is over {count} groups, since the cases of one group are alike."
    return (
        f"{text}. The 95 % interval is over the cases of {pluralise(count, 'group')}: it says nothing about a new group "
        "(patient, scan, tile), and cases of one group are more alike than it takes them to be."
    )


def _cases(entries: Sequence[Entry], metric: Metric) -> list[str]:
    undefined = [(len(entry.scored.ids) - entry.interval.cases, entry) for entry in entries]
    left_out, entry = max(undefined, key=lambda pair: pair[0])
    if not left_out:
        return []
    where = "" if all(n == left_out for n, _ in undefined) else f" of {entry.name}"
    return [f"{metric} is not defined in {left_out} of {pluralise(len(entry.scored.ids), 'case')}{where}; these are left out."]


def _runs(entries: Sequence[Entry], split: str) -> list[str]:
    texts = []
    pooled = [entry for entry in entries if entry.folds]
    if pooled and split == "val":
        texts.append("Each case is scored by the run of the fold that did not train on it.")
    for entry in pooled:
        if lacking := missing_folds(entry.runs):
            texts.append(f"{entry.name} has {len(entry.folds)} of {entry.runs[0].folds} folds ({lacking}).")
    several = [entry for entry in entries if len(entry.by_seed) > 1]
    if several:
        texts.append("Scores of several seeds are averaged case by case; ± is the standard deviation between seeds.")
    if len(entries) > 1 and len(several) < len(entries):
        some = "Rows" if not several else "Other rows"
        texts.append(f"{some} have one seed: by how much another seed would change the score is not in the interval.")
    return texts
