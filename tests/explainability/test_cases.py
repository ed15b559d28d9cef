import numpy as np
import pytest

from segexp.data.cache import RamStore
from segexp.data.dataset import EvalDataset
from segexp.data.preprocessing import Preprocessing
from segexp.data.statistics import DecodedCase
from segexp.explainability.cases import explain_cases
from segexp.explainability.explainer import make_explainer
from segexp.types import Case, Source


@pytest.fixture
def cases(known, segmenter):
    """Explain cases of 20 x 24 pixels, of which the first has the class in its upper half; `predicted` by position."""
    masks = [np.zeros((20, 24), np.uint8) for _ in range(2)]
    masks[0][:10] = 1
    rng = np.random.default_rng(0)
    pictures = [DecodedCase(rng.integers(1, 255, (20, 24, 1)).astype(np.uint8), mask) for mask in masks]
    prepared = EvalDataset(RamStore(pictures), [0, 1], Preprocessing(1))
    names = [Case(f"case{n}", Source(f"{n}.png"), ()) for n in range(2)]

    def made(predicted, **more):
        explainer = make_explainer(segmenter(known(), **more), 1, "seg_gradcam")
        return list(explain_cases(explainer, prepared, names, predicted))

    return made


def test_over_the_predicted_pixels(cases):
    guess = np.zeros((20, 24), np.uint8)
    guess[:, :12] = 1
    (found,) = cases({0: guess})
    assert found.title.startswith("case0   ")
    assert found.title.endswith("% of it in the outline (50% of the image)")
    np.testing.assert_array_equal(found.region, guess == 1)
    assert found.values.shape == found.truth.shape == found.image.shape[:2] == (20, 24)


def test_over_the_true_ones_and_over_all_where_nothing_is_predicted(cases):
    one, two = cases({1: np.zeros((20, 24), np.uint8), 0: np.zeros((20, 24), np.uint8)})
    assert one.title.endswith("   cell is not predicted: for its true pixels")
    assert one.region[:10].all()
    assert two.title == "case1   no cell: for all pixels"
    assert not two.region.any()
    assert two.values.max() > 0


def test_a_case_that_is_too_large_is_left_out(cases):
    assert cases({0: np.ones((20, 24), np.uint8)}, max_pixels=400) == []
