"""Colours that tell classes apart, for most colour-blind readers too."""

import colorsys
from collections.abc import Sequence

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

BACKGROUND: Colour = (0, 0, 0)
DISTINCT: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Orange, sky blue, green, yellow, blue, vermilion, purple. Okabe and Ito (2008), Color Universal Design."""

GOLDEN = 0.618033988749895
"""Steps of this size never meet on the colour circle."""


def class_colours(own: Sequence[Colour | None]) -> tuple[Colour, ...]:
    """Return one colour per class, all different where the given ones are.

    Args:
        own: the colour of each class, None where it has none; the first class is the background (black).
    """
    taken = {colour for colour in own if colour is not None}
    spare = iter(colour for colour in _endless() if colour not in taken)
    first = BACKGROUND if BACKGROUND not in taken else next(spare)
    return tuple(colour if colour is not None else first if index == 0 else next(spare) for index, colour in enumerate(own))


def _endless() -> "list[Colour]":
    """Return the distinct colours and then enough hues for every class index there can be."""
    hues = [colorsys.hsv_to_rgb((0.13 + k * GOLDEN) % 1, (0.5, 0.75, 1.0)[k % 3], (1.0, 0.6, 0.8)[k % 3]) for k in range(300)]
    mixed = [(round(red * 255), round(green * 255), round(blue * 255)) for red, green, blue in hues]
    return list(dict.fromkeys([*DISTINCT, *mixed]))
