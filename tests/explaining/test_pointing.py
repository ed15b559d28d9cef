import numpy as np
import pytest

from segexp.explaining.pointing import point

REGION = np.array([[True, True, False, False]])


def test_energy_and_peak_inside():
    found = point(np.array([[3.0, 0.0, 1.0, -8.0]]), REGION)
    assert (found.share, found.inside, found.peak, found.hit, found.highest) == (0.5, 0.75, (0, 0), True, 3.0)


def test_a_peak_outside():
    found = point(np.array([[1.0, 0.0, 3.0, 0.0]]), REGION)
    assert (found.inside, found.peak, found.hit) == (0.25, (0, 2), False)


@pytest.mark.parametrize("values", [np.zeros((1, 4)), np.array([[-1.0, 0.0, -2.0, -3.0]])])
def test_a_map_without_anything_positive_points_nowhere(values):
    found = point(values, REGION)
    assert np.isnan(found.inside)
    assert (found.peak, found.hit) == (None, None)


def test_without_a_region_there_is_a_peak_and_no_share():
    found = point(np.array([[1.0, 2.0, 0.0, 0.0]]), np.zeros((1, 4), bool))
    assert np.isnan(found.inside)
    assert (found.share, found.peak, found.hit) == (0.0, (0, 1), None)


def test_a_map_that_knows_nothing_has_the_share_of_the_region():
    found = point(np.full((1, 4), 0.3), REGION)
    assert found.inside == pytest.approx(found.share)


def test_what_a_title_says_of_it():
    values, region = np.zeros((4, 4)), np.zeros((4, 4), bool)
    values[0] = 1
    region[:, 0] = True
    assert str(point(values, region)) == "25% of it in the outline (25% of the image)"
    assert str(point(0 * values, region)) == ""
