"""Post-processing against hand-made masks and against a slow implementation of the same words."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from segexp.errors import ConfigError
from segexp.inference.postprocessing import STRIP, Postprocessing, components, decide, drop_components, fill_holes

EIGHT = np.ones((3, 3), int)


def certain(classes, count=None):
    """Probabilities (K, H, W) of which the given classes are the most probable ones."""
    classes = np.asarray(classes)
    count = count or max(2, int(classes.max()) + 1)
    eye = np.eye(count, dtype=np.float32)[classes] * 0.8 + 0.2 / count
    return torch.from_numpy(np.moveaxis(eye, -1, 0).copy())


def drawn(*lines):
    """A class map from digits, '.' for the background."""
    return np.array([[0 if c == "." else int(c) for c in line] for line in lines], np.uint8)


def blobs(seed, classes, shape=(41, 53)):
    """A random map with components and holes of all sizes."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=shape), 1.2 if seed % 2 else 0.6) for _ in range(classes)]
    return np.argmax(fields, axis=0).astype(np.uint8)


def slow(classes, min_area, largest, fill):
    """The same steps by scipy, component after component."""
    out = classes.copy()
    for k in range(1, int(classes.max()) + 1):
        labels, count = ndimage.label(classes == k, EIGHT)
        areas = [int((labels == n).sum()) for n in range(1, count + 1)]
        for n, area in enumerate(areas):
            if area < min_area or (largest and n != int(np.argmax(areas))):
                out[labels == n + 1] = 0
    if fill:
        done = out.copy()
        labels, count = ndimage.label(out == 0)
        for n in range(1, count + 1):
            region = labels == n
            if region[0].any() or region[-1].any() or region[:, 0].any() or region[:, -1].any():
                continue
            around = set(out[ndimage.binary_dilation(region) & ~region].tolist())
            if len(around) == 1:
                done[region] = around.pop()
        out = done
    return out


def test_without_parameters_each_pixel_takes_its_most_probable_class():
    probabilities = torch.rand(4, 37, 29, generator=torch.Generator().manual_seed(0))
    found = Postprocessing().apply(probabilities)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, probabilities.argmax(dim=0).numpy())


@pytest.mark.parametrize("count", [2, 3])
def test_of_equal_probabilities_the_first_class_counts(count):
    assert decide(torch.full((count, 5, 4), 1 / count)).tolist() == np.zeros((5, 4)).tolist()


@pytest.mark.parametrize("count", [2, 3])
def test_strips_do_not_show(count, monkeypatch):
    probabilities = torch.rand(count, 23, 10, generator=torch.Generator().manual_seed(1))
    whole = decide(probabilities)
    for strip in (1, 10, 70, 229):
        monkeypatch.setattr("segexp.inference.postprocessing.STRIP", strip)
        np.testing.assert_array_equal(decide(probabilities), whole)
    assert STRIP >= 1 << 20


def test_a_threshold_takes_what_is_above_it():
    foreground = torch.tensor([[0.1, 0.25, 0.3, 0.6]])
    probabilities = torch.stack([1 - foreground, foreground])
    assert Postprocessing(threshold=0.25).apply(probabilities).tolist() == [[0, 0, 1, 1]]
    assert Postprocessing(threshold=0.7).apply(probabilities).tolist() == [[0, 0, 0, 0]]
    assert Postprocessing().apply(probabilities).tolist() == [[0, 0, 0, 1]]


ISLANDS = drawn("11...2", "1...2.", "..1..2", ".....2")


def test_small_components_are_dropped_and_diagonals_hold_together():
    assert [each.areas.tolist() for each in components(ISLANDS)] == [[0, 3, 1], [0, 4]]
    found = Postprocessing(min_area=3).apply(certain(ISLANDS))
    np.testing.assert_array_equal(found, drawn("11...2", "1...2.", ".....2", ".....2"))
    assert Postprocessing(min_area=4).apply(certain(ISLANDS)).max() == 2
    assert not Postprocessing(min_area=5).apply(certain(ISLANDS)).any()


def test_only_the_largest_component_of_each_class_stays():
    classes = drawn("1.11..", "..11.2", "2....2", "2.1...", "2.....")
    found = Postprocessing(largest_component=True).apply(certain(classes))
    np.testing.assert_array_equal(found, drawn("..11..", "..11..", "2.....", "2.....", "2....."))
    equal = drawn("..1", "1..")
    np.testing.assert_array_equal(Postprocessing(largest_component=True).apply(certain(equal)), drawn("..1", "..."))


