"""Test-time augmentation: the same image seen mirrored and turned, and what was found there brought back.

Every view only moves pixels, so that the way back is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from segexp.errors import ConfigError, nearest

Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class View:
    """One way to look at an image: rows and columns exchanged or not, then mirrored along some axes.

    Attributes:
        transpose: exchange rows and columns.
        flip: the axes that are mirrored afterwards, -2 for top and bottom, -1 for left and right.
    """

    transpose: bool = False
    flip: tuple[int, ...] = ()

    def there(self, image: torch.Tensor) -> torch.Tensor:
        """Return how this view sees an image (..., h, w)."""
        image = image.transpose(-1, -2) if self.transpose else image
        return image.flip(self.flip) if self.flip else image

    def back(self, seen: torch.Tensor) -> torch.Tensor:
        """Return what `there` was given."""
        seen = seen.flip(self.flip) if self.flip else seen
        return seen.transpose(-1, -2) if self.transpose else seen

    def around(self, network: Network) -> Network:
        """Return a network (B, C, h, w) to (B, K, h, w) that sees through this view and answers in the image's own frame."""
        return network if self == IDENTITY else lambda images: self.back(network(self.there(images)))


IDENTITY = View()

_FLIPS = tuple(View(flip=flip) for flip in ((), (-1,), (-2,), (-2, -1)))

VIEWS = {
    "none": (IDENTITY,),
    "flips": _FLIPS,
    "dihedral": (*_FLIPS, *(View(True, view.flip) for view in _FLIPS)),
}
"""The views of each name; of every set the identity is the first."""


def views(name: str) -> tuple[View, ...]:
    """Return the views of a name: one, the four mirrorings, or the eight symmetries of the square.

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
