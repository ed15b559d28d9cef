"""Each method on a network that can be worked out by hand."""

import pytest
import torch
from torch import nn

from segexp.explainability.attribution import (
    METHODS,
    OF_LAYER,
    SIGNED,
    WHOLE,
    grad_cam,
    grad_cam_pp,
    integrated_gradients,
    occlusion,
)


@pytest.fixture
def image():
    """Left half 2, right half -1."""
    values = torch.full((1, 1, 4, 6), 2.0)
    values[..., 3:] = -1
    return values


def score_of(network, region=slice(None)):
    return lambda images: network(images)[:, 1, :, region].mean(dim=(1, 2))


def test_the_names_are_told_apart():
    assert set(OF_LAYER) | set(SIGNED) == set(METHODS)
    assert set(WHOLE) < set(OF_LAYER)


def test_grad_cam_weighs_channels_by_their_mean_gradient(known, image):
    network = known(weights=(3.0, -5.0))
    found = grad_cam(score_of(network), image, network.act)
    gradient = torch.tensor([3.0, -5.0]) / 24  # of each of the 24 cells of a channel
    expected = torch.where(image[0, 0] > 0, gradient[0] * 2, gradient[1] * 1).relu()
    assert torch.allclose(found, expected)
    assert (found[:, 3:] == 0).all(), "what speaks against it is cut off"


def test_seg_grad_cam_is_grad_cam_of_a_part_of_the_pixels(known, image):
    """With a 1x1 network the gradient of a region is the region's share of the whole one, and so is the map."""
    network = known(weights=(3.0, 1.0))
    whole, left = (grad_cam(score_of(network, part), image, network.act) for part in (slice(None), slice(0, 3)))
    assert torch.allclose(whole, left)
    network.act = nn.Sequential(nn.ReLU(), Gate())
    whole, left = (grad_cam(score_of(network, part), image, network.act[0]) for part in (slice(None), slice(0, 3)))
    assert left[0, 5] == 0, "no gradient comes from the right half, where alone the second channel counts"
    assert whole[0, 5] > 0


class Gate(nn.Module):
    """Lets the first channel through on the left half and the second one on the right half."""

    def forward(self, x):
        open_ = torch.zeros_like(x)
        open_[:, 0, :, :3] = open_[:, 1, :, 3:] = 1
        return x * open_


def test_grad_cam_pp_follows_the_formula_of_the_paper(known, image):
    network = known(weights=(3.0, -5.0))
    found = grad_cam_pp(score_of(network), image, network.act)
    maps = torch.stack([image[0, 0].relu(), (-image[0, 0]).relu()])
    gradient = (torch.tensor([3.0, -5.0]) / 24)[:, None, None].expand(2, 4, 6)
    weights = []
    for k in range(2):
        total = 0.0
        for g in gradient[k].flatten().tolist():
            alpha = g**2 / (2 * g**2 + g**3 * maps[k].sum().item())
            total += alpha * max(g, 0)
        weights.append(total)
    expected = (weights[0] * maps[0] + weights[1] * maps[1]).relu()
    assert torch.allclose(found, expected, atol=1e-6)
    assert weights[0] > 0
    assert weights[1] == 0


def test_grad_cam_pp_of_a_channel_without_gradient_is_no_nan(known, image):
    network = known(weights=(0.0, 0.0))
    assert (grad_cam_pp(score_of(network), image, network.act) == 0).all()


def test_integrated_gradients_sum_to_the_difference_of_the_scores(known, image):
    network = known(weights=(3.0, -5.0))
    found, missed = integrated_gradients(score_of(network), image, torch.zeros_like(image), 32)
    assert found.shape == (4, 6)
    assert torch.allclose(found, torch.where(image[0, 0] > 0, 3.0 * 2, -5.0 * 1) / 24)
    assert found.sum().item() == pytest.approx(score_of(network)(image).item(), abs=1e-5)
    assert missed == pytest.approx(0, abs=1e-5)


def test_few_steps_over_a_bend_miss_something(known, image):
    network, baseline = known(weights=(3.0, -5.0)), torch.full_like(image, -4.0)
    (_, few), (_, many) = (integrated_gradients(score_of(network), image, baseline, steps) for steps in (3, 300))
    assert few > 10 * many


def test_occlusion_is_how_much_the_score_falls_in_the_mean_over_squares(known):
    network, image = known(), torch.zeros(1, 1, 8, 8)
    image[0, 0, 2:4, 2:4] = 1
    found = occlusion(score_of(network), image, torch.zeros_like(image), 2)
    squares = [(y, x) for y in range(7) for x in range(7)]
    fall = {(y, x): image[0, 0, y : y + 2, x : x + 2].sum().item() / 64 for y, x in squares}
    for y, x in ((2, 2), (0, 0), (4, 4), (1, 3)):
        over = [fall[s] for s in squares if s[0] <= y < s[0] + 2 and s[1] <= x < s[1] + 2]
        assert found[y, x].item() == pytest.approx(sum(over) / len(over), abs=1e-6)


def test_a_square_is_never_larger_than_the_image_and_hides_every_channel():
    image = torch.rand(1, 3, 5, 9, generator=torch.Generator().manual_seed(0))
    found = occlusion(lambda x: x.sum(dim=(1, 2, 3)), image, torch.zeros_like(image), 40)
    assert found.shape == (5, 9)
    assert torch.allclose(found, image.sum().expand(5, 9), atol=1e-4), "one square hides everything"


@pytest.mark.parametrize("method", [grad_cam, grad_cam_pp])
def test_no_hook_and_no_gradient_stays_behind(known, image, method):
    network = known()
    method(score_of(network), image, network.act)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert all(weight.grad is None for weight in network.parameters())


def test_frozen_weights_do_not_stop_the_gradients(known, image):
    network = known().requires_grad_(False)
    assert grad_cam(score_of(network), image, network.act).max() > 0
    assert grad_cam_pp(score_of(network), image, network.act).max() > 0


def test_grad_cam_pp_sees_a_layer_as_it_was_before_what_follows_changes_it_in_place(known, image):
    network = known(weights=(3.0, -5.0))
    scale = nn.Conv2d(2, 2, 1, bias=False)
    with torch.no_grad():
        scale.weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 1.0]])[..., None, None])
    found = []
    for inplace in (False, True):
        network.act = nn.Sequential(nn.ReLU(), scale, nn.ReLU(inplace=inplace))
        found.append((grad_cam_pp(score_of(network), image, scale), grad_cam_pp(score_of(network), image, network.act[2])))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][0], found[0][1]), "two layers, two maps"
