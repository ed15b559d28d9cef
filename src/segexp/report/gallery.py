"""Pictures of the worst, the median and the best cases of a run: chosen, written to `pictures/cases/`, read for the page.

Legend: N cases, C channels, H W pixels, K classes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segexp.pictures import CORRECT, FALSE_ALARM, MISSED, WRONG_CLASS, Array, Palette, errors, layered, overlay, to_display
from segexp.whole import whole_file

FOLDER = Path("pictures") / "cases"
INDEX = "index.json"
VIEWS = ("image", "truth", "prediction", "error")
KINDS = {"worst": 4, "best": 3, "median": 3, "false alarm": 2}
"""How many of each are shown, in the order in which they are chosen, turn by turn."""
SIDE = 320
"""Longest side of a picture in pixels."""
QUALITY = 85
COLOURS = {"correct": CORRECT, "missed": MISSED, "false alarm": FALSE_ALARM, "wrong class": WRONG_CLASS}


@dataclass(frozen=True)
class Shown:
    """One case with pictures.

    Attributes:
        position: of the case in its split.
        kind: "worst", "median", "best" or "false alarm".
        split: its name.
        case: its id.
        score: Dice, mean over the classes in the truth; None where there is none.
        files: of the four `VIEWS`, in the folder of the index.
    """

    position: int
    kind: str
    split: str = ""
    case: str = ""
    score: float | None = None
    files: tuple[str, ...] = ()


def choose(scores: Sequence[float] | np.ndarray, false_alarms: Sequence[int] | np.ndarray | None = None) -> list[Shown]:
    """Choose cases to be shown; no case twice, all of them where there are few.

    Args:
        scores: N, the higher the better; NaN where the truth is empty.
        false_alarms: N, pixels falsely found; the cases with an empty truth and the most of them are shown as well.

    Returns:
        Positions with their kind, from the worst to the best, false alarms last.
    """
    values = np.asarray(scores, np.float64)
    known = [int(n) for n in np.argsort(values, kind="stable") if not np.isnan(values[n])]
    alarms = np.zeros(len(values), np.int64) if false_alarms is None else np.asarray(false_alarms)
    empty = sorted((n for n in range(len(values)) if np.isnan(values[n]) and alarms[n] > 0), key=lambda n: -int(alarms[n]))
    half = (len(known) - 1) // 2
    outward = [known[i] for i in sorted(range(len(known)), key=lambda i: (abs(i - half), i))]
    queues = {"worst": known, "best": known[::-1], "median": outward, "false alarm": empty}
    kinds: dict[int, str] = {}
    for turn in range(max(KINDS.values())):
        for kind, queue in queues.items():
            free = next((n for n in queue if n not in kinds), None)
            if turn < KINDS[kind] and free is not None:
                kinds[free] = kind
    order = {"worst": 0, "median": 1, "best": 2, "false alarm": 3}
    place = {n: i for i, n in enumerate(known + empty)}
    return [Shown(n, kind) for n, kind in sorted(kinds.items(), key=lambda item: (order[item[1]], place[item[0]]))]


def views(
    image: Array, truth: Array, prediction: Array, palette: Palette, side: int = SIDE, overlapping: bool = False
) -> tuple[Array, ...]:
    """Return the four `VIEWS` of a case, each (h, w, 3) uint8 with its longest side `side`; small images are not enlarged.

    Args:
        image: (H, W, C) as it was read.
        truth: (H, W) class index, 255 = ignore.
        prediction: (H, W) class index.
        palette: a colour per class.
        side: in pixels.
        overlapping: the masks hold bit sets.
    """
    lay = layered if overlapping else overlay
    height, width = truth.shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = cv2.resize(to_display(image), size, interpolation=cv2.INTER_AREA)
    real, guess = (cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for mask in (truth, prediction))
    return shown, lay(shown, real, palette), lay(shown, guess, palette), errors(real, guess, shown, overlapping)


def write_gallery(
    directory: Path,
    split: str,
    cases: Iterator[tuple[Shown, Array, Array, Array]],
    palette: Palette,
    overlapping: bool = False,
) -> None:
    """Write pictures of the chosen cases of one split, and the index that says what they are; other splits' stay.

    Args:
        directory: of the run.
        split: its name.
        cases: what is shown (with id and score), image (H, W, C), truth and prediction (H, W).
        palette: a colour per class.
        overlapping: the masks hold bit sets.
    """
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, (shown, image, truth, prediction) in enumerate(cases):
        names = tuple(f"{split}_{number:02d}_{shown.kind.replace(' ', '_')}_{view}.jpg" for view in VIEWS)
        for name, drawn in zip(names, views(image, truth, prediction, palette, overlapping=overlapping), strict=True):
            _, data = cv2.imencode(".jpg", np.ascontiguousarray(drawn[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            with whole_file(folder / name) as part:
                part.write_bytes(data.tobytes())
        score = None if shown.score is None or np.isnan(shown.score) else float(shown.score)
        written.append(replace(shown, split=split, score=score, files=names))
    others = [shown for shown in read_gallery(directory) if shown.split != split]
    with whole_file(folder / INDEX) as part:
        part.write_text(json.dumps([asdict(shown) for shown in (*others, *written)], indent=1) + "\n", encoding="utf-8")


def read_gallery(directory: Path) -> list[Shown]:
    """Return the cases that have pictures, as the index says; nothing where it is missing or broken."""
    try:
        content: list[Mapping[str, Any]] = json.loads((directory / FOLDER / INDEX).read_text(encoding="utf-8"))
        return [Shown(**{**entry, "files": tuple(Path(str(name)).name for name in entry["files"])}) for entry in content]
    except (OSError, ValueError, TypeError, KeyError):
        return []
