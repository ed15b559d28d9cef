"""What a curve of losses says."""

import cv2
import numpy as np
import pytest

from segexp.finding.curve import Curve, draw

RATES = np.geomspace(1e-7, 1, 100)


def falling(at, noise=0.02, diverging=True, seed=0):
    """A loss of 1 that falls by 0.5 around the rate `at`, and rises from 0.3 on."""
    place, middle = np.log10(RATES), np.log10(at)
    losses = 1 - 0.5 / (1 + np.exp(-4 * (place - middle)))
    if diverging:
        losses += np.where(RATES > 0.3, 20 * (RATES - 0.3), 0)
    return Curve(RATES, losses + np.random.default_rng(seed).normal(0, noise, 100))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at", [1e-5, 1e-3, 3e-2])
def test_the_steepest_fall_is_found_in_noise(at, seed):
    found = falling(at, seed=seed).suggestion
    assert 0.4 < found / at < 2.5
    assert found == float(f"{found:.2g}")


def test_a_curve_without_noise_and_without_divergence():
    assert falling(1e-3, 0.0, diverging=False).suggestion == pytest.approx(1e-3, rel=0.2)  # rates are 1.18 apart


@pytest.mark.parametrize(
    "losses",
    [
        np.full(100, 0.7),
        0.7 + np.random.default_rng(1).normal(0, 0.05, 100),
        np.linspace(0.5, 3, 100),
        0.7 - 0.01 * np.linspace(0, 1, 100),
        np.array([1.0, 0.5]),
    ],
    ids=["flat", "noise", "rising", "hardly", "short"],
)
def test_where_nothing_falls_nothing_is_suggested(losses):
    assert Curve(RATES[: len(losses)], losses).suggestion is None


def test_smoothing_keeps_lines_in_the_middle_and_their_place():
    line = np.linspace(2, 1, 100)
    smooth = Curve(RATES, line).smooth
    assert smooth[20:80] == pytest.approx(line[20:80], abs=1e-6)
    step = Curve(RATES, np.where(np.arange(100) < 50, 1.0, 0.0)).smooth
    assert np.gradient(step).argmin() in (49, 50)


@pytest.mark.parametrize("curve", [falling(1e-3), Curve(RATES, np.full(100, 0.7))], ids=["found", "none"])
def test_a_drawing(tmp_path, curve):
    draw(curve, tmp_path / "curve.png", "UNet")
    image = cv2.imread(str(tmp_path / "curve.png"))
    assert image.shape[0] > 300
    assert image.std() > 10
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]
