"""Post-processing chosen on cases: the right one, counted as it is applied, and a gain that the scored cases had no part in."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from segexp.data.cache import RamStore
from segexp.data.dataset import EvalDataset
from segexp.data.labels.modes import MULTILABEL
from segexp.data.preprocessing import Preprocessing
from segexp.data.statistics import DecodedCase
from segexp.errors import ConfigError
from segexp.evaluation.tune_postprocessing import (
    CHOICES,
    THRESHOLDS,
    TuningResult,
    _halves,
    candidates_for,
    case_scores,
    check_background,
    check_tunable,
    choose_candidate,
    tune_postprocessing,
    tuning_lines,
    typical_area,
    write_table,
)
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import Segmenter
from segexp.metrics.confusion import confusion, overlapping_confusion
from segexp.metrics.scores import summarise_scores
from segexp.metrics.significance import Interval
from segexp.types import DataSpec

NONE = Postprocessing()
LARGEST = Postprocessing(largest_component=True)
HOLES = Postprocessing(fill_holes=True)


class Given(torch.nn.Module):
    """Takes the image for the probability of the classes but the background."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, image):
        rest = (1 - image.sum(dim=1, keepdim=True)).clamp_min(1e-4)
        return torch.log(torch.cat([rest, image.clamp_min(1e-4)], dim=1) * self.weight)


def segmenter(classes=2):
    names = ("background", "a", "b", "c")[:classes]
    return Segmenter(Given(), Preprocessing(classes - 1), DataSpec("d", names, classes - 1, ((0, 0, 0),) * classes))


def scoring(*pairs):
    """Cases from pairs of probabilities (H, W) or (H, W, K - 1) and truth (H, W)."""
    pictures = [DecodedCase(np.round(255 * seen).reshape(*truth.shape, -1).astype(np.uint8), truth) for seen, truth in pairs]
    return EvalDataset(RamStore(pictures), range(len(pictures)), Preprocessing(pictures[0].image.shape[2]))


def disc(radius=9, centre=(20, 20), size=48):
    rows, columns = np.ogrid[:size, :size]
    return ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2).astype(np.uint8)


def tuned_on(pairs, groups=None, classes=2):
    return tune_postprocessing(segmenter(classes), scoring(*pairs), groups or [None] * len(pairs))


def faint(level, radius):
    truth = disc(radius)
    return np.where(truth, level, 0.1), truth


def specked(radius, second=False):
    truth = disc(radius) | (disc(6, (40, 40)) if second else 0)
    seen = np.where(truth, 0.9, 0.05)
    seen[2:4, 2:4], seen[44, 4] = 0.8, 0.8
    return seen, truth.astype(np.uint8)


def holed(radius):
    truth = disc(radius)
    seen = np.where(truth, 0.9, 0.05)
    seen[18:21, 18:21] = 0.2
    return seen, truth


def fields(seed, classes, cases=4, size=40):
    """Smooth random probabilities with a noisy truth, some of it ignored."""
    rng = np.random.default_rng(seed)
    for _ in range(cases):
        coarse = torch.from_numpy(rng.random((1, classes, 10, 10), np.float32)) ** 3
        smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")[0].clamp_min(0.01)
        probabilities = (smooth / smooth.sum(dim=0)).numpy()
        truth = probabilities.argmax(axis=0).astype(np.uint8)
        truth[rng.random((size, size)) < 0.1] = rng.integers(0, classes)
        truth[:3] = 255
        yield np.moveaxis(probabilities[1:], 0, -1), truth


@pytest.mark.parametrize(
    ("pairs", "best", "gain"),
    [
        ([faint(0.42, r) for r in range(6, 14)], Postprocessing(0.4), 1.0),
        ([specked(r) for r in range(6, 14)], LARGEST, 0.01),
        ([holed(r) for r in range(6, 14)], HOLES, 0.01),
    ],
    ids=["threshold", "largest", "holes"],
)
def test_what_helps_every_case_is_found_and_kept(pairs, best, gain):
    found = tuned_on(pairs)
    assert found.chosen == best, "the simplest of those that are as good"
    assert found.kept
    assert found.gain.mean >= gain - 1e-9
    assert (found.gain.cases, found.gain.groups, found.over, found.groups) == (8, None, "cases", None)


