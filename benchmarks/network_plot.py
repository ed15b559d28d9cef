"""Dice of the networks against what they multiply, as a picture in which no two names lie over each other."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from network_page import Row

from segexp.atomic import atomic_write

HIGH, LETTER = 10.0, 4.6
"""Height of a name, and width of a letter of it, in points."""

Box = tuple[float, float, float, float]
"""Left, bottom, right and top."""


def plot(rows: Sequence[Row], data: Sequence[str], path: Path) -> None:
    """Draw a panel for each data set: a dot for each network, with the 95 % interval as a bar."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.8 * len(data), 5.0), layout="constrained")
    panels = figure.subplots(1, len(data), squeeze=False)[0]
    names = []
    for axes, name in zip(panels, data, strict=True):
        points = [(row, row.dice[name], row.macs / 1e9) for row in rows if row.macs and "dice" in row.dice.get(name, {})]
        for _, found, x in points:
            if found["low"] is not None:
                axes.plot([x, x], [found["low"], found["high"]], color="tab:blue", alpha=0.25, linewidth=2)
            axes.plot(x, found["dice"], "o", color="tab:blue", markersize=4)
        names.append([(row.network, x, found["dice"]) for row, found, x in points])
        axes.set(title=name, xlabel="MACs of an image of 256 x 256, in 10⁹", ylabel="Dice", xscale="log")
        axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
        axes.minorticks_off()
        axes.margins(x=0.3)
        axes.grid(alpha=0.25)
    figure.draw_without_rendering()  # now the places are known
    for axes, points in zip(panels, names, strict=True):
        to_points = 72 / figure.dpi
        dots = [tuple(axes.transData.transform((x, y)) * to_points) for _, x, y in points]
        for (text, x, y), (right, up) in zip(points, offsets(dots, [len(text) for text, _, _ in points]), strict=True):
            line = (
                {"arrowstyle": "-", "color": "gray", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2} if abs(up) > HIGH else None
            )
            axes.annotate(text, (x, y), (right, up), textcoords="offset points", fontsize=8, va="center", arrowprops=line)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=110)


def offsets(dots: Sequence[tuple[float, float]], letters: Sequence[int]) -> list[tuple[float, float]]:
    """Return where the names of dots go, each as near as it can be without lying over a dot or another name.

    Args:
        dots: right and up, in points.
        letters: of each name.

    Returns:
        How far the left end of each name lies to the right of its dot, and its middle above it.
    """
    taken: list[Box] = [(x - 3, y - 3, x + 3, y + 3) for x, y in dots]
    found: list[tuple[float, float]] = []
    for (x, y), count in zip(dots, letters, strict=True):
        wide = LETTER * count
        ups = [0.0] + [sign * n * HIGH / 2 for n in range(1, 15) for sign in (1, -1)]
        places = [(right, up) for up, right in product(ups, (6.0, -6.0 - wide))]
        boxes = [(x + right, y + up - HIGH / 2, x + right + wide, y + up + HIGH / 2) for right, up in places]
        free = next((n for n, box in enumerate(boxes) if not any(overlap(box, other) for other in taken)), 0)
        taken.append(boxes[free])
        found.append(places[free])
    return found


def overlap(one: Box, other: Box) -> bool:
    """Say whether two boxes share more than an edge."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
