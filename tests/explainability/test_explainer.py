"""From an image to a map: where maps point, that they follow the weights, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from fixtures.configs import train_config
from segexp.data.preprocessing import Preprocessing
from segexp.errors import DataError
from segexp.explainability.attribution import METHODS, OF_LAYER, grad_cam
from segexp.explainability.explainer import make_explainer, upsample_map
from segexp.explainability.regions import pointing_game
from segexp.explainability.target_layers import Layer, choose_layer, explainable
from segexp.inference.segmenter import Provenance, Segmenter
from segexp.models import UNet, UNetPaper
from segexp.types import DataSpec

DECODER = "up.1"
"""Of the U-Net that learned: this simple task hardly needs the deepest map, and there is next to nothing in it."""


def maps(segmenter, method, images, masks, window=16):
    explain = make_explainer(segmenter, 1, method, DECODER, steps=16, window=window)
    return [explain(image, mask).values for image, mask in zip(images, masks, strict=True)]


def rank_correlation(one, other):
    """Spearman's; 0 where a map is constant, as one of weights that were never trained may be."""
    constant = any(values.max() == values.min() for values in (one, other))
    return 0.0 if constant else spearmanr(one.ravel(), other.ravel()).statistic


# Sanity: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018 ---------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_map_points_at_the_object(learned, method):
    segmenter, images, masks = learned
    found = [pointing_game(values, mask) for values, mask in zip(maps(segmenter, method, images, masks), masks, strict=True)]
    inside, share = np.mean([each.inside for each in found]), np.mean([each.share for each in found])
    assert inside > 2 * share, "more than a map without knowledge has there"
    assert np.mean([each.hit for each in found]) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_map_changes_when_the_weights_are_drawn_anew(learned, method):
    segmenter, images, masks = learned
    torch.manual_seed(7)
    anew = Segmenter(UNet(1, 2, width=8, depth=4).eval(), segmenter.preprocessing, segmenter.spec, channels_last=False)
    first, again, other = (maps(each, method, images[:2], masks[:2], window=8) for each in (segmenter, segmenter, anew))
    assert np.mean([rank_correlation(*pair) for pair in zip(first, other, strict=True)]) < 0.6
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True)), "but not by itself"


@pytest.mark.slow
def test_the_map_follows_what_is_asked(learned):
    segmenter, images, masks = learned
    one, other = (make_explainer(segmenter, k, "occlusion", window=16)(images[0], masks[0]).values for k in (0, 1))
    assert rank_correlation(one, other) < -0.2, "what speaks for the one class speaks against the other"


# What a score is -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_region_counts_for_those_methods_that_say_so(learned):
    segmenter, images, masks = learned
    corner = np.zeros_like(masks[0])
    corner[:8, :8] = True
    for method in METHODS:
        one, other = (maps(segmenter, method, images[:1], [region])[0] for region in (masks[0], corner))
        assert np.array_equal(one, other) == (method in ("gradcam", "gradcam++")), method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("size", "shape"), [(None, (37, 50)), (48, (37, 50)), (None, (16, 17)), ((32, 64), (90, 41))])
def test_every_size_of_image(method, size, shape):
    torch.manual_seed(0)
    spec = DataSpec("d", ("background", "a", "b"), 2, ((0, 0, 0),) * 3)
    segmenter = Segmenter(UNet(2, 3, width=4, depth=3), Preprocessing(2, size, mean=(0.0,) * 2, std=(1.0,) * 2), spec)
    image = np.random.default_rng(0).random((*shape, 2)).astype(np.float32)
    found = make_explainer(segmenter, 2, method, steps=4)(image, np.ones(shape, bool))
    assert found.values.shape == shape
    assert found.values.dtype == np.float32
    assert np.isfinite(found.values).all()
    if method in OF_LAYER:
        assert found.values.min() >= 0


