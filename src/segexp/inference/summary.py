"""What a prediction tells the user: where the results are, first and last; what was done; what was not, and why."""

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from segexp.errors import DataError, listed
from segexp.evaluation.ensemble import differing
from segexp.inference.folder import Report
from segexp.inference.inputs import Inventory
from segexp.inference.predictor import Predictor


def say_what(inventories: Sequence[Inventory], files: Sequence[Path], predictor: Predictor) -> None:
    """Print where the results will be, what predicts and what is predicted."""
    say_where(inventories)
    views = f", {predictor.views} views" if predictor.views > 1 else ""
    rule = "" if predictor.rule.is_identity else f"; post-processing: {predictor.rule}"
    _say(f"Network: {listed(files, 3)} ({', '.join(predictor.spec.classes)}{views}{rule})")
    if note := unlike(files):
        _say(note)
    for inventory in inventories:
        _say(f"Input: {inventory.input}, {_count(len(inventory.jobs), 'image')}")
        for notice in inventory.notices:
            _say(f"  {notice}")


def unlike(files: Sequence[Path]) -> str:
    """Return what to say of an ensemble of networks that were not made alike: of a sweep some may be bad."""
    keys = differing(files) if len(files) > 1 else []
    return f"The {len(files)} networks differ in {listed(keys, 4)}; of a sweep name those that are good." if keys else ""


def say_how(outcome: Report, skipped: int, seconds: float, reviews: Collection[Path]) -> None:
    """Print how many images were predicted, how fast, and which file says what to look at first."""
    slices = f" ({outcome.pictures} pages and slices)" if outcome.pictures > outcome.done else ""
    speed = f" ({outcome.pictures / max(seconds, 1e-9):.3g} a second)" if outcome.pictures else ""
    done = f"; {skipped} done before (overwrite=true predicts them again)" if skipped else ""
    _say(f"{_count(outcome.done, 'image')} predicted{slices} in {seconds:.1f} s{speed}{done}")
    if outcome.flagged:
        _say(f"{_count(outcome.flagged, 'picture')} unlike the training images: look at the top of {listed(reviews, 3)}")
    elif reviews:
        _say(f"What to look at first: {listed(reviews, 3)}")
    if outcome.untrue:
        _say(f"{_count(len(outcome.untrue), 'panel')} without truth: {outcome.untrue[0]}")


def failed(outcome: Report) -> DataError:
    """Return what names the images that could not be predicted."""
    count = len(outcome.failures)
    reasons = "; ".join(
        f"{job.image} ({reason.removeprefix(f'{job.file} ')})" for job, reason in list(outcome.failures.items())[:5]
    )
    more = f"; and {count - 5} more, at the top of the review" if count > 5 else ""
    total = _count(count + outcome.done, "image")
    return DataError(
        f"{count} of {total} could not be predicted: {reasons}{more}",
        "" if not outcome.done else "All others were",
        "Mend or remove what is named; the same command again does what is missing",
    )


def say_where(inventories: Sequence[Inventory]) -> None:
    """Print where the masks are."""
    _say(f"Masks: {listed(dict.fromkeys(inventory.output for inventory in inventories), 8)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
