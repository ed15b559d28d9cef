"""Masks that do not lie on their image, in what is predicted and in pictures; no word where nothing can be known."""

from pathlib import Path

import numpy as np
import pytest

from segexp.checks.alignment import (
    GRID,
    TURNS,
    agreement,
    best_shift,
    check_alignment,
    cross_predict,
    find_misaligned,
    grid_truth,
    turn_correlations,
)
from segexp.checks.issues import CaseFacts
from segexp.checks.scan import SIDE, CaseScan
from segexp.types import Case, Source


def shape(rng: np.random.Generator, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A small picture (SIDE, SIDE, C) of a lopsided bright thing, and its mask."""
    down, right = np.mgrid[:SIDE, :SIDE] - rng.uniform(40, 88, 2)[:, None, None]
    turn = rng.uniform(0, 2 * np.pi)
    along, across = np.cos(turn) * down + np.sin(turn) * right, np.cos(turn) * right - np.sin(turn) * down
    mask = (along / 30) ** 2 + (across / (14 + 0.2 * along)) ** 2 < 1
    picture = 90 + 70 * mask + rng.normal(0, 12, mask.shape)
    return np.repeat(np.clip(picture, 0, 255)[..., None], channels, axis=2).astype(np.uint8), mask.astype(np.uint8)


def looks_of(pictures: list[np.ndarray], masks: list[np.ndarray]) -> list[CaseScan]:
    def one(n: int) -> CaseScan:
        name = f"{n:02d}"
        case = Case(name, Source(Path(f"{name}.png")), (Source(Path(f"{name}_mask.png")),))
        facts = CaseFacts(name, (512, 256), 1, "uint8", 0, 255, {})
        return CaseScan(case, facts, 1, name, False, pictures[n], labels=masks[n])

    return [one(n) for n in range(len(masks))]


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(1)
    pictures, masks = zip(*(shape(rng) for _ in range(24)), strict=True)
    return list(pictures), list(masks)


def told(pictures, masks) -> dict[tuple[str, ...], str]:
    return {finding.cases: finding.kind for finding in check_alignment(looks_of(pictures, masks))}


def test_nothing_is_said_of_right_masks(scenes):
    assert told(*scenes) == {}


def test_planted_faults_are_named_and_nothing_else(scenes):
    pictures, masks = scenes
    changed = [mask.copy() for mask in masks]
    changed[2], changed[9] = masks[9], masks[2]
    changed[5] = 1 - masks[5]
    changed[7] = np.roll(masks[7], (13, -10), (0, 1))
    findings = check_alignment(looks_of(pictures, changed))
    assert {finding.cases: finding.kind for finding in findings} == {
        ("02", "09"): "swapped",
        ("05",): "inverted",
        ("07",): "shifted",
    }
    assert {finding.level for finding in findings} == {"warning"}, "a guess does not say that training cannot work"
    words = next(finding for finding in findings if finding.kind == "shifted")
    down, left = (int(words.found.split(word)[0].split()[-1]) for word in (" pixels down", " pixels to the left"))
    assert down == pytest.approx(13 * 512 / SIDE, abs=12)
    assert left == pytest.approx(10 * 256 / SIDE, abs=6)
    assert "02_mask.png and 09_mask.png" in findings[0].do


@pytest.mark.parametrize("turn", ["mirrored left to right", "turned by 180 degrees", "mirrored along a diagonal"])
def test_turned_masks(scenes, turn):
    pictures, masks = scenes
    changed = list(masks)
    changed[3] = np.ascontiguousarray(TURNS[turn](masks[3]))
    (finding,) = check_alignment(looks_of(pictures, changed))
    assert finding.cases == ("03",)
    assert finding.kind in ("turned", "shifted")  # half a turn of a thing at the side is much like a shift


def test_three_classes(scenes):
    pictures, masks = scenes
    three = [mask + (np.arange(SIDE) < 64).astype(np.uint8)[:, None] * mask for mask in masks]
    assert told(pictures, three) == {}
    three[4], three[11] = three[11], three[4]
    assert told(pictures, three) == {("04", "11"): "swapped"}


def test_colour_beside_gray_and_ignored_pixels(scenes):
    pictures, masks = list(scenes[0]), [mask.copy() for mask in scenes[1]]
    pictures[1] = np.repeat(pictures[1], 3, axis=2)
    masks[1][:20] = 255
    masks[6][...] = 0
    assert told(pictures, masks) == {}


def test_no_word_on_few_cases_or_noise(scenes):
    pictures, masks = scenes
    assert told(pictures[:7], [1 - masks[0], *masks[1:7]]) == {}
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (SIDE, SIDE, 1), np.uint8) for _ in masks]
    assert told(noise, [1 - masks[0], *masks[1:]]) == {}
    assert told(pictures, [np.zeros_like(mask) for mask in masks]) == {}
    assert check_alignment([]) == []


def test_a_case_is_predicted_by_the_others_alone(scenes):
    pictures, masks = (part[:10] for part in scenes)
    first = cross_predict(pictures, np.stack(masks), 2)
    other = cross_predict(pictures, np.stack([1 - masks[0], *masks[1:]]), 2)
    assert first.shape == (10, 2, GRID, GRID)
    np.testing.assert_array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])
    truth = grid_truth(np.stack(masks), 2)
    assert truth.shape == first.shape
    np.testing.assert_allclose(truth.sum(axis=1), 1)
    right = (first[:, 1] > 0.5) == (truth[:, 1] > 0.5)
    assert right.mean() > 0.95
    np.testing.assert_array_equal(first, cross_predict(pictures, np.stack(masks), 2, threads=1))


def test_shifts_are_measured_exactly():
    rng = np.random.default_rng(0)
    mask = np.kron(rng.random((2, 16, 16)) > 0.5, np.ones((4, 4))).astype(np.float32)
    for down, right in ((0, 0), (5, -3), (-12, 15)):
        moved = np.roll(mask, (down, right), (1, 2))
        found = best_shift(mask, moved)
        assert found[:2] == (down, right)
        assert found[2] > 0.999
        assert found[3] == pytest.approx(np.corrcoef(mask[0].ravel(), moved[0].ravel())[0, 1], abs=0.15)
    assert best_shift(mask, np.roll(mask, 40, 1))[2] < 0.9


def test_turns_are_told_apart():
    rng = np.random.default_rng(0)
    prediction = rng.random((1, 32, 32)).astype(np.float32)
    for name, turn in TURNS.items():
        fits = (
            turn_correlations(prediction, turn(prediction))
            if "degrees" not in name
            else turn_correlations(turn(prediction), prediction)
        )
        best = max(fits, key=lambda key: fits[key])
        assert fits[best] == pytest.approx(1, abs=1e-5)
        assert best == name


def test_agreement_of_predictions_with_masks():
    truth = np.zeros((3, 2, 8, 8), np.float32)
    truth[0, 1, :4], truth[1, 1, :, :4], truth[2, 1, 4:] = 1, 1, 1
    truth[:, 0] = 1 - truth[:, 1]
    right = agreement(truth, truth)
    np.testing.assert_allclose(right.own, 1, atol=1e-5)
    np.testing.assert_allclose(right.hit, 1, atol=1e-5)
    assert right.inside[0, 2] == pytest.approx(-1)
    assert right.inside[0, 1] == pytest.approx(0, abs=1e-5)
    assert right.difference[0, 1] == pytest.approx(1)
    exchanged = agreement(truth[[1, 0, 2]], truth)
    assert exchanged.difference[0, 1] == pytest.approx(-1)
    assert exchanged.beyond[0, 1] == pytest.approx(1, abs=1e-5)
    wrong = agreement(1 - truth, truth)
    np.testing.assert_allclose(wrong.own, -1, atol=1e-5)
    np.testing.assert_allclose(wrong.hit, 0, atol=1e-5)


def test_a_model_without_skill_accuses_nobody():
    rng = np.random.default_rng(0)
    truth = grid_truth(np.stack([shape(rng)[1] for _ in range(12)]), 2)
    assert find_misaligned(rng.random(truth.shape).astype(np.float32), truth) == {}