def test_holes_of_one_class_are_filled_and_others_are_not():
    ring = drawn("111...222", "1.1..2..2", "111.12222", "....1.2..", ".111.1222", ".1..1....")
    expected = drawn("111...222", "111..2222", "111.12222", "....1.2..", ".11111222", ".1..1....")
    np.testing.assert_array_equal(Postprocessing(fill_holes=True).apply(certain(ring)), expected)
    between = drawn("1112", "1..2", "1122")
    np.testing.assert_array_equal(fill_holes(between), between)
    diagonal = drawn(".1.", "1.1", ".1.")
    np.testing.assert_array_equal(fill_holes(diagonal), drawn(".1.", "111", ".1."))
    bay = drawn("11.", "1.1", "111")
    np.testing.assert_array_equal(fill_holes(bay), drawn("11.", "111", "111"))
    np.testing.assert_array_equal(fill_holes(drawn("1.1", "1.1", "111")), drawn("1.1", "1.1", "111"))


def test_a_component_within_a_hole_is_no_obstacle_when_it_is_its_class():
    nested = drawn("11111", "1...1", "1.1.1", "1...1", "11111")
    assert Postprocessing(fill_holes=True).apply(certain(nested)).all()
    other = drawn("11111", "1...1", "1.2.1", "1...1", "11111")
    np.testing.assert_array_equal(fill_holes(other), other)
    np.testing.assert_array_equal(Postprocessing(min_area=2, fill_holes=True).apply(certain(other)), np.ones((5, 5)))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("steps", [(4, False, False), (0, True, False), (0, False, True), (3, False, True), (9, True, True)])
def test_the_same_as_a_slow_implementation(classes, steps):
    for seed in range(12):
        picture = blobs(seed, classes)
        found = Postprocessing(None, *steps).apply(certain(picture, classes))
        np.testing.assert_array_equal(found, slow(picture, *steps), err_msg=f"seed {seed}")


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1)])
def test_narrow_pictures(shape):
    everything = Postprocessing(None, 2, True, True)
    for value in (0, 1):
        picture = np.full(shape, value, np.uint8)
        expected = picture if picture.size > 1 else np.zeros_like(picture)
        np.testing.assert_array_equal(everything.apply(certain(picture)), expected)


def test_the_class_map_handed_in_is_left_alone():
    picture = blobs(3, 2)
    before = picture.copy()
    drop_components(picture, components(picture), 10, largest=True)
    fill_holes(picture)
    np.testing.assert_array_equal(picture, before)


def test_plain_values_there_and_back():
    chosen = Postprocessing(0.35, 20, largest_component=True, fill_holes=True)
    assert Postprocessing.from_dict(chosen.as_dict()) == chosen
    assert {type(value) for value in chosen.as_dict().values()} == {float, int, bool}
    assert Postprocessing().is_identity
    assert not chosen.is_identity


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (Postprocessing(), "none"),
        (Postprocessing(0.35), "foreground above probability 0.35"),
        (Postprocessing(None, 20, fill_holes=True), "components under 20 pixels dropped, holes filled"),
        (Postprocessing(largest_component=True), "only the largest component of each class"),
    ],
)
def test_in_words(chosen, words):
    assert str(chosen) == words


@pytest.mark.parametrize("threshold", [0, 1, -0.5, 1.5, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(ConfigError) as caught:
        Postprocessing(threshold=threshold)
    assert str(caught.value) == (
        f"threshold={threshold} of the post-processing is no probability between 0 and 1. A number above 0 and below 1 was "
        "expected; the second class is taken where its probability is above it. Type for example threshold=0.5, or "
        "threshold=null for the most probable class."
    )


@pytest.mark.parametrize("area", [-1, 2.5])
def test_an_area_that_is_no_number_of_pixels_is_refused(area):
    with pytest.raises(ConfigError) as caught:
        Postprocessing(min_area=area)
    assert str(caught.value) == (
        f"min_area={area} of the post-processing is no number of pixels. A whole number, 0 or more, was expected; components "
        "with fewer pixels are dropped. Type for example min_area=50, or min_area=0 to drop none."
    )


def test_a_threshold_for_three_classes_is_refused():
    with pytest.raises(ConfigError) as caught:
        Postprocessing(threshold=0.4).apply(torch.rand(3, 4, 4))
    assert str(caught.value) == (
        "threshold=0.4 of the post-processing is for two classes, and the network has 3. With more than two classes each pixel "
        "takes its most probable one. Leave threshold out; min_area, largest_component and fill_holes work for any number of "
        "classes."
    )