def test_classes_that_may_overlap_are_scored_against_the_background(known, segmenter):
    network, image = known(), np.full((16, 16, 1), 0.5, np.float32)
    with torch.no_grad():
        network.head.weight[0, 0] = 3  # the background gains more by brightness than the class
    exclusive, overlapping = (
        make_explainer(segmenter(network, overlapping=kind), 1, "integrated_gradients", steps=8)(image, np.ones((16, 16), bool))
        for kind in (False, True)
    )
    assert exclusive.values.sum() == pytest.approx(0.5, abs=1e-4)
    assert overlapping.values.sum() == pytest.approx(0.5 - 1.5, abs=1e-4)


def test_what_is_hidden_has_the_mean_colour_of_the_training_images(known, segmenter):
    image, everywhere = np.full((16, 16, 1), 0.5, np.float32), np.ones((16, 16), bool)
    for mean, total in ((0.0, 0.5), (0.4, 0.1)):
        origin = Provenance(Path("best.ckpt"), train_config(), fingerprint={"mean": [mean]})
        made = segmenter(known(), provenance=origin)
        assert make_explainer(made, 1, "integrated_gradients")(image, everywhere).values.sum() == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("size", [None, 64, 32, 16])
def test_integrated_gradients_of_a_resized_picture_sum_to_the_difference_of_the_scores(size):
    torch.manual_seed(0)
    spec = DataSpec("d", ("background", "a"), 1, ((0, 0, 0),) * 2)
    segmenter = Segmenter(UNet(1, 2, width=4, depth=3), Preprocessing(1, size, mean=(0.0,), std=(1.0,)), spec)
    image = cv2.GaussianBlur(np.random.default_rng(0).random((64, 64)).astype(np.float32), (0, 0), 5)[..., None]
    seen = segmenter.preprocessing.prepare(image)[None]
    with torch.no_grad():
        network = segmenter.network.eval()
        expected = float((network(seen) - network(torch.zeros_like(seen)))[:, 1].mean())
    found = make_explainer(segmenter, 1, "integrated_gradients", steps=64)(image, np.ones((64, 64), bool))
    assert found.values.sum() == pytest.approx(expected, rel=0.05)


# What is said, what is refused, what is left alone ---------------------------------------------------------------------------


def test_a_map_of_nothing_is_said(known, segmenter):
    image, everywhere = np.full((16, 16, 1), 0.5, np.float32), np.ones((16, 16), bool)
    made = segmenter(known(weights=(-1.0, 0.0)))
    assert make_explainer(made, 1, "gradcam")(image, everywhere).note == "nothing in act speaks for the class, the map is 0"
    made = segmenter(known(weights=(0.0, 0.0)))
    assert make_explainer(made, 1, "occlusion")(image, everywhere).note == "nothing changes the score, the map is 0"


def test_a_map_that_is_not_finite_is_said(known, segmenter):
    image = np.full((16, 16, 1), 0.5, np.float32)
    made = segmenter(known(weights=(float("inf"), 0.0)))
    found = make_explainer(made, 1, "gradcam")(image, np.ones((16, 16), bool))
    assert found.note == "the map is not finite"
    assert np.isfinite(found.values).all()


def test_too_few_steps_are_said(known, segmenter):
    image = np.full((16, 16, 1), 0.1, np.float32)
    network = known()
    network.maps.bias = torch.nn.Parameter(torch.tensor([-0.099, 0.0]))
    found = make_explainer(segmenter(network), 1, "integrated_gradients", steps=2)(image, np.ones((16, 16), bool))
    assert found.note.startswith("2 steps are too few: the map misses ")


