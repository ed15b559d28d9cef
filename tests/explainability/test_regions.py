import numpy as np
import pytest
import torch
from torch.nn import functional

from segexp.data.labels.modes import MULTICLASS, MULTILABEL
from segexp.errors import ConfigError
from segexp.explainability.regions import box_pixels, class_index, class_pixels, pointing_game, region_weights
from segexp.types import DataSpec

REGION = np.array([[True, True, False, False]])


def test_energy_and_peak_inside():
    found = pointing_game(np.array([[3.0, 0.0, 1.0, -8.0]]), REGION)
    assert (found.share, found.inside, found.peak, found.hit, found.highest) == (0.5, 0.75, (0, 0), True, 3.0)


def test_a_peak_outside():
    found = pointing_game(np.array([[1.0, 0.0, 3.0, 0.0]]), REGION)
    assert (found.inside, found.peak, found.hit) == (0.25, (0, 2), False)


@pytest.mark.parametrize("values", [np.zeros((1, 4)), np.array([[-1.0, 0.0, -2.0, -3.0]])])
def test_a_map_without_anything_positive_points_nowhere(values):
    found = pointing_game(values, REGION)
    assert np.isnan(found.inside)
    assert (found.peak, found.hit) == (None, None)


def test_without_a_region_there_is_a_peak_and_no_share():
    found = pointing_game(np.array([[1.0, 2.0, 0.0, 0.0]]), np.zeros((1, 4), bool))
    assert np.isnan(found.inside)
    assert (found.share, found.peak, found.hit) == (0.0, (0, 1), None)


def test_a_map_that_knows_nothing_has_the_share_of_the_region():
    found = pointing_game(np.full((1, 4), 0.3), REGION)
    assert found.inside == pytest.approx(found.share)


def test_what_a_title_says_of_it():
    values, region = np.zeros((4, 4)), np.zeros((4, 4), bool)
    values[0] = 1
    region[:, 0] = True
    assert str(pointing_game(values, region)) == "25% of it in the outline (25% of the image)"
    assert str(pointing_game(0 * values, region)) == ""


NAMES = ("background", "cell", "7")
SPEC = DataSpec("d", NAMES, 1, ((0, 0, 0),) * 3)
SETS = DataSpec("d", NAMES, 1, ((0, 0, 0),) * 3, overlapping=True)


@pytest.mark.parametrize(("target", "index"), [(None, 1), ("cell", 1), ("7", 2), (7, 2), (2, 2), ("0", 0), ("background", 0)])
def test_a_class_by_name_or_index(target, index):
    assert class_index(target, SPEC) == index


@pytest.mark.parametrize(
    ("target", "spec", "message"),
    [
        ("cel", SPEC, "target=cel is no class of the network. It has background (0), cell (1), 7 (2). Did you mean cell?"),
        (9, SPEC, "target=9 is no class of the network. It has background (0), cell (1), 7 (2). Type target=cell."),
        (
            -1,
            SPEC,
            "target=-1 is no class of the network. It has background (0), cell (1), 7 (2). Known names: 7, background, cell.",
        ),
        (
            0,
            SETS,
            "target=0 is what is there where no class is, and the classes may overlap. One of cell, 7 was expected: each has a "
            "score of its own against the background. Type target=cell.",
        ),
    ],
)
def test_a_class_that_does_not_exist(target, spec, message):
    with pytest.raises(ConfigError) as refused:
        class_index(target, spec)
    assert str(refused.value).startswith(message)


def test_ignored_pixels_have_no_class():
    mask = np.array([[0, 1, 2, 3, 255]], np.uint8)
    assert class_pixels(MULTICLASS, mask, 2).tolist() == [[False, False, True, False, False]]
    assert class_pixels(MULTILABEL, mask, 2).tolist() == [[False, False, True, True, False]]


def test_a_box_is_cut_at_the_image():
    found = box_pixels([1, 2, 3, 99], (4, 5))
    assert np.argwhere(found).tolist() == [[1, 2], [1, 3], [1, 4], [2, 2], [2, 3], [2, 4]]
    assert not box_pixels([9, 0, 12, 3], (4, 5)).any()


@pytest.mark.parametrize("size", [(20, 30), (7, 11), (41, 50)])
def test_weights_give_the_mean_over_the_region_at_its_own_size(size):
    region = np.zeros((20, 30), bool)
    region[3:5, 7] = region[12, 20:22] = True
    logits = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    own = functional.interpolate(logits, size=(20, 30), mode="bilinear", align_corners=False)[0, 0]
    share = region_weights(region, size)
    assert share.shape == size
    assert share.sum().item() == pytest.approx(1)
    assert (logits[0, 0] * share).sum().item() == pytest.approx(own[torch.from_numpy(region)].mean().item(), abs=1e-5)


def test_the_first_class_is_explained_where_none_is_the_background():
    spec = DataSpec("land", ("field", "wood"), 3, ((1, 1, 1), (2, 2, 2)), background=False)
    assert class_index(None, spec) == 0
