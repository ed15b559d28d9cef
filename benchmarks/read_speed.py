"""How long `read_image` takes, as a ratio to the plain reader of each format: tifffile, Pillow and OpenCV.

Writes 200 pictures of 512 x 512 as TIFF (plain, LZW, deflate, JPEG; 8 and 16 bits), PNG and JPEG, and reads them in turns, so
that a busy machine slows all alike. The plain reader only decodes; `read_image` also checks the declared size and the checksums
of PNG, turns the picture upright and looks at its channels. Prints the median of the ratios per format.

    python benchmarks/read_speed.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

from segexp.data.io.images import read_image
from segexp.types import Source

COUNT, SIDE, TURNS = 20, 512, 3


def pictures(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth gray picture of 16 bits and one in colour of 8 bits."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 60000, (16, 16, 3)).astype(np.uint16)
    deep = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) + rng.integers(0, 999, (SIDE, SIDE, 3), np.uint16)
    return deep[..., 0], (deep >> 8).astype(np.uint8)


def write(folder: Path) -> dict[str, list[Path]]:
    """Write `COUNT` files of each kind; return them by kind."""
    found: dict[str, list[Path]] = {}
    for number in range(COUNT):
        deep, colour = pictures(number)
        kinds: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
            f"TIFF {name} {bits}": (array, options)
            for bits, array in (("gray 16", deep), ("RGB 8", colour))
            for name, options in (
                ("plain", {}),
                ("LZW", {"compression": "lzw", "predictor": 2}),
                ("deflate tiles", {"compression": "zlib", "tile": (256, 256)}),
            )
        }
        kinds["TIFF JPEG RGB 8"] = colour, {"compression": "jpeg"}
        for kind, (array, options) in kinds.items():
            path = folder / f"{kind} {number}.tif".replace(" ", "_")
            tifffile.imwrite(path, array, photometric="rgb" if array.ndim == 3 else "minisblack", metadata=None, **options)
            found.setdefault(kind, []).append(path)
        for kind, array, ending in (("PNG gray 16", deep, "png"), ("PNG RGB 8", colour, "png"), ("JPEG RGB 8", colour, "jpg")):
            path = folder / f"{kind} {number}.{ending}".replace(" ", "_")
            Image.fromarray(array).save(path)
            found.setdefault(kind, []).append(path)
    return found


def seconds(read: Callable[[Path], Any], files: list[Path]) -> float:
    """Return the seconds of reading some files once."""
    start = time.perf_counter()
    for path in files:
        read(path)
    return time.perf_counter() - start


def plain_readers(kind: str) -> dict[str, Callable[[Path], Any]]:
    """Return the plain readers of a kind of file by name."""

    def by_opencv(path: Path) -> Any:
        return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)

    def by_pillow(path: Path) -> Any:
        with Image.open(path) as picture:
            return np.asarray(picture)

    first = {"tifffile": tifffile.imread} if kind.startswith("TIFF") else {"Pillow": by_pillow}
    return {**first, "OpenCV": by_opencv}


def main() -> None:
    """Print a line per kind of file."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, files in write(Path(folder)).items():
            readers = {"segexp": lambda path: read_image(Source(path)), **plain_readers(kind)}
            times: dict[str, list[float]] = {name: [] for name in readers}
            for _ in range(TURNS):
                for name, read in readers.items():
                    times[name].append(seconds(read, files))
            ours = times["segexp"]
            ratios = [
                f"{statistics.median(a / b for a, b in zip(ours, other, strict=True)):.2f} x {name}"
                for name, other in times.items()
                if name != "segexp"
            ]
            print(f"{kind:26} {1000 * statistics.median(ours) / len(files):6.2f} ms a file, {', '.join(ratios)}")


if __name__ == "__main__":
    main()
