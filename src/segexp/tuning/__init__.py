"""Post-processing chosen on a split, and what it honestly gains there.

Each case goes through the network once; all candidates are scored while its probabilities are in hand. Chosen is the candidate
with the best Dice among those that give no more pixels to classes which a case does not have than no post-processing does; of
equally good ones the simplest. Dice is what `metrics.scores` calls so: the mean over the foreground classes of the mean over
the cases that have the class.

The gain of that candidate on the same cases would flatter it. Therefore the choice is made again and again on a random half of
the cases (of the groups where there are three or more), and the gain of a case is that of the choices in which it had no part.
Leaving out one case at a time would not do: the same lucky candidate wins each time, and of noise alone one data set in six
would be kept; of halves it is one in twenty.

Legend: N cases, M candidates (the first one is none), K classes.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from segexp.data.dataset import ScoringSet
from segexp.postprocess import Postprocessing, decide
from segexp.postprocess.components import components, filled, keep
from segexp.segmenter import Segmenter
from segexp.tuning.candidates import candidates_for, typical_area
from segexp.tuning.choice import Tuned, case_scores, choose
from segexp.types import IGNORE

__all__ = ["Tuned", "tune"]


def tune(
    segmenter: Segmenter, cases: ScoringSet, groups: Sequence[str | None], done: Callable[[int], None] = lambda _: None
) -> Tuned:
    """Choose the post-processing of a segmenter; the one that it has plays no part.

    Args:
        segmenter: what predicts.
        cases: N cases with their truth.
        groups: of each case; None stands alone.
        done: told each position when it is finished.
    """
    k, labelling = segmenter.spec.num_classes, segmenter.labelling
    area = typical_area(part for n in cases.members for _, part in labelling.questions(cases.store[n].mask, k))
    candidates = candidates_for(2 if segmenter.spec.overlapping else k, area)
    counts = np.zeros((3, len(cases), len(candidates), k), np.int64)
    segmenter.network.eval()
    for position in range(len(cases)):
        sample = cases[position]
        truth = sample.mask.numpy()
        probabilities = labelling.probabilities_(segmenter.logits(sample.image, (truth.shape[0], truth.shape[1])))
        for own, there in labelling.questions(truth, k):
            chances = labelling.chances(probabilities, own)
            for threshold in dict.fromkeys(each.threshold for each in candidates):
                places = [m for m, each in enumerate(candidates) if each.threshold == threshold]
                counted = _counted(decide(chances, threshold), [candidates[m] for m in places], there, len(own))
                for m, found in zip(places, counted, strict=True):
                    counts[:, position, m][:, own] += found
        done(position)
    return choose(candidates, *case_scores(counts), groups)


def _counted(classes: np.ndarray, variants: Sequence[Postprocessing], truth: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yield tp, fp, fn (3, K) of variants of one class map; components are found once, equal results counted once."""
    found = list(components(classes))
    valid = truth != IGNORE
    there = np.bincount(truth[valid], minlength=count)
    known: dict[tuple[bytes, bool], np.ndarray] = {}
    for each in variants:
        dropped = b"".join(part.dropped(each.min_area, each.largest_component).tobytes() for part in found)
        key = (dropped, each.fill_holes)
        if key not in known:
            final = keep(classes, found, each.min_area, each.largest_component)
            final = filled(final) if each.fill_holes else final
            tp = np.bincount(truth[final == truth], minlength=count)
            known[key] = np.stack([tp, np.bincount(final[valid], minlength=count) - tp, there - tp])
        yield known[key]