def test_specks_beside_two_organs_are_dropped_by_their_size():
    found = tuned_on([specked(r, second=True) for r in range(6, 12)])
    assert found.chosen.min_area > 4
    assert not found.chosen.largest_component
    assert found.kept


def test_steps_are_combined_where_both_help():
    pairs = [(np.where(truth, seen * 0.5, seen), truth) for seen, truth in (holed(r) for r in range(8, 14))]
    found = tuned_on(pairs)
    assert found.chosen == Postprocessing(0.45, fill_holes=True)


def test_where_nothing_helps_nothing_is_chosen():
    found = tuned_on([(np.where(disc(r), 0.9, 0.05), disc(r)) for r in range(6, 12)])
    assert found.chosen == NONE
    assert (found.gain.mean, found.gain.low, found.gain.high) == (0, 0, 0)
    assert not found.kept


def test_what_helps_one_case_alone_is_not_kept():
    sure = [(np.where(disc(r), 0.9, 0.05), disc(r)) for r in range(6, 13)]
    found = tuned_on([specked(9), *sure])
    assert found.chosen == LARGEST
    assert found.dice[found.candidates.index(LARGEST)] > found.dice[0]
    assert found.gain.mean == 0, "the others had no reason to choose it"
    assert not found.kept


def test_more_false_alarms_are_no_price_to_pay():
    empty = np.where(disc(15), 0.42, 0.05), np.zeros((48, 48), np.uint8)
    found = tuned_on([*[faint(0.42, r) for r in range(6, 13)], empty])
    assert found.chosen == NONE
    assert found.false_alarms[0] == 0
    assert found.false_alarms[found.candidates.index(Postprocessing(0.4))] == disc(15).sum()


def test_the_segmenters_own_post_processing_plays_no_part():
    own = segmenter()
    own.postprocessing = Postprocessing(0.9, 10_000)
    pairs = [specked(r) for r in (7, 9, 11)]
    np.testing.assert_array_equal(tune_postprocessing(own, scoring(*pairs), [None] * 3).dice, tuned_on(pairs).dice)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_every_candidate_scores_what_it_would_when_applied(classes):
    pairs = list(fields(classes, classes))
    if classes == 4:
        pairs[0][1][pairs[0][1] == 2] = 1  # a class that one case does not have
    names = segmenter(classes).spec.classes
    found = tuned_on(pairs, classes=classes)
    prepared = scoring(*pairs)
    for m in range(0, len(found.candidates), 1 if classes > 2 else 5):
        matrices = []
        for sample in prepared:
            probabilities = segmenter(classes).logits(sample.image, tuple(sample.mask.shape)).softmax(dim=0)
            final = torch.from_numpy(found.candidates[m].apply(probabilities))
            matrices.append(confusion(final, sample.mask, classes).numpy())
        scores = summarise_scores(np.stack(matrices), names)
        assert found.dice[m] == pytest.approx(scores["dice"]), found.candidates[m]
        assert found.false_alarms[m] == sum(scores[f"false_alarm/{name}"] for name in names[1:])


def test_each_position_is_told():
    told = []
    tune_postprocessing(segmenter(), scoring(*[specked(r) for r in (7, 9, 11)]), [None] * 3, told.append)
    assert told == [0, 1, 2]


def test_candidates_begin_with_none_and_grow_in_steps():
    found = candidates_for(2, 1000)
    assert found[0] == NONE
    assert len(found) == len(set(found)) == 13 * 7 * 2
    steps = [sum((each.threshold is not None, each.min_area > 0, each.largest_component, each.fill_holes)) for each in found]
    assert steps == sorted(steps)
    assert sorted({each.min_area for each in found}) == [0, 3, 10, 30, 100, 300]
    assert {each.threshold for each in found} == {None, *THRESHOLDS}
    assert (min(THRESHOLDS), max(THRESHOLDS)) == (0.2, 0.8)
    assert {each.threshold for each in candidates_for(3, 1000)} == {None}
    assert {each.min_area for each in candidates_for(3, 0)} == {0}