def test_an_image_beyond_max_pixels_is_refused(known, segmenter):
    made = make_explainer(segmenter(known(), max_pixels=300), 1, "gradcam")
    made(np.zeros((16, 18, 1), np.float32), np.ones((16, 18), bool))
    with pytest.raises(DataError) as refused:
        made(np.zeros((16, 20, 1), np.float32), np.ones((16, 20), bool))
    assert str(refused.value) == (
        "its 16x20 pixels are more than max_pixels=300, and one pass must see all of it. A smaller image, or room for the "
        "gradients of the whole one. Type max_pixels=0 to try it all the same, or cut the part out that is asked about."
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_training_network_is_left_as_it_was(method):
    torch.manual_seed(0)
    network = UNet(1, 2, width=4, depth=3, dropout=0.5).train()
    spec = DataSpec("d", ("background", "a"), 1, ((0, 0, 0),) * 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    explain = make_explainer(Segmenter(network, Preprocessing(1), spec), 1, method, steps=3)
    explain(np.full((20, 20, 1), 0.3, np.float32), np.ones((20, 20), bool))
    assert torch.equal(torch.rand(4), expected)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


def test_tiles_and_one_pass_give_the_same():
    torch.manual_seed(0)
    network = UNetPaper(1, 2, width=4, depth=3, dropout=0.0)
    spec = DataSpec("d", ("background", "a"), 1, ((0, 0, 0),) * 2)
    image = np.random.default_rng(1).random((60, 70, 1)).astype(np.float32)
    found = []
    for tile in (None, 20):
        network.tile = tile
        found.append(make_explainer(Segmenter(network, Preprocessing(1), spec), 1, "gradcam")(image, np.ones((60, 70), bool)))
    np.testing.assert_array_equal(found[0].values, found[1].values)


def layer(pitch):
    return Layer("x", nn.Identity(), (pitch, pitch))


def test_cells_of_a_divisible_image_cover_it():
    values = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    found = upsample_map(values, layer(8.0), nn.Identity(), (16, 16))
    assert found.shape == (16, 16)
    assert torch.equal(found[[0, 0, -1, -1], [0, -1, 0, -1]].view(2, 2), values), "the corners"
    assert found[8, 7:9].mean() == pytest.approx(1.5 + 1 / 8)


def test_what_lies_beyond_the_image_is_cut_off_evenly():
    values = torch.arange(3.0)[:, None].expand(3, 3)
    whole = upsample_map(values, layer(8.0), nn.Identity(), (24, 24))
    assert torch.equal(upsample_map(values, layer(8.0), nn.Identity(), (19, 20)), whole[2:21, 2:22])


@pytest.mark.parametrize("pitch", [0.0, 2.5])
def test_cells_that_do_not_follow_the_image_are_stretched(pitch):
    found = upsample_map(torch.tensor([[1.0, 2.0]]), layer(pitch), nn.Identity(), (6, 10))
    assert found.shape == (6, 10)
    assert (found[:, 0] == 1).all()
    assert (found[:, -1] == 2).all()


@pytest.mark.parametrize("size", [(80, 80), (71, 90)])
@pytest.mark.parametrize("make", [UNet, UNetPaper])
def test_the_cell_that_sees_a_spot_lies_over_it(make, size):
    """Of the deepest map, without biases and norm, only the cells around a single bright spot are not 0."""
    torch.manual_seed(0)
    network = make(1, 2, width=2, depth=3, **({"norm": "none"} if make is UNet else {}))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(torch.zeros_like(weight) if name.endswith("bias") else weight.abs())
    image = torch.zeros(1, 1, *size)
    image[0, 0, 30, 52] = 1
    chosen = choose_layer(network, 1)
    with explainable(network):
        values = grad_cam(lambda x: network(x)[:, 1].mean(dim=(1, 2)), image, chosen.module)
    found = upsample_map(values, chosen, network, size)
    assert found.shape == size
    weights = found / found.sum()
    row = (weights.sum(dim=1) * torch.arange(size[0])).sum()
    column = (weights.sum(dim=0) * torch.arange(size[1])).sum()
    assert (row.item(), column.item()) == pytest.approx((30, 52), abs=2.5), "a cell is 4 pixels wide"
