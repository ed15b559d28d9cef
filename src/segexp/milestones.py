"""Milestones of a training: an epoch (60) or a share of the training (75%)."""

from dataclasses import dataclass

from segexp.errors import ConfigError

CLOSE = 1e-9
"""Tolerance for shares, which are quotients of steps."""


@dataclass(frozen=True)
class Milestone:
    """The start or end of something during training.

    Attributes:
        place: an epoch, from 0 on, or a share of the training, 0 to 1.
        by_share: whether `place` is a share.
    """

    place: float
    by_share: bool = False

    def reached(self, epoch: int, share: float) -> bool:
        """Return whether an epoch (from 0 on), at whose start `share` (0 to 1) is completed, is at or after the milestone."""
        return share >= self.place - CLOSE if self.by_share else epoch >= self.place

    def share_of(self, epochs: int | None) -> float:
        """Return the milestone as a share of `epochs`; for an open number (None), epochs count as 1."""
        if self.by_share:
            return self.place
        return min(1.0, self.place / epochs) if epochs else 1.0


def parse_milestone(given: object) -> Milestone | None:
    """Parse a number of epochs or text such as "75%"; None for anything else."""
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return Milestone(float(given))
    text = given.strip() if isinstance(given, str) else ""
    if not text.endswith("%"):
        return None
    try:
        share = float(text[:-1]) / 100
    except ValueError:
        return None
    return Milestone(share, by_share=True) if 0 <= share <= 1 else None


def require_milestone(key: str, given: object) -> Milestone:
    """Parse the value of a key: a number of epochs, or text such as "75%".

    Raises:
        ConfigError: it is neither.
    """
    if (found := parse_milestone(given)) is not None:
        return found
    raise ConfigError(
        f"{key} is {given!r}",
        "an epoch (a whole number from 0 on) or a share of the training (0% to 100%)",
        f"Type {key}=5 for the fifth epoch, {key}=20% for a share",
    )
