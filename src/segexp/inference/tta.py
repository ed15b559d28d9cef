"""Test-time augmentation with exactly invertible views (flips and transposition)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from segexp.errors import ConfigError, nearest

Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class View:
    """A view of an image: optional transposition, then flips.

    Attributes:
        transpose: exchange rows and columns.
        flip: axes flipped afterwards, -2 for vertical, -1 for horizontal.
    """

    transpose: bool = False
    flip: tuple[int, ...] = ()

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Return the view of an image (..., h, w)."""
        image = image.transpose(-1, -2) if self.transpose else image
        return image.flip(self.flip) if self.flip else image

    def invert(self, seen: torch.Tensor) -> torch.Tensor:
        """Undo `apply`."""
        seen = seen.flip(self.flip) if self.flip else seen
        return seen.transpose(-1, -2) if self.transpose else seen

    def wrap(self, network: Network) -> Network:
        """Return a network (B, C, h, w) to (B, K, h, w) that sees this view and returns maps of the original image."""
        return network if self == IDENTITY else lambda images: self.invert(network(self.apply(images)))


IDENTITY = View()

_FLIPS = tuple(View(flip=flip) for flip in ((), (-1,), (-2,), (-2, -1)))

VIEWS = {
    "none": (IDENTITY,),
    "flips": _FLIPS,
    "dihedral": (*_FLIPS, *(View(True, view.flip) for view in _FLIPS)),
}
"""The views by name; the first one is always the identity."""


def views(name: str) -> tuple[View, ...]:
    """Return the views of a name: one, the four flips, or the eight symmetries of the square.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in VIEWS:
        raise ConfigError(
            f"tta={name} is not a test-time augmentation",
            f"One of {', '.join(VIEWS)} was expected",
            nearest(str(name), VIEWS),
        )
    return VIEWS[name]
