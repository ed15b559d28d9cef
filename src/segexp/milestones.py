"""A moment of the training, as a key says it: an epoch (60) or a share of the training (75%)."""

from dataclasses import dataclass

from segexp.errors import ConfigError

CLOSE = 1e-9
"""Shares are quotients of steps: 3 of 4 epochs are 75 %."""


@dataclass(frozen=True)
class Milestone:
    """When something begins or ends.

    Attributes:
        place: an epoch, from 0 on, or a share of the training, 0 to 1.
        by_share: which of both.
    """

    place: float
    by_share: bool = False

    def reached(self, epoch: int, share: float) -> bool:
        """Say whether an epoch (from 0 on) at whose start `share` of the training, 0 to 1, is done lies at or after it."""
        return share >= self.place - CLOSE if self.by_share else epoch >= self.place

    def share_of(self, epochs: int | None) -> float:
        """Return it as a share of a training of so many epochs; None for an open number, with which only shares go."""
        if self.by_share:
            return self.place
        return min(1.0, self.place / epochs) if epochs else 1.0


def parse_milestone(given: object) -> Milestone | None:
    """Return the moment that a whole number of epochs, from 0 on, or text such as "75%" names; None for anything else."""
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


def milestone(key: str, given: object) -> Milestone:
    """Return the moment that the value of a key names: a whole number of epochs, or text such as "75%".

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
