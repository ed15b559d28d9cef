"""What an explanation tells the user: where the results are, first and last; what was done; what was not, and why."""

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from segexp.errors import DataError, listed
from segexp.explainability.attribution import SIGNED
from segexp.explainability.explainer import Explainer
from segexp.explainability.folder import Asked, Report
from segexp.inference.inputs import Inventory

SCORE = {"predicted": "the pixels predicted as it", "truth": "its true pixels"}


def say_what(inventories: Sequence[Inventory], asked: Asked, explainer: Explainer) -> None:
    """Print where the results will be, what is explained and of which images."""
    say_where(inventories)
    over = "all pixels" if explainer.whole else SCORE.get(asked.region, f"the box {asked.region}")
    _say(f"Network: {asked.checkpoint} ({', '.join(explainer.segmenter.spec.classes)})")
    kind = "speaks for and against" if asked.method in SIGNED else "speaks for"
    _say(f"Question: what {kind} {asked.target}, by {asked.method} ({asked.layer}), its score over {over}")
    for inventory in inventories:
        count = len(inventory.jobs)
        _say(f"Input: {inventory.input}, {count} image{'' if count == 1 else 's'}")
        for notice in inventory.notices:
            _say(f"  {notice}")


def say_how(outcome: Report, skipped: int, seconds: float, tables: Collection[Path]) -> None:
    """Print how many images were explained, where the maps lie, and which table says it of each."""
    done = f"; {skipped} done before (overwrite=true explains them again)" if skipped else ""
    _say(f"{outcome.done} picture{'' if outcome.done == 1 else 's'} explained in {seconds:.1f} s{done}")
    if outcome.inside:
        inside, share = np.mean(outcome.inside, axis=0)
        _say(
            f"Inside of the outlined pixels: {inside:.1%} of a map on average, where they are {share:.1%} of the image; "
            f"the highest value in {sum(outcome.hits)} of {len(outcome.hits)}"
        )
    for text, found in (("Nothing to explain", outcome.empty), ("To be known", outcome.noted)):
        if found:
            _say(f"{text} in {len(found)}: {listed(found, 4)}")
    if outcome.untrue:
        _say(f"{len(outcome.untrue)} without truth: {outcome.untrue[0]}")
    if tables:
        _say(f"Of each picture: {listed(tables, 3)}")


def failed(outcome: Report) -> DataError:
    """Return what names the images that could not be explained."""
    count = len(outcome.failures)
    reasons = listed((f"{name} ({reason})" for name, reason in outcome.failures.items()), 5)
    others = outcome.done + len(outcome.empty)
    total = count + others
    return DataError(
        f"{count} of {total} picture{'' if total == 1 else 's'} could not be explained: {reasons}",
        "All others were" if others else "",
        "Mend or remove what is named; the same command again does what is missing",
    )


def say_where(inventories: Sequence[Inventory]) -> None:
    """Print where the pictures are."""
    _say(f"Explanations: {listed(dict.fromkeys(inventory.output for inventory in inventories), 8)}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
