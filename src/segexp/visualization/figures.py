"""Figures with axes, drawn by matplotlib."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segexp.visualization.images import Array


def confusion_figure(matrix: Array, classes: Sequence[str], overlapping: bool = False) -> Array:
    """Draw a confusion matrix (K, K) of counts as (H, W, 3) uint8: rows truth, columns prediction.

    Each row sums to 100 %; counts are added for up to ten classes. For overlapping labels, each foreground class gets its own 2
    x 2 matrix.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from segexp.metrics.confusion import split_matrix

    parts = [(np.asarray(matrix, np.float64), classes)]
    if overlapping:
        each = split_matrix(np.asarray(matrix))
        parts = [(two.astype(np.float64), (f"no {name}", name)) for two, name in zip(each, classes[1:], strict=True)]
    count = len(parts[0][1])
    side = max(4.2, (0.95 if count <= 10 else 0.62) * count + 2.2)
    figure = Figure(figsize=(len(parts) * side + 0.8, side), dpi=100, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    for place, (counts, names) in enumerate(parts, start=1):
        axes = figure.add_subplot(1, len(parts), place)
        drawn = _draw_matrix(axes, counts, names)
    figure.colorbar(drawn, ax=axes if len(parts) == 1 else figure.axes, shrink=0.8, label="% of the true class")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_matrix(axes: Any, matrix: Array, classes: Sequence[str]) -> Any:
    """Draw a matrix (K, K) of counts; return the image for the colour bar."""
    count = len(classes)
    totals = matrix.sum(axis=1, keepdims=True)
    share = 100 * np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    names = [f"{name}\n({_short_count(float(total))} px)" for name, total in zip(classes, totals[:, 0], strict=True)]
    axes.set_xticks(range(count), classes, rotation=0 if count <= 4 else 45, ha="center" if count <= 4 else "right")
    axes.set_yticks(range(count), names if count <= 10 else classes)
    axes.set(xlabel="prediction", ylabel="truth")
    for i, j in np.ndindex(count, count):
        text = "-" if totals[i] == 0 else f"{share[i, j]:.1f}{' %' if count <= 10 else ''}"
        text += f"\n{_short_count(float(matrix[i, j]))}" if count <= 10 and totals[i] > 0 else ""
        axes.text(j, i, text, ha="center", va="center", color="white" if share[i, j] > 55 else "black", fontsize=9)
    return drawn


def _short_count(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"
