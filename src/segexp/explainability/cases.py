"""Grad-CAM of cases with known masks, during and after training.

Shapes: H W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence

from segexp.data.dataset import ScoringCases
from segexp.data.preprocessing import resize_image
from segexp.errors import DataError
from segexp.explainability.explainer import Explainer
from segexp.explainability.regions import class_pixels, pointing_game
from segexp.types import Array, Case
from segexp.visualization import ExplainedCase


def explain_cases(
    explainer: Explainer, prepared: ScoringCases, cases: Sequence[Case], predicted: Mapping[int, Array]
) -> Iterator[ExplainedCase]:
    """Yield Seg-Grad-CAM of cases over the pixels predicted as the class.

    If there are none, the true pixels are used, and if there are none of these either, all pixels; the title says so. Cases
    too large for one pass are skipped.

    Args:
        explainer: of the class.
        prepared: cases as samples.
        cases: the same cases.
        predicted: masks (H, W) by the position of the case.
    """
    labelling, name = explainer.segmenter.label_mode, explainer.segmenter.spec.classes[explainer.target]
    for position, mask in sorted(predicted.items()):
        picture = prepared.store[prepared.members[position]]
        region, said = class_pixels(labelling, mask, explainer.target), ""
        if not region.any():
            region = class_pixels(labelling, picture.mask, explainer.target)
            said = f"{name} is not predicted: for its true pixels" if region.any() else f"no {name}: for all pixels"
        seen = prepared[position].image.to(explainer.segmenter.device)
        try:
            found = explainer.explain(seen, region if region.any() else ~region)
        except DataError:
            continue
        lies = pointing_game(found.values, region)
        title = "   ".join(filter(None, (cases[position].id, str(lies), said, found.note)))
        image = resize_image(picture.image, (mask.shape[0], mask.shape[1]))
        yield ExplainedCase(image, picture.mask, mask, found.values, region, title)
