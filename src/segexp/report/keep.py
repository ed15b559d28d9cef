"""Pictures of the worst, median and best cases while the network that made them is at hand.

Legend: N cases, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segexp.comparison.casewise import of_cases
from segexp.data.dataset import Prepared
from segexp.metrics.scores import class_scores
from segexp.pictures import Array
from segexp.report.gallery import Shown, choose, write_gallery
from segexp.scoring import Scorable
from segexp.types import Case


def keep_cases(
    directory: Path, split: str, segmenter: Scorable, cases: Sequence[Case], prepared: Prepared, matrices: np.ndarray
) -> None:
    """Write the pictures of the chosen cases of a split into `pictures/cases/` of a run directory.

    The chosen cases are predicted again, so that the predictions of all need not be kept until the scores are known.

    Args:
        directory: of the run.
        split: its name.
        segmenter: what was scored.
        cases: N.
        prepared: the same cases as samples.
        matrices: their confusion matrices (N, K, K).
    """
    found = class_scores(matrices)
    scores, alarms = of_cases(found.dice[:, 1:]), found.fp[:, 1:].sum(axis=1)
    segmenter.network.eval()

    def drawn() -> Iterator[tuple[Shown, Array, Array, Array]]:
        for shown in choose(scores, alarms):
            sample, picture = prepared[shown.position], prepared.store[prepared.members[shown.position]]
            prediction = segmenter.decide(segmenter.logits(sample.image, (sample.mask.shape[0], sample.mask.shape[1])))
            named = replace(shown, case=cases[shown.position].id, score=float(scores[shown.position]))
            yield named, picture.image, picture.mask, prediction

    write_gallery(directory, split, drawn(), segmenter.spec.palette, segmenter.spec.overlapping)
