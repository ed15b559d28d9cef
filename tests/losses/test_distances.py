import numpy as np
import pytest
import torch
from scipy import ndimage

from segexp.losses.distances import border_distance, distance_to, gap_weights, signed_distance


def blobs(seed=0, count=2, size=(40, 33), level=0.58):
    """Random sets (N, H, W) of a few blobs each, and the known pixels, most of them."""
    rng = np.random.default_rng(seed)
    noise = np.stack([ndimage.gaussian_filter(rng.uniform(size=size), 2.5) for _ in range(count)])
    lowest, highest = noise.min((1, 2), keepdims=True), noise.max((1, 2), keepdims=True)
    sets = (noise - lowest) / (highest - lowest) > level
    known = np.ones((count, *size), bool)
    known[:, 5:9, 20:] = False
    return torch.from_numpy(sets), torch.from_numpy(known)


def brute_force(pixels):
    """Distances to the nearest pixel of a set, by all pairs."""
    places = np.argwhere(pixels)
    here = np.stack(np.indices(pixels.shape), -1)
    return np.sqrt(((here[:, :, None] - places) ** 2).sum(-1).min(-1))


def test_distance_to_a_set_is_that_of_all_pairs():
    pixels = blobs()[0][0].numpy()
    np.testing.assert_allclose(distance_to(pixels), brute_force(pixels), rtol=1e-6)
    point = np.zeros((200, 300), bool)
    point[0, 0] = True
    np.testing.assert_allclose(distance_to(point)[150, 200], 250, rtol=1e-6)


def test_signed_distance_by_hand():
    inside = torch.tensor([[[0, 0, 1, 1, 1, 0]]], dtype=torch.bool)
    expected = torch.tensor([[[2.0, 1, 0, -1, 0, 1]]])
    assert torch.equal(signed_distance(inside, torch.ones_like(inside)), expected)
    cut = torch.tensor([[[1, 1, 1, 1, 1, 0]]], dtype=torch.bool)  # without the last pixel
    assert torch.equal(signed_distance(inside, cut)[..., :5], torch.tensor([[[2.0, 1, 0, -1, -2]]]))


def test_border_distance_by_hand():
    inside = torch.tensor([[[0, 0, 1, 1, 1, 0]]], dtype=torch.bool)
    assert torch.equal(border_distance(inside, torch.ones_like(inside)), torch.tensor([[[2.0, 1, 1, 2, 1, 1]]]))


def test_like_scipy_on_several_planes():
    sets, known = blobs(count=4)
    both = signed_distance(sets.view(2, 2, 40, 33), known.view(2, 2, 40, 33)[:, :1])
    assert both.shape == (2, 2, 40, 33)
    for inside, see, signed in zip(sets, known, both.flatten(0, 1), strict=True):
        out = ndimage.distance_transform_edt(~(inside & see).numpy())
        away = ndimage.distance_transform_edt(~(~inside & see).numpy())
        np.testing.assert_allclose(signed[see], (out - np.maximum(away - 1, 0))[see], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("measure", [signed_distance, border_distance])
def test_no_border_no_distance(measure):
    sets = torch.zeros(3, 6, 5, dtype=torch.bool)
    sets[1] = True
    sets[2, :3] = True
    known = torch.ones_like(sets)
    known[2, 3:] = False  # what is left of the last is full
    assert torch.equal(measure(sets, known), torch.zeros(3, 6, 5))
    assert torch.equal(measure(sets[:1], torch.zeros_like(known[:1])), torch.zeros(1, 6, 5))


def all_objects(labels, known, sigma):
    """The weights by one distance transform for each object."""
    seen = labels * known
    parts = [
        p for k in np.unique(seen[seen > 0]) for n in [ndimage.label(seen == k)] for p in (n[0] == i + 1 for i in range(n[1]))
    ]
    if len(parts) < 2:
        return np.zeros(labels.shape)
    first, second = np.sort([ndimage.distance_transform_edt(~part) for part in parts], axis=0)[:2]
    return np.exp(-((first + second) ** 2) / (2 * sigma**2)) * (seen == 0)


@pytest.mark.parametrize("sigma", [0.7, 2.0, 5.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gap_weights_are_those_of_all_objects(seed, sigma):
    sets, known = blobs(seed, count=2)
    labels = sets.long() * (1 + (torch.arange(33) > 16).long())  # two classes that touch
    ours = gap_weights(labels, known, sigma)
    assert ours.dtype == torch.float32
    assert ours.max() > 0
    for n in range(2):
        np.testing.assert_allclose(ours[n], all_objects(labels[n].numpy(), known[n].numpy(), sigma), atol=4e-6)


def test_gap_weights_by_hand():
    labels = torch.zeros(1, 3, 7, dtype=torch.long)
    labels[0, :, :2] = labels[0, :, 5:] = 1
    weights = gap_weights(labels, torch.ones(1, 3, 7, dtype=torch.bool), sigma=3.0)
    gap = np.exp(-16 / 18)  # 1 + 3, 2 + 2 and 3 + 1 pixels
    np.testing.assert_allclose(weights[0, 1], [0, 0, gap, gap, gap, 0, 0], rtol=1e-6)


def test_objects_that_touch_at_corners_are_two():
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[0, :2, :2] = labels[0, 2:, 2:] = 1
    known = torch.ones(1, 4, 4, dtype=torch.bool)
    assert gap_weights(labels, known, 2.0)[0, 1, 2] > 0
    labels[0, 1, 2] = 1
    assert gap_weights(labels, known, 2.0).max() == 0


@pytest.mark.parametrize("value", [0, 1])
def test_fewer_than_two_objects_have_no_gap(value):
    labels = torch.full((1, 5, 5), value)
    assert gap_weights(labels, torch.ones(1, 5, 5, dtype=torch.bool), 5.0).max() == 0
