"""The curve of the learning-rate range test: smoothed, read, drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segexp.whole import whole_file

SMOOTH = 4.0
"""Standard deviation of the Gaussian that smooths the losses, in steps; centred, so that nothing is late."""
FALL = 0.02
"""How much of the first loss the smoothed curve must fall by at least."""
NOISE = 2.0
"""And by how many times the scatter of the losses about it."""


@dataclass(frozen=True)
class Curve:
    """Losses of steps with rising learning rates.

    Attributes:
        rates: (N,), rising by the same factor from step to step.
        losses: (N,), finite.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def smooth(self) -> np.ndarray:
        """The losses (N,) as a weighted mean of their neighbours; fewer of them at the ends."""
        steps = np.arange(len(self.losses))
        weights = np.exp(-0.5 * ((steps[:, None] - steps[None]) / SMOOTH) ** 2)
        return np.asarray((weights @ self.losses) / weights.sum(axis=1))

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls most steeply per decade, before its minimum; None where it does not fall.

        The loss must have fallen by `FALL` of what it was at first, and by more than its scatter.
        """
        if len(self.losses) < 3:
            return None
        smooth = self.smooth
        lowest = int(smooth.argmin())
        fall = smooth[: lowest + 1].max() - smooth[lowest]
        scatter = float(np.std(self.losses[: lowest + 1] - smooth[: lowest + 1]))
        if lowest == 0 or fall < FALL * abs(smooth[0]) or fall < NOISE * scatter:
            return None
        steep = int(np.gradient(smooth)[: lowest + 1].argmin())
        return float(f"{self.rates[steep]:.2g}")


def draw(curve: Curve, path: Path, title: str = "") -> None:
    """Write a drawing of the curve as PNG, with the suggestion where there is one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(curve.rates, curve.losses, ".", color="0.65", markersize=4, label="loss of a step")
    axes.plot(curve.rates, curve.smooth, color="C0", label="smoothed")
    found = curve.suggestion
    if found is not None:
        axes.axvline(found, color="C3", linestyle="--", label=f"steepest fall: {found:g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=title)
    low, high = _shown(curve)
    axes.set_ylim(low, high)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left" if found is None else "best")
    with whole_file(path) as part:
        figure.savefig(part, format="png")


def _shown(curve: Curve) -> tuple[float, float]:
    """Return the range of losses that is drawn: a divergence at the end does not flatten the rest."""
    smooth: Sequence[float] = curve.smooth.tolist()
    first = max(float(np.percentile(curve.losses[: max(1, len(curve.losses) // 4)], 95)), smooth[0])
    low = float(curve.losses.min())
    room = max(first - low, 1e-6)
    return low - 0.1 * room, first + 0.5 * room
