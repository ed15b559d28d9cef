"""Predictor: combines one or several segmenters and test-time views into one prediction.

Views are accumulated one by one, so that memory does not grow with their number.
Shapes: V views (members times test-time views), C channels, K classes, H W pixels.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from segexp.data.labels.modes import MULTICLASS, LabelMode, row_slices
from segexp.errors import ConfigError, listed
from segexp.inference import views
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.types import DataSpec


@dataclass
class Prediction:
    """Prediction for one image.

    Attributes:
        probabilities: (K, H, W) float32 on the CPU, mean over views; of exclusive classes summing to 1. 0 for pixels without
            data, which the other arrays and the scores leave out as well.
        classes: (H, W) uint8; bit sets for overlapping labels.
        uncertainty: (H, W) float32 from 0 to 1, the entropy of the mean probabilities (`LabelMode`); None if not requested.
        scores: "entropy", its mean over pixels. With several views also "mutual_information" (0 to 1), the entropy minus the
            mean entropy of the single views; and "disagreement" (0 to 1), 1 - the mean over views and counted classes of
            the Dice between the view's mask and the final one, where a class absent from both counts as agreement.
    """

    probabilities: torch.Tensor
    classes: np.ndarray
    uncertainty: np.ndarray | None
    scores: dict[str, float]


@dataclass
class Predictor:
    """Segmenters that predict together; a single one without views predicts exactly as in validation.

    Attributes:
        members: with the same classes and channels; each has its own preprocessing.
        tta: "none", "flips" or "dihedral".
        postprocessing: None for the stored one of a single member, and for none with several members.
        uncertainty: compute the map also for a single view; for several it is always computed.

    Raises:
        ConfigError: the members differ, there is none, `tta` is unknown, or a threshold is given for more than two classes.
    """

    members: Sequence[Segmenter]
    tta: str = "none"
    postprocessing: Postprocessing | None = None
    uncertainty: bool = False

    def __post_init__(self) -> None:
        views(self.tta)
        if not self.members:
            raise ConfigError("The ensemble has no members", "One checkpoint or more was expected", "Type checkpoint=RUN")
        for other in self.members[1:]:
            _check_fit(self.members[0], other)
        self.label_mode.check(self.rule, self.spec.num_classes)

    @property
    def spec(self) -> DataSpec:
        """The class table of all members."""
        return self.members[0].spec

    @property
    def label_mode(self) -> LabelMode:
        """Label mode of probabilities and masks."""
        return self.members[0].label_mode

    @property
    def views(self) -> int:
        """The number of views V."""
        return len(self.members) * len(views(self.tta))

    @property
    def rule(self) -> Postprocessing:
        """The post-processing in use."""
        if self.postprocessing is not None:
            return self.postprocessing
        return self.members[0].postprocessing if len(self.members) == 1 else Postprocessing()

    def __call__(
        self,
        image: np.ndarray,
        told: Callable[[np.ndarray], None] = lambda _: None,
        valid: np.ndarray | None = None,
    ) -> Prediction:
        """Return the prediction for an image array (H, W, C) uint8, uint16 or float32.

        Args:
            image: the array.
            told: called with the mask (H, W) of each view if there are several.
            valid: (H, W) bool, which pixels hold data; None if all do. The others become `DataSpec.without_nodata`.

        Raises:
            DataError: the image has another number of channels than the members.
        """
        several = self.views > 1
        total: torch.Tensor | None = None
        masks: list[bytes] = []
        inside = 0.0
        for seen in self._seen(image):
            if several:  # masks are compressed until the final mask is known
                mask = self.spec.without_nodata(self.label_mode.decide(seen, self.rule), valid)
                told(mask)
                masks.append(zlib.compress(mask.tobytes(), 1))
                inside += entropy(seen, labelling=self.label_mode, valid=valid) / self.views
            if total is not None and total.device != seen.device:  # this view did not fit into GPU memory
                total, seen = total.cpu(), seen.cpu()
            total = seen if total is None else total.add_(seen)
            del seen  # free it before the next view is computed
        assert total is not None, "there is at least one member"
        mean = (total.div_(self.views) if several else total).cpu()
        classes = self.spec.without_nodata(self.label_mode.decide(mean, self.rule), valid)
        uncertainty = np.empty(classes.shape, np.float32) if several or self.uncertainty else None
        scores = {"entropy": entropy(mean, uncertainty, self.label_mode, valid)}
        if valid is not None:
            mean *= torch.from_numpy(valid)
        if several:
            scores["disagreement"] = _disagreement(
                masks, classes, range(self.spec.first, self.spec.num_classes), self.label_mode
            )
            scores["mutual_information"] = max(0.0, scores["entropy"] - inside)
        return Prediction(mean, classes, uncertainty, scores)

    def _seen(self, image: np.ndarray) -> Iterator[torch.Tensor]:
        """Yield the probabilities (K, H, W) of each view."""
        for member in self.members:
            for view in views(self.tta):
                yield member.probabilities(image, view)


def entropy(
    probabilities: torch.Tensor,
    into: np.ndarray | None = None,
    labelling: LabelMode = MULTICLASS,
    valid: np.ndarray | None = None,
) -> float:
    """Return the mean over pixels of the entropy of probabilities (K, H, W), from 0 to 1.

    Args:
        probabilities: of the label mode.
        into: (H, W) float32, filled with the entropy of each pixel.
        labelling: label mode.
        valid: (H, W) bool, the pixels that count; the others have an entropy of 0. None: all.
    """
    total = 0.0
    for rows in row_slices(probabilities):
        here = labelling.entropy(probabilities[:, rows]).clamp_(0, 1)
        if valid is not None:
            here *= torch.from_numpy(valid[rows]).to(here.device)
        total += float(here.sum(dtype=torch.float64))
        if into is not None:
            into[rows] = here.cpu().numpy()
    pixels = probabilities.shape[1] * probabilities.shape[2]
    return total / (pixels if valid is None else max(1, int(np.count_nonzero(valid))))


def _disagreement(masks: list[bytes], consensus: np.ndarray, classes: Sequence[int], labelling: LabelMode) -> float:
    """Return 1 - the mean Dice over some classes of compressed masks with the consensus (H, W) uint8."""
    agreement = 0.0
    for packed in masks:
        mask = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(consensus.shape)
        for k in classes:
            one, other = labelling.has(mask, k), labelling.has(consensus, k)
            both, sizes = np.count_nonzero(one & other), np.count_nonzero(one) + np.count_nonzero(other)
            agreement += 2 * both / sizes if sizes else 1.0
    return 1 - agreement / (len(masks) * len(classes))


def _check_fit(first: Segmenter, other: Segmenter) -> None:
    """Require members that can be averaged.

    Raises:
        ConfigError: their classes, channels or labels differ.
    """
    files = [str(member.provenance.file if member.provenance else "a segmenter") for member in (first, other)]
    for what, one, two in (
        ("the classes", listed(first.spec.classes, 20), listed(other.spec.classes, 20)),
        ("images with channels:", first.spec.channels, other.spec.channels),
        ("a mean that leaves out", *(each.spec.classes[0] if each.spec.background else "no class" for each in (first, other))),
        ("labels that are", *("overlapping" if each.spec.overlapping else "exclusive" for each in (first, other))),
    ):
        if one != two:
            raise ConfigError(
                f"{files[0]} takes {what} {one} and {files[1]} takes {what} {two}",
                "Members of an ensemble with the same classes in the same order and the same channels were expected",
                "Leave one of them out of checkpoint",
            )
