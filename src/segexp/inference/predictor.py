"""Predictor: one or several segmenters, each seeing an image in one or several views, made into one prediction.

Views are added up as they come, so that memory does not grow with their number.
Shapes: V views (members times test-time views), C channels, K classes, H W pixels.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from segexp.data.labels.modes import MULTICLASS, LabelMode, strips
from segexp.errors import ConfigError, listed
from segexp.inference import views
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.types import DataSpec


@dataclass
class Prediction:
    """What is known about one image.

    Attributes:
        probabilities: (K, H, W) float32 on the CPU, the mean over views; of exclusive classes summing to 1.
        classes: (H, W) uint8; of overlapping labels, bit sets.
        uncertainty: (H, W) float32 from 0 to 1, the entropy of the mean probabilities (`LabelMode`); None when not asked for.
        scores: "entropy", the mean of that over pixels. With several views also "mutual_information", how much less of it
            (0 to 1) a view has by itself: what the views do not agree on; and "disagreement" (0 to 1), 1 - the mean over
            views of the mean Dice over foreground classes between the view's mask and the final one, where a class that is
            in neither counts as agreement.
    """

    probabilities: torch.Tensor
    classes: np.ndarray
    uncertainty: np.ndarray | None
    scores: dict[str, float]


@dataclass
class Predictor:
    """Segmenters that predict together; with one of them and no views, exactly what validation scored.

    Attributes:
        members: of one class table and number of channels; each prepares the image in its own way.
        tta: "none", "flips" or "dihedral".
        postprocessing: probabilities to classes; None is the stored one of a single member, and none at all for several.
        uncertainty: make the map also for a single view; for several it is always made.

    Raises:
        ConfigError: members do not fit together, there is none, `tta` is unknown, or a threshold is for two classes only.
    """

    members: Sequence[Segmenter]
    tta: str = "none"
    postprocessing: Postprocessing | None = None
    uncertainty: bool = False

    def __post_init__(self) -> None:
        views(self.tta)
        if not self.members:
            raise ConfigError("The ensemble has no members", "One checkpoint or more was expected", "Type checkpoint=runs/…")
        for other in self.members[1:]:
            _check_fit(self.members[0], other)
        self.label_mode.check(self.rule, self.spec.num_classes)

    @property
    def spec(self) -> DataSpec:
        """The class table of all members."""
        return self.members[0].spec

    @property
    def label_mode(self) -> LabelMode:
        """What probabilities and masks mean."""
        return self.members[0].label_mode

    @property
    def views(self) -> int:
        """V, how often an image is seen."""
        return len(self.members) * len(views(self.tta))

    @property
    def rule(self) -> Postprocessing:
        """What makes classes of probabilities."""
        if self.postprocessing is not None:
            return self.postprocessing
        return self.members[0].postprocessing if len(self.members) == 1 else Postprocessing()

    def __call__(self, image: np.ndarray, told: Callable[[np.ndarray], None] = lambda _: None) -> Prediction:
        """Return the prediction for an image array (H, W, C) uint8, uint16 or float32.

        Args:
            image: the array.
            told: where there are several views, given the mask (H, W) that each of them means by itself, in their order.

        Raises:
            DataError: the image has another number of channels than the members take.
        """
        several = self.views > 1
        total: torch.Tensor | None = None
        masks: list[bytes] = []
        inside = 0.0
        for seen in self._seen(image):
            if several:  # masks wait packed, for what they are compared with is known at the end
                mask = self.label_mode.decide(seen, self.rule)
                told(mask)
                masks.append(zlib.compress(mask.tobytes(), 1))
                inside += entropy(seen, labelling=self.label_mode) / self.views
            if total is not None and total.device != seen.device:  # a GPU had no room left for this one
                total, seen = total.cpu(), seen.cpu()
            total = seen if total is None else total.add_(seen)
            del seen  # or it would live until the next view is made
        assert total is not None, "there is at least one member"
        mean = (total.div_(self.views) if several else total).cpu()
        classes = self.label_mode.decide(mean, self.rule)
        uncertainty = np.empty(classes.shape, np.float32) if several or self.uncertainty else None
        scores = {"entropy": entropy(mean, uncertainty, self.label_mode)}
        if several:
            scores["disagreement"] = _disagreement(masks, classes, self.spec.num_classes, self.label_mode)
            scores["mutual_information"] = max(0.0, scores["entropy"] - inside)
        return Prediction(mean, classes, uncertainty, scores)

    def _seen(self, image: np.ndarray) -> Iterator[torch.Tensor]:
        """Yield the probabilities (K, H, W) of each view."""
        for member in self.members:
            for view in views(self.tta):
                yield member.probabilities(image, view)


def entropy(probabilities: torch.Tensor, into: np.ndarray | None = None, labelling: LabelMode = MULTICLASS) -> float:
    """Return the mean over pixels of the entropy of probabilities (K, H, W), from 0 to 1.

    Args:
        probabilities: as the labelling gives them.
        into: (H, W) float32, filled with each pixel's.
        labelling: what they mean.
    """
    total = 0.0
    for rows in strips(probabilities):
        here = labelling.entropy(probabilities[:, rows]).clamp_(0, 1)
        total += float(here.sum(dtype=torch.float64))
        if into is not None:
            into[rows] = here.cpu().numpy()
    return total / (probabilities.shape[1] * probabilities.shape[2])


def _disagreement(masks: list[bytes], consensus: np.ndarray, classes: int, labelling: LabelMode) -> float:
    """Return 1 - the mean foreground Dice of packed masks with the consensus (H, W) uint8."""
    agreement = 0.0
    for packed in masks:
        mask = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(consensus.shape)
        for k in range(1, classes):
            one, other = labelling.has(mask, k), labelling.has(consensus, k)
            both, sizes = np.count_nonzero(one & other), np.count_nonzero(one) + np.count_nonzero(other)
            agreement += 2 * both / sizes if sizes else 1.0
    return 1 - agreement / (len(masks) * (classes - 1))


def _check_fit(first: Segmenter, other: Segmenter) -> None:
    """Check that two members can be averaged.

    Raises:
        ConfigError: their classes, channels or labels differ.
    """
    files = [str(member.provenance.file if member.provenance else "a segmenter") for member in (first, other)]
    for what, one, two in (
        ("the classes", listed(first.spec.classes, 20), listed(other.spec.classes, 20)),
        ("images with channels:", first.spec.channels, other.spec.channels),
        ("labels that are", *("overlapping" if each.spec.overlapping else "exclusive" for each in (first, other))),
    ):
        if one != two:
            raise ConfigError(
                f"{files[0]} takes {what} {one} and {files[1]} takes {what} {two}",
                "Members of an ensemble with the same classes in the same order and the same channels were expected",
                "Leave one of them out of checkpoint=[…]",
            )
