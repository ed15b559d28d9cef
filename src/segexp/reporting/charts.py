"""Small drawings in SVG that take the colours of the page around them: histograms, bars, curves."""

import html
from collections.abc import Sequence

import numpy as np

from segexp.reporting.html import Html, element

WIDTH, HEIGHT = 440, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 40


def histogram(
    values: Sequence[float] | np.ndarray, label: str, alt: str, bins: int = 24, weight: str = "cases", root: bool = False
) -> Html:
    """Return how often values occur.

    Args:
        values: numbers; those that are not finite are left out.
        label: of the horizontal axis, with its unit.
        alt: what it shows, for readers who do not see it.
        bins: columns; one where all values are equal.
        weight: what is counted upwards.
        root: columns as high as the square roots of the counts, where one of them would hide all others.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return Html("")
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        half = abs(low) / 20 or 0.5
        low, high, bins = low - half, high + half, 1
    counts, edges = np.histogram(finite, bins, (low, high))
    return columns(counts, edges, label, alt, weight, root)


def columns(counts: np.ndarray, edges: np.ndarray, label: str, alt: str, weight: str, root: bool = False) -> Html:
    """Return counts (N,) between edges (N + 1,) as columns."""
    low, high, top = float(edges[0]), float(edges[-1]), float(max(counts.max(), 1e-12))
    room = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    shapes = []
    for count, start, end in zip(counts, edges, edges[1:], strict=False):
        left = LEFT + room[0] * (start - low) / (high - low)
        width = max(room[0] * (end - start) / (high - low) - 1, 0.5)
        height = room[1] * (count / top) ** (0.5 if root else 1.0)
        text = f"{short(start)} to {short(end)}: {short(count)} {weight}"
        bar = f'<rect class="bar" x="{left:.1f}" y="{TOP + room[1] - height:.1f}" width="{width:.1f}" height="{height:.1f}">'
        shapes.append(f"{bar}{element('title', text)}</rect>" if count else "")
    return _drawing("".join(shapes) + _axes(low, high, 0.0, top, label, f"{weight}, root scale" if root else weight), alt)


def curves(lines: Sequence[tuple[str, Sequence[float], Sequence[float]]], label: str, alt: str) -> Html:
    """Return up to two curves with a common horizontal axis, each from its own lowest to its own highest value.

    Args:
        lines: name, x and y of each.
        label: of the horizontal axis.
        alt: what it shows.
    """
    room = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    places = [place for _, xs, _ in lines for place in xs]
    low, high = min(places), max(max(places), min(places) + 1e-9)
    drawn = ""
    for n, ((name, xs, ys), style) in enumerate(zip(lines, ("first", "second"), strict=False)):
        base, span = min(ys), max(max(ys) - min(ys), 1e-9)
        points = [
            f"{LEFT + room[0] * (a - low) / (high - low):.1f},{TOP + room[1] * (1 - (b - base) / span):.1f}"
            for a, b in zip(xs, ys, strict=True)
        ]
        drawn += f'<polyline class="curve {style}" points="{" ".join(points)}"/>'
        text = f"{name}: {short(ys[0])} to {short(ys[-1])}"
        drawn += f'<line class="curve {style}" x1="{LEFT + 8 + n * 190}" x2="{LEFT + 26 + n * 190}" y1="8" y2="8"/>'
        drawn += str(element("text", text, x=f"{LEFT + 30 + n * 190}", y="12"))
    return _drawing(drawn + _axes(low, high, None, None, label, ""), alt)


def shares(names: Sequence[str], values: Sequence[float], colours: Sequence[tuple[int, int, int]], alt: str) -> Html:
    """Return a bar per class with its share (0 to 1) of the pixels."""
    step, left = 26, 130
    drawn = ""
    top = max(*values, 1e-12)
    for n, (name, value, colour) in enumerate(zip(names, values, colours, strict=True)):
        y = n * step
        width = max((WIDTH - left - 70) * value / top, 1)
        drawn += str(element("text", name if len(name) <= 18 else f"{name[:17]}…", x="0", y=f"{y + 17}"))
        fill = "#{:02x}{:02x}{:02x}".format(*colour)
        drawn += f'<rect class="axis" x="{left}" y="{y + 4}" width="{width:.1f}" height="18" fill="{fill}"/>'
        text = f"{value:.1%}" if value >= 0.001 or not value else f"{value:.2g}"
        drawn += str(element("text", text, x=f"{left + width + 6:.1f}", y=f"{y + 17}", class_="value"))
    return _drawing(drawn, alt, len(names) * step + 4)


def short(value: float) -> str:
    """Return a number in few characters: 1.2k, 0.034, 256."""
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):.3g}{letter}"
    return f"{value:.0f}" if float(value).is_integer() or size >= 100 else f"{value:.3g}"


def _axes(low: float, high: float, base: float | None, top: float | None, label: str, weight: str) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    drawn = f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>'
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = LEFT + (right - LEFT) * part
        drawn += str(
            element("text", short(low + (high - low) * part), x=f"{x:.0f}", y=f"{bottom + 15}", **{"text-anchor": anchor})
        )
    drawn += str(element("text", label, x=f"{(LEFT + right) / 2:.0f}", y=f"{bottom + 33}", **{"text-anchor": "middle"}))
    if base is not None and top is not None:
        for y, value in ((bottom, base), (TOP + 8, top)):
            drawn += str(element("text", short(value), x=f"{LEFT - 6}", y=f"{y}", **{"text-anchor": "end"}))
        drawn += str(element("text", weight, x=f"{LEFT + 2}", y=f"{TOP - 2}"))
    return drawn


def _drawing(shapes: str, alt: str, height: int = HEIGHT) -> Html:
    return Html(f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(alt)}">{shapes}</svg>')
