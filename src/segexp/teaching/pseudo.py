"""Pseudo-labels (Lee 2013): what a trained network is sure of becomes the mask of an image that has none.

They lie in the run's directory: `pseudo/masks/`, a PNG with class indices (or bit sets) for each image, 255 where the network
is not sure, `pseudo/pseudo.csv`, and `pseudo/settings.json`, from which a resumed run sees that they are its own.

Legend: K classes, H W pixels.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segexp.data.files.images import read_image, write_png
from segexp.errors import CheckpointError, DataError
from segexp.labelling import Labelling
from segexp.postprocess import Postprocessing
from segexp.segmenter import Segmenter
from segexp.types import IGNORE, Case, Source
from segexp.whole import whole_folder

FOLDER, MASKS, TABLE, SETTINGS = "pseudo", "masks", "pseudo.csv", "settings.json"
Rows = list[dict[str, Any]]
Track = Callable[[Iterator[Any], int], Iterator[Any]]


def confidence(probabilities: torch.Tensor, labelling: Labelling) -> torch.Tensor:
    """Return how sure a network is of each pixel (H, W), given probabilities (K, H, W).

    That is the probability of the most probable class; where labels overlap, that of the least certain of the decisions
    that each class is there or not, since a pixel is ignored for all classes or for none.
    """
    nothing = np.zeros((0, 0), np.uint8)  # which questions there are does not depend on a mask
    sure = [labelling.chances(probabilities, own).amax(dim=0) for own, _ in labelling.questions(nothing, len(probabilities))]
    return torch.stack(sure).amin(dim=0)


def label(
    teacher: Segmenter, cases: Sequence[Case], folder: Path, settings: Mapping[str, Any], track: Track = lambda each, _: each
) -> None:
    """Write the pseudo-labels of all cases into a folder that is there when it is whole.

    A teacher's post-processing has no part in it: what is ignored follows from the probabilities.

    Args:
        teacher: the trained network.
        cases: without masks; see `find_unlabeled`.
        folder: to write.
        settings: kept with them, with "confidence", from which on a pixel is labelled (0 to 1).
        track: wraps the pass over the cases (iterator, count), for a progress bar.

    Raises:
        DataError: the network is sure of no pixel at all.
    """
    rows: Rows = []
    surest = 0.0
    with whole_folder(folder) as part:
        for number, case in enumerate(track(iter(cases), len(cases))):
            probabilities = teacher.probabilities(read_image(case.image, teacher.spec.channels))
            sure = confidence(probabilities, teacher.labelling).cpu().numpy()
            mask = teacher.labelling.decide(probabilities, Postprocessing())
            mask[sure < settings["confidence"]] = IGNORE
            surest = max(surest, float(sure.max()))
            name = f"{MASKS}/{number:06d}_{Path(case.id).stem}.png"
            write_png(part / name, mask)
            shares = teacher.labelling.pixels(mask, teacher.spec.num_classes) / mask.size
            known = np.count_nonzero(mask != IGNORE) / mask.size
            own = {f"share/{k}": f"{share:.6f}" for k, share in zip(teacher.spec.classes, shares, strict=True)}
            told = {"confidence": f"{sure.mean():.6f}", "labelled": f"{known:.6f}"}
            rows.append({"image": case.id, "mask": name, **told, **own})
        counted = f"{len(cases)} image{'s' * (len(cases) > 1)}"
        if surest < settings["confidence"]:
            raise DataError(
                f"The teacher is sure of no pixel of the {counted} of {settings['unlabeled']}: the surest has "
                f"{surest:.4f}, and data.pseudo.confidence is {settings['confidence']:g}",
                "Some pixels with a probability of at least that were expected",
                f"Type data.pseudo.confidence={max(0.01, int(100 * surest - 5) / 100):g}, or name a better data.pseudo.teacher",
            )
        with (part / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        (part / SETTINGS).write_text(json.dumps(dict(settings), indent=2) + "\n", encoding="utf-8")


def check_labels(folder: Path, cases: Sequence[Case], settings: Mapping[str, Any]) -> None:
    """Refuse pseudo-labels that were made of other images or with other settings than those of now.

    Raises:
        CheckpointError: naming what differs.
    """
    before = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    changed = [f"{key} {before.get(key)} (now {value})" for key, value in settings.items() if before.get(key) != value]
    images, now = {row["image"] for row in read_rows(folder)}, {case.id for case in cases}
    if images != now:
        changed.append(f"{len(images)} images (now {len(now)}, of which {len(now & images)} are the same)")
    if changed:
        raise CheckpointError(
            f"{folder} holds pseudo-labels that were made with {', '.join(changed)}",
            "A resumed run goes on with the images and settings that it began with",
            "Leave such keys out of the command, and bring the images back; or start a new run",
        )


def read_rows(folder: Path) -> Rows:
    """Return what `pseudo.csv` says, a row per image; numbers are text."""
    with (folder / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def with_masks(folder: Path, cases: Sequence[Case]) -> list[Case]:
    """Return the cases with their pseudo-labels, without those of which no pixel is labelled."""
    rows = {row["image"]: row for row in read_rows(folder)}
    return [
        replace(case, masks=(Source(folder / rows[case.id]["mask"]),)) for case in cases if float(rows[case.id]["labelled"]) > 0
    ]


def summed_up(folder: Path, cases: int) -> str:
    """Return what the pseudo-labels are in a sentence.

    Args:
        folder: where they lie.
        cases: of how many images some pixels are labelled.
    """
    rows = read_rows(folder)
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    known = np.mean([float(row["labelled"]) for row in rows])
    classes = [key for key in rows[0] if key.startswith("share/")]
    means = {key.partition("/")[2]: float(np.mean([float(row[key]) for row in rows])) for key in classes}
    shares = ", ".join(f"{name} {share:.1%}" for name, share in means.items())
    absent = [name for name, share in means.items() if not share]
    text = f"Pseudo-labels: {cases} of {len(rows)} images, {known:.1%} of their pixels (confidence {settings['confidence']:g} "
    text += f"or more): {shares}; {folder / TABLE}"
    if absent:
        text += f". None of them is {' or '.join(absent)}, so the unlabelled images teach nothing about that"
    return text
