"""An ensemble scored as a single network is.

Legend: M members, N cases, K classes, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from segexp.data.datamodule import reader
from segexp.data.spacing import spacings
from segexp.data.store import ReadingStore, Store
from segexp.labelling import Labelling, labelling
from segexp.postprocess import Postprocessing
from segexp.predictor import Predictor
from segexp.segmenter import Segmenter
from segexp.types import Case, DataSpec, Sample

Array = np.ndarray[Any, np.dtype[Any]]
Spacing = tuple[float, float]


class Foretold:
    """Cases whose sample holds, in the place of the image, what its members predict of it: log-probabilities (K, H, W)."""

    def __init__(self, store: Store, members: Sequence[Sequence[Segmenter]], spacings: Sequence[Spacing | None]) -> None:
        """Choose who predicts what.

        Args:
            store: N pictures at their own size.
            members: for each case those whose mean is its prediction, at least one.
            spacings: the size of a pixel (row, column) of each case, None where it is not known.
        """
        self.store, self.members, self.spacings = store, list(range(len(members))), list(spacings)
        self.predictors = {_ids(each): Predictor(each) for each in members}
        self.chosen = [_ids(each) for each in members]
        self.alone: dict[int, list[Array]] = {}

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, position: int) -> Sample:
        picture = self.store[position]
        predictor, truth = self.predictors[self.chosen[position]], torch.from_numpy(np.array(picture.mask))
        alone = self.alone[position] = []

        def count(mask: Array) -> None:
            alone.append(predictor.labelling.confusion(torch.from_numpy(mask), truth, predictor.spec.num_classes).numpy())

        seen = predictor(picture.image, count)
        return Sample(position, as_logits(seen.probabilities, overlapping=predictor.spec.overlapping), truth)

    def spacing(self, position: int) -> Spacing | None:
        """Return the size of a pixel (row, column) of a picture, None where it is not known."""
        return self.spacings[position]

    def by_member(self) -> list[Array]:
        """Return for each case the confusion matrices (M, K, K) of its members by themselves, once all were asked for.

        Nothing where the cases do not all have the same members, two or more.
        """
        if len(set(self.chosen)) != 1 or len(self.chosen[0]) < 2:
            return []
        return [np.stack(self.alone[position]) for position in range(len(self))]


def _ids(members: Sequence[Segmenter]) -> tuple[int, ...]:
    return tuple(map(id, members))


def as_logits(probabilities: torch.Tensor, *, overlapping: bool) -> torch.Tensor:
    """Return logits (K, H, W) that `Labelling.probabilities_` turns into these probabilities, to the last digits of float32."""
    if overlapping:
        logits = torch.logit(probabilities, eps=1e-7)
        logits[0] = 0
        return logits
    return probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()


@dataclass
class Ensemble:
    """What `Foretold` cases are scored with: their logits are there already.

    Attributes:
        spec: of the members.
        postprocessing: probabilities to classes; the members' own are not used.
        network: nothing is left to do.
    """

    spec: DataSpec
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    network: nn.Module = field(default_factory=nn.Identity)

    @property
    def labelling(self) -> Labelling:
        """What logits and masks mean."""
        return labelling(self.spec)

    def logits(self, image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return a copy of the logits (K, H, W) of a `Foretold` sample."""
        assert tuple(image.shape[1:]) == size, "members predict at the image's own size"
        return image.clone()

    def decide(self, logits: torch.Tensor) -> Any:
        """Return the mask (H, W) uint8 that logits (K, H, W) mean; they become probabilities in place."""
        return self.labelling.decide(self.labelling.probabilities_(logits), self.postprocessing)


def foretold(data: dict[str, Any], cases: Sequence[Case], members: Sequence[Sequence[Segmenter]]) -> Foretold:
    """Return cases with what their members predict; everything is read and predicted when it is asked for.

    Args:
        data: the data section that found them.
        cases: N.
        members: who predicts each of them.
    """
    store = ReadingStore(reader(data | {"size": None}), cases)
    return Foretold(store, members, spacings(cases, data.get("spacing")))
