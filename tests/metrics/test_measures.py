"""What every measure in conf/metrics promises the ones that call it."""

import copy

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from segexp.errors import ConfigError, DataError
from segexp.metrics.boundary import Boundary
from segexp.metrics.lesion import ThresholdedJaccard
from segexp.metrics.measures import check_measures, check_spacings
from segexp.metrics.membrane import Membrane

GROUPS = ("default", "lesion", "membrane", "none")
MEASURES = {
    "default": {"boundary", "calibration"},
    "lesion": {"boundary", "calibration", "lesion"},
    "membrane": {"boundary", "calibration", "membrane"},
    "none": set(),
}


@pytest.fixture(scope="module")
def measures(request):
    """The measures of each file of the group, built as a run builds them."""
    folder = request.config.rootpath / "conf" / "metrics"
    assert {file.stem for file in folder.glob("*.yaml")} == set(GROUPS)
    with initialize_config_dir(str(folder), version_base="1.3"):
        return {name: instantiate(compose(name), _convert_="all") for name in GROUPS}


def case(classes, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (24, 31)).astype(np.uint8)
    truth[:3] = 255
    powers = rng.random((classes, *truth.shape)).astype(np.float32)
    probabilities = powers / powers.sum(axis=0)
    return truth, probabilities.argmax(axis=0).astype(np.uint8), probabilities


def test_the_groups_hold_what_they_say(measures):
    assert {name: set(found) for name, found in measures.items()} == MEASURES


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("group", ["lesion", "membrane"])
def test_each_column_has_one_number_per_foreground_class(measures, group, classes):
    truth, prediction, probabilities = case(classes)
    names = []
    for measure in measures[group].values():
        found = measure(truth, prediction, probabilities, classes, None)
        assert tuple(found) == tuple(measure.columns) == tuple(measure.better)
        assert set(measure.better.values()) <= {"high", "low"}
        for values in found.values():
            assert [type(value) for value in values] == [float] * (classes - 1)
            assert np.isfinite(values).all()
        names += measure.columns
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("group", ["lesion", "membrane"])
def test_what_is_handed_in_stays_as_it_is_and_the_answer_is_the_same_again(measures, group):
    given = case(3)
    kept = copy.deepcopy(given)
    for measure in measures[group].values():
        assert measure(*given, 3, None) == measure(*given, 3, None)
    for one, other in zip(given, kept, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("group", ["lesion", "membrane"])
def test_only_those_that_say_so_need_probabilities(measures, group):
    truth, prediction, _ = case(3)
    for measure in measures[group].values():
        found = measure(truth, prediction, None, 3, None)
        assert np.isnan(list(found.values())).any() == measure.needs_probabilities


@pytest.mark.parametrize("group", ["lesion", "membrane"])
def test_a_view_into_a_larger_array_is_scored_like_a_copy(measures, group):
    truth, prediction, probabilities = case(3)
    views = [part[..., 4:, ::2] for part in (truth, prediction, probabilities)]
    turned = [np.asfortranarray(part) for part in views]
    for measure in measures[group].values():
        expected = measure(*(part.copy() for part in views), 3, None)
        assert measure(*views, 3, None) == measure(*turned, 3, None) == expected


@pytest.mark.parametrize("group", ["lesion", "membrane"])
def test_one_row_and_one_column_are_pictures_too(measures, group):
    truth, prediction, probabilities = case(3)
    for cut in (np.s_[..., 3:4, :], np.s_[..., 4:]):
        parts = [part[cut][..., :1] if cut == np.s_[..., 4:] else part[cut] for part in (truth, prediction, probabilities)]
        for measure in measures[group].values():
            assert set(measure(*parts, 3, None)) == set(measure.columns)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("classes", [2, 5])
def test_the_measures_of_each_group_pass_the_trial(measures, group, classes):
    check_measures(measures[group], classes)


def test_what_the_data_do_not_have_is_found_by_the_trial():
    with pytest.raises(DataError, match="the data give none"):
        check_measures({"boundary": Boundary(unit="spacing")}, 2, spacing=None)
    check_measures({"boundary": Boundary(unit="spacing")}, 2, spacing=(0.5, 0.7))
    with pytest.raises(ConfigError, match="class_index of the membrane measure is 2, and the data have 2 classes"):
        check_measures({"membrane": Membrane(class_index=2)}, 2)


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(ConfigError) as caught:
        check_measures({"boundary": Boundary(), "wide": Boundary(tolerance=5)}, 2)
    assert str(caught.value) == (
        "metrics.wide gives the column 'hd95', which metrics.boundary has already. "
        "Every column of cases.csv has a name of its own. Leave one of the two out: '~metrics.wide'."
    )


def test_a_measure_that_does_not_give_its_columns_is_refused():
    class Short(ThresholdedJaccard):
        def __call__(self, *given):
            return {"jaccard_thresholded": [0.5]}

    check_measures({"short": Short()}, 2)
    with pytest.raises(ConfigError) as caught:
        check_measures({"short": Short()}, 3)
    assert "metrics.short gives {'jaccard_thresholded': 1} (values by column). Expected 2 per case" in str(caught.value)

    class Dice(ThresholdedJaccard):
        columns = ("dice",)

    with pytest.raises(ConfigError, match=r"which cases\.csv itself has already"):
        check_measures({"mine": Dice()}, 2)


def test_a_case_without_the_spacing_that_is_needed_is_named():
    measures, known = [ThresholdedJaccard(), Boundary(unit="spacing")], {"a": (0.5, 0.7), "b": (1.0, 1.0)}
    check_spacings(measures, known, 3)
    check_spacings([Boundary()], {"a": None}, 3)
    with pytest.raises(DataError) as caught:
        check_spacings(measures, known | {"c": None, "d": None}, 3)
    assert str(caught.value) == (
        "Case c cannot be measured: the boundary measure is to be in the image's spacing, and the data give none. "
        "The size of a pixel (row, column) was expected. "
        "Type 'data.spacing=[0.7,0.7]' with the size of a pixel (NIfTI files give theirs), or metrics.boundary.unit=pixel."
    )
    with pytest.raises(DataError, match=r"Case b cannot be measured: the spacing of the image is \(1\.0, 0\.0\)"):
        check_spacings(measures, {"a": (0.5, 0.7), "b": (1.0, 0.0)}, 3)