def test_the_typical_area_is_that_of_the_objects_not_of_the_specks():
    truth = disc(9) | disc(5, (40, 40))
    specks = truth.copy()
    specks[::7, 44] = 1
    assert typical_area([truth]) == typical_area([specks, truth]) == disc(9).sum()
    ignored = truth.copy()
    ignored[:35] = 255
    assert typical_area([ignored]) == disc(5, (40, 40)).sum()
    assert typical_area([np.zeros((8, 8), np.uint8)]) == 0
    assert typical_area([]) == 0


# The choice --------------------------------------------------------------------------------------------------------------

CANDIDATES = candidates_for(3, 100)


def table(seed, cases=10):
    rng = np.random.default_rng(seed)
    return rng.beta(8, 2, (cases, len(CANDIDATES))), np.zeros((cases, len(CANDIDATES)), int)


def by_hand(dice, alarms, units):
    """The gain of each case: the mean over the halves without its unit of what they choose."""
    names = list(dict.fromkeys(units))
    gains = [[] for _ in units]
    for seeing in _halves(len(names)):
        half = [n for n, unit in enumerate(units) if seeing[names.index(unit)]]
        allowed = alarms[half].sum(axis=0) <= alarms[half, 0].sum()
        means = np.where(allowed, np.nanmean(dice[half], axis=0), -1)
        chosen = int(np.argmax(means >= means.max() - 5e-5))
        for n in set(range(len(units))) - set(half):
            gains[n].append(dice[n, chosen] - dice[n, 0])
    return [np.mean(each) for each in gains]


@pytest.mark.parametrize("groups", [None, list("aabbbccddd"), ["a", "a", None, None, "b", "b", "c", "c", None, "c"]])
def test_the_gain_is_that_of_choices_in_which_the_case_had_no_part(groups):
    dice, alarms = table(1)
    dice[3] = np.nan
    alarms[3] = np.arange(len(CANDIDATES)) % 3
    found = choose_candidate(CANDIDATES, dice, alarms, groups or [None] * 10)
    units = [group or n for n, group in enumerate(groups)] if groups else list(range(10))
    assert found.gain.mean == pytest.approx(np.nanmean(by_hand(dice, alarms, units)))
    assert found.gain.cases == 9
    assert found.over == ("groups" if groups else "cases")
    assert found.gain.groups == (len(set(units) - {3}) if groups else None)
    assert found.groups == (len(set(units)) if groups else None)


