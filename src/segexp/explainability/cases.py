"""Grad-CAM of cases whose truth is known: while a network trains, and of its best weights.

Shapes: H W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from segexp.data.dataset import Prepared
from segexp.data.preprocessing import resize_image
from segexp.errors import DataError
from segexp.explainability.explainer import Explainer
from segexp.explainability.regions import pixels_of, point
from segexp.types import Case
from segexp.visualization import ExplainedCase

Array = np.ndarray[Any, np.dtype[Any]]


def explain_cases(
    explainer: Explainer, prepared: Prepared, cases: Sequence[Case], predicted: Mapping[int, Array]
) -> Iterator[ExplainedCase]:
    """Yield Seg-Grad-CAM of cases over the pixels that are predicted as the class.

    Where none is, as happens at the beginning of a training, it is over the true ones, and where there is none of those either,
    over all; the title says so. A case that is too large to be seen in one pass is left out.

    Args:
        explainer: what is explained.
        prepared: cases as samples.
        cases: the same ones.
        predicted: masks (H, W) by the position of the case.
    """
    labelling, name = explainer.segmenter.label_mode, explainer.segmenter.spec.classes[explainer.target]
    for position, mask in sorted(predicted.items()):
        picture = prepared.store[prepared.members[position]]
        region, said = pixels_of(labelling, mask, explainer.target), ""
        if not region.any():
            region = pixels_of(labelling, picture.mask, explainer.target)
            said = f"{name} is not predicted: for its true pixels" if region.any() else f"no {name}: for all pixels"
        seen = prepared[position].image.to(explainer.segmenter.device)
        try:
            found = explainer.explain(seen, region if region.any() else ~region)
        except DataError:
            continue
        lies = point(found.values, region)
        title = "   ".join(filter(None, (cases[position].id, str(lies), said, found.note)))
        image = resize_image(picture.image, (mask.shape[0], mask.shape[1]))
        yield ExplainedCase(image, picture.mask, mask, found.values, region, title)
