"""What keys of the training methods mean together."""

from collections.abc import Iterator, Mapping
from typing import Any

from segexp.errors import ConfigError
from segexp.moments import moment


def method_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sentence per problem of the trainer section that a key by itself does not show."""
    trainer = config.get("trainer") or {}
    for key in ("swa", "freeze_encoder"):
        given = trainer.get(key)
        if given is None or (not isinstance(given, int | str)):
            continue
        try:
            found = moment(f"trainer.{key}", given)
        except ConfigError as problem:
            yield str(problem)
            continue
        if key == "swa" and trainer.get("minutes") is not None and not found.by_share:
            yield (
                f"trainer.swa={given} counts epochs, and with trainer.minutes={trainer['minutes']:g} their number is open. "
                "Type trainer.swa=75% for the last quarter of the time"
            )
    if trainer.get("swa") and trainer.get("ema"):
        yield (
            f"trainer.ema={trainer['ema']:g} and trainer.swa={trainer['swa']} are two averages of the weights, and one of them "
            "is what is scored and kept. Type trainer.ema=null or trainer.swa=null"
        )
