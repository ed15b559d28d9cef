"""What the trial fit means, in a sentence or two."""

from collections.abc import Mapping
from typing import Any

from segexp.rehearsal.fit import LEARNED, Rehearsal
from segexp.rehearsal.material import STEPS


def words(rehearsal: Rehearsal, config: Mapping[str, Any]) -> str:
    """Return in a sentence or two whether learning works, and else what to look at first."""
    first, last = rehearsal.moments[0], rehearsal.moments[-1]
    count, dice, spent = len(rehearsal.cases), rehearsal.dice, f"{last.seconds:.0f} s"
    images = "one image" if count == 1 else f"{('two', 'three', 'four')[count - 2]} images"
    if rehearsal.learned:
        return f"The network learned {images} to Dice {dice:.2f} in {spent}: learning works."
    found = f"The network did not learn {images}: Dice {dice:.2f} after {last.step} steps in {spent}, {LEARNED} was expected."
    rate = config["optimizer"].get("lr")
    if last.step < STEPS / 2:
        width = config["model"].get("width")
        smaller = f"model.width={width // 2}" if isinstance(width, int) and width > 8 else "a smaller model"
        return f"{found} Only {last.step} steps fitted into the time: type {smaller}, a smaller data.size or trainer.gpus=1."
    if not last.loss < 0.9 * first.loss:
        return (
            f"{found} The loss did not fall ({first.loss:.3g} to {last.loss:.3g}): type another optimizer.lr than {rate}, "
            "or optimizer=adamw."
        )
    if rehearsal.silent:
        return f"{found} Nothing but background is predicted: type loss=ce_dice, or give class weights to the loss."
    return (
        f"{found} Look at the picture: is the truth in it what you expect? Objects of a pixel or two need a larger data.size. "
        f"Else type a higher optimizer.lr than {rate}."
    )