@pytest.mark.parametrize("units", [2, 3, 10, 11])
def test_each_unit_has_a_part_in_half_of_the_choices(units):
    seeing = _halves(units)
    assert seeing.sum(axis=0).tolist() == [len(seeing) // 2] * units
    assert set(seeing.sum(axis=1).tolist()) == {units // 2, units - units // 2}


def test_the_gain_on_the_cases_themselves_would_flatter():
    flattering, honest = [], []
    for seed in range(30):
        found = choose_candidate(CANDIDATES, *table(seed), [None] * 10)
        flattering.append(found.dice.max() - found.dice[0])
        honest.append(found.gain.mean)
    assert np.mean(flattering) > 0.03, "of candidates that are all alike"
    assert abs(np.mean(honest)) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("cases", [10, 20])
def test_noise_is_hardly_ever_kept(cases):
    assert sum(choose_candidate(CANDIDATES, *table(seed, cases), [None] * cases).kept for seed in range(200)) <= 200 * 0.08


def test_two_groups_are_too_few_to_be_halved():
    found = choose_candidate(CANDIDATES, *table(0), list("aaaaabbbbb"))
    assert (found.over, found.groups, found.gain.groups) == ("cases", 2, None)


def test_of_equal_ones_the_simplest():
    dice, alarms = table(0)
    dice[:] = dice[:, :1]
    dice[:, 5:9] += 0.01
    dice[:, 8] += 1e-5
    assert choose_candidate(CANDIDATES, dice, alarms, [None] * 10).chosen == CANDIDATES[5]


def test_without_any_foreground_nothing_is_chosen():
    dice, alarms = table(0)
    found = choose_candidate(CANDIDATES, np.full_like(dice, np.nan), alarms, [None] * 10)
    assert found.chosen == NONE
    assert found.gain.cases == 0
    assert not found.kept
    assert np.isnan(found.dice).all()


def test_one_case_proves_nothing():
    dice, alarms = table(0, cases=1)
    dice[0, 4] = 1
    found = choose_candidate(CANDIDATES, dice, alarms, [None])
    assert math.isnan(found.gain.low)
    assert not found.kept


def test_scores_of_cases_average_to_the_mean_over_classes():
    counts = np.zeros((3, 3, 1, 3), np.int64)
    counts[:, 0, 0, 1] = 4, 4, 0  # Dice 2/3, class b absent with 5 false pixels
    counts[:, 0, 0, 2] = 0, 5, 0
    counts[:, 1, 0, 1] = 1, 0, 0
    counts[:, 1, 0, 2] = 1, 1, 1  # 1/2
    counts[:, 2, 0, 1] = 0, 7, 0  # nothing there at all
    score, alarms = case_scores(counts)
    assert np.nanmean(score) == pytest.approx(((2 / 3 + 1) / 2 + 1 / 2) / 2)
    assert np.isnan(score[2, 0])
    assert alarms[:, 0].tolist() == [5, 0, 7]


# What is said ------------------------------------------------------------------------------------------------------------


def result(gain, best=1, over="cases", groups=None, alarms=0):
    dice = np.linspace(0.9, 0.8, len(CANDIDATES))
    dice[best] = max(dice[best], 0.9 + 0.02 * (best > 0))
    false_alarms = np.full(len(CANDIDATES), alarms)
    return TuningResult(CANDIDATES[best], gain, over, groups, CANDIDATES, dice, false_alarms)


HALVES = f"chosen on one half of the {{}} and scored on the other, {CHOICES} times"


@pytest.mark.parametrize(
    ("tuned", "gain", "verdict"),
    [
        (
            result(Interval(0.02, 0.01, 0.03, 20)),
            "Gain in Dice on cases that had no part in the choice: +0.02000, 95 % interval +0.01000 to +0.03000 (20 cases; "
            f"{HALVES.format('cases')})",
            "Kept: the interval excludes 0",
        ),
        (
            result(Interval(0.02, -0.01, 0.03, 20, 5), over="groups", groups=5),
            "Gain in Dice on cases that had no part in the choice: +0.02000, 95 % interval -0.01000 to +0.03000 (20 cases in 5 "
            f"groups; {HALVES.format('groups')})",
            "Not kept: the interval includes 0, so the gain may be chance",
        ),
        (
            result(Interval(-0.02, -0.03, -0.01, 9)),
            "Gain in Dice on cases that had no part in the choice: -0.02000, 95 % interval -0.03000 to -0.01000 (9 cases; "
            f"{HALVES.format('cases')})",
            "Not kept: on cases that had no part in the choice it gains nothing",
        ),
        (
            result(Interval(0.02, math.nan, math.nan, 1)),
            "Gain in Dice: +0.0200; 1 case(s) with foreground give no interval",
            "Not kept: without an interval the gain may be chance",
        ),
        (
            result(Interval(0.0, 0.0, 0.0, 4), best=0),
            "Gain in Dice on cases that had no part in the choice: +0.00000, 95 % interval +0.00000 to +0.00000 (4 cases; "
            f"{HALVES.format('cases')})",
            "Not kept: no candidate is better than no post-processing",
        ),
    ],
)
def test_the_gain_and_the_verdict_in_words(tuned, gain, verdict):
    said = tuning_lines(tuned)
    assert (said[-2], said[-1]) == (gain, verdict)
    assert said[-3] == f"Chosen of {len(CANDIDATES)}: {tuned.chosen}"
    assert tuned.kept == verdict.startswith("Kept")


def test_too_few_groups_are_mentioned():
    note = tuning_lines(result(Interval(0.02, 0.01, 0.03, 20), groups=1))[-2]
    assert note == (
        "The cases are of only 1 group, too few to be halved: the interval is for further cases of the same group and says "
        "little about others"
    )


def test_the_table_shows_each_step_alone_and_the_chosen_one():
    best = CANDIDATES.index(Postprocessing(None, 10, fill_holes=True))
    said = tuning_lines(result(Interval(0.02, 0.01, 0.03, 20), best, alarms=12))
    rows = said[: said.index(f"Chosen of {len(CANDIDATES)}: {CANDIDATES[best]}")]
    width = len(str(CANDIDATES[best]))
    assert rows[0] == f"{'post-processing'.ljust(width)}    Dice  false alarms"
    assert rows[1] == f"{'none'.ljust(width)}  0.9000            12"
    assert [row[:width].rstrip() for row in rows[1:]] == [
        "none",
        "holes filled",
        "only the largest component of each class",
        "components under 3 pixels dropped",
        str(CANDIDATES[best]),
    ]
    assert "false alarms" not in tuning_lines(result(Interval(0.02, 0.01, 0.03, 20)))[0]


def test_the_table_as_a_file(tmp_path):
    tuned = result(Interval(0.02, 0.01, 0.03, 20))
    write_table(tmp_path / "new" / "tuning.csv", tuned)
    with (tmp_path / "new" / "tuning.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(CANDIDATES)
    assert rows[0] == {
        "threshold": "",
        "min_area": "0",
        "largest_component": "False",
        "fill_holes": "False",
        "dice": "0.9",
        "false_alarms": "0",
    }


def test_what_a_checkpoint_remembers_are_plain_values():
    record = result(Interval(0.02, 0.01, 0.03, 20, 4), over="groups", groups=4).record("ab12")
    assert Postprocessing.from_dict(record.pop("parameters")) == CANDIDATES[1]
    assert record == {
        "gain": 0.02,
        "low": 0.01,
        "high": 0.03,
        "cases": 20,
        "groups": 4,
        "over": "groups",
        "split_hash": "ab12",
    }


@pytest.mark.parametrize(
    ("split", "keys", "paragraph"),
    [
        (
            "test",
            [],
            "split=test with tune=postprocess. The post-processing is chosen on the validation images: the network was "
            "fitted to the training images, and a choice on the test images would invalidate them. Leave split out.",
        ),
        (
            None,
            ["size", "root"],
            "data.size with tune=postprocess. The post-processing is chosen on the validation images of the run itself, read "
            "as in training. Leave data.size out; data.root=DIR says where the images are now.",
        ),
    ],
)
def test_what_is_no_validation_of_the_run_is_refused(split, keys, paragraph):
    with pytest.raises(ConfigError) as caught:
        check_tunable(split, keys, None)
    assert str(caught.value) == paragraph
    check_tunable("val", ["root"], None)


def test_overlapping_classes_are_counted_as_they_are_decided():
    pairs = []
    for seed in range(3):
        probabilities, _ = next(fields(seed, 3))
        sets = np.random.default_rng(seed).integers(0, 4, probabilities.shape[:2], dtype=np.uint8)
        sets[:3] = 255
        pairs.append((probabilities, sets))
    spec = DataSpec("d", ("background", "a", "b"), 2, ((0, 0, 0),) * 3, overlapping=True)
    whole, cases = replace(segmenter(3), spec=spec), scoring(*pairs)
    found = tune_postprocessing(whole, cases, [None] * 3)
    assert {candidate.threshold for candidate in found.candidates} == {None, *THRESHOLDS}, "each class is there or is not"
    for m, candidate in list(enumerate(found.candidates))[::7]:
        matrices = []
        for n in range(3):
            sample = cases[n]
            probabilities = MULTILABEL.probabilities_(whole.logits(sample.image, tuple(sample.mask.shape)))
            decided = torch.from_numpy(MULTILABEL.decide(probabilities, candidate))
            matrices.append(overlapping_confusion(decided, sample.mask, 3).numpy())
        assert found.dice[m] == pytest.approx(summarise_scores(np.stack(matrices), spec.classes)["dice"], abs=1e-12)


def test_without_a_background_only_a_threshold_can_be_chosen():
    found = candidates_for(2, 1000, background=False)
    assert found == (Postprocessing(), *sorted((Postprocessing(n / 20) for n in range(4, 17) if n != 10), key=_from_half))
    counts = np.array([[[[3, 4]]], [[[1, 0]]], [[[0, 1]]]])
    assert case_scores(counts, first=0)[0] == pytest.approx((6 / 7 + 8 / 9) / 2)
    check_background(DataSpec("two", ("a", "b"), 1, ((0, 0, 0),) * 2, background=False))
    with pytest.raises(ConfigError, match=r"3 classes, none of which is the background .*Leave tune out"):
        check_background(DataSpec("three", ("a", "b", "c"), 1, ((0, 0, 0),) * 3, background=False))


def _from_half(candidate):
    return round(abs(candidate.threshold - 0.5), 6)
