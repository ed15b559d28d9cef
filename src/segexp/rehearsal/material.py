"""What the trial fit learns: which pictures, how small, and how many steps of it the machine can afford.

Legend: H W own size, h w working size.
"""

import copy
import time
from dataclasses import replace

import cv2
import numpy as np
import torch

from segexp.checking.findings import Examination
from segexp.data.inspect import Picture
from segexp.errors import DataError
from segexp.module import MakeOptimizer
from segexp.preprocessing import resize_image, resize_mask
from segexp.segmenter import Segmenter
from segexp.types import IGNORE, Case

IMAGES = 4
SIDES = (256, 192, 128, 96, 64)
"""Sides of the pictures in pixels, of which the largest is taken that leaves time for `STEPS` steps."""
STEPS = 120
SHRUNK = 3


def choose(examination: Examination) -> list[Case]:
    """Return the training cases with most foreground, up to four; one that is nearly all foreground has little to tell.

    Raises:
        DataError: no training case has foreground.
    """

    def wealth(case: Case) -> float:
        share = sum(examination.facts[case.id].shares[1:])
        return share if share <= 0.8 else 1 - share

    readable = [case for case in examination.cases if case.id in examination.facts]
    training = [case for case in readable if examination.splits.get(case.id) == "train"]
    rich = [case for case in training if sum(examination.facts[case.id].shares[1:]) > 0]
    if not rich:
        raise DataError(
            f"None of the {len(training)} readable training cases of {examination.data['root']} has a pixel of foreground",
            "fit=true lets the network learn the pictures with most foreground",
            "Look at the masks, and at which values data.classes gives to which class; the first class is the background",
        )
    return sorted(rich, key=wealth, reverse=True)[:IMAGES]


def affordable(
    segmenter: Segmenter, optimizer: MakeOptimizer, batch: int, seconds: float, steps: int = STEPS
) -> tuple[int, float]:
    """Return the side of pictures that leaves time for so many steps, and the seconds of a step, by trying some on a copy."""
    trial = replace(segmenter, network=copy.deepcopy(segmenter.network).train())
    images = torch.zeros(batch, segmenter.spec.channels, SIDES[-1], SIDES[-1], device=segmenter.device)
    update = optimizer(trial.network)
    passes: list[float] = []
    updates: list[float] = []
    for _ in range(3):
        started = time.monotonic()
        with trial.autocast():
            logits = trial.forward(images)
        logits.float().square().mean().backward()  # type: ignore[no-untyped-call]
        float(logits.detach().flatten()[0])  # waits for a GPU
        passed = time.monotonic()
        update.step()
        passes, updates = [*passes, passed - started], [*updates, time.monotonic() - passed]
    one, rest = min(passes[1:]), min(updates[1:])  # the first ones are spent on preparations
    costs = [(side, rest + one * (side / SIDES[-1]) ** 2) for side in SIDES]
    return next((pair for pair in costs if pair[1] * steps <= seconds), costs[-1])


def reduced(picture: Picture, crop: tuple[int, int] | None, side: int) -> Picture:
    """Return a window of at most `side` pixels, of a whole picture (`crop` None) after making it up to `SHRUNK` times smaller.

    The window lies where foreground fills it as nearly by half as it can. The mask (H, W) gets the size of the image (h, w).
    """
    image, mask = picture.image, resize_mask(picture.mask, picture.image.shape[:2])
    if crop is None:
        scale = max(1 / SHRUNK, min(1.0, side / max(mask.shape)))
        size = max(16, round(mask.shape[0] * scale)), max(16, round(mask.shape[1] * scale))
        image, mask = resize_image(image, size), resize_mask(mask, size)
    height, width = mask.shape
    rows, columns = (min(wanted, side, own) for wanted, own in zip(crop or mask.shape, mask.shape, strict=True))
    foreground = ((mask != 0) & (mask != IGNORE)).astype(np.float32)
    counts = cv2.boxFilter(foreground, -1, (columns, rows), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    inside = counts[: height - rows + 1, : width - columns + 1]
    top, left = np.unravel_index(int(np.abs(inside - rows * columns / 2).argmin()), inside.shape)
    window = slice(int(top), int(top) + rows), slice(int(left), int(left) + columns)
    return Picture(image[window].copy(), mask[window].copy())
