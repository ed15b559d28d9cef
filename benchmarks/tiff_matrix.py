"""Whether TIFF files of every kind are read as they were written.

Writes tiny files by tifffile, in every combination of number type, bands, compression, planar configuration and strips or
tiles, through which orientation, byte order, BigTIFF and predictor run, and every photometric interpretation by itself. Each
must be read as the values that were written, and those of a lossy compression as tifffile decodes them; colour spaces that are
not read must be refused by the file's name. What tifffile cannot write is left out. Prints the counts, and exits with 1 on a
miss.

    python benchmarks/tiff_matrix.py
"""

import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from segexp.data.io.images import image_size, read_image
from segexp.errors import UnreadableError
from segexp.types import Array, Source

DTYPES = ("uint8", "uint16", "int16", "float32", "bool")
BANDS = (1, 2, 3, 4, 5, 12)
LOSSLESS = ("none", "lzw", "adobe_deflate", "deflate", "packbits", "lzma", "zstd", "png", "jpegxl", "lerc")
LOSSY = ("jpeg", "jpeg2000", "jpegxr", "webp", "jpegxl_lossy")
HEIGHT, WIDTH = 21, 35
UPRIGHT = {  # where the stored row 0, column 0 and the rest of the picture go, as TIFF 6.0 words it
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@dataclass(frozen=True)
class Kind:
    """One way to write a file.

    Attributes:
        name: in words.
        stored: what is written (H, W) or (H, W, C).
        options: of `tifffile.imwrite`.
        shown: what is to be read, upright or not; None for what tifffile decodes.
        orientation: tag 274.
        file: options of `tifffile.TiffWriter`.
    """

    name: str
    stored: Array
    options: dict[str, Any]
    shown: Array | None = None
    orientation: int = 1
    file: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the file; tifffile raises where it cannot."""
        tags = [(274, 3, 1, self.orientation, True)] if self.orientation > 1 else []
        with tifffile.TiffWriter(path, **self.file) as file:
            file.write(self.stored, metadata=None, extratags=tags, **self.options)

    def expected(self, path: Path) -> Array:
        """Return what is to be read, (H, W, C)."""
        array = decoded(path) if self.shown is None else self.shown
        array = array[..., None] if array.ndim == 2 else array
        array = np.where(array, np.uint8(255), np.uint8(0)) if array.dtype == bool else array
        array = array.astype(array.dtype if array.dtype in (np.uint8, np.uint16) else np.float32)
        return UPRIGHT[self.orientation](array)


def decoded(path: Path) -> Array:
    """Return what tifffile decodes, (H, W) or (H, W, C)."""
    with tifffile.TiffFile(path) as file:
        array = file.pages[0].asarray()
        return np.moveaxis(array, 0, -1) if file.pages[0].axes == "SYX" else array


def pixels(dtype: str, bands: int, rng: np.random.Generator) -> Array:
    """Return values (H, W, C) that differ between bands, smooth enough for every codec; (H, W) of one band."""
    top = {"uint8": 255, "uint16": 65535, "int16": 32767, "float32": 1.0, "bool": 1}[dtype]
    low = -top if dtype in ("int16", "float32") else 0
    array = rng.uniform(low, top, (HEIGHT, WIDTH, bands))
    array = array > 0.5 if dtype == "bool" else array.astype(dtype)
    return array[..., 0] if bands == 1 else array


def compression_options(name: str) -> dict[str, Any]:
    """Return the options of tifffile for a compression."""
    if name == "none":
        return {}
    if name == "jpegxl_lossy":
        return {"compression": "jpegxl", "compressionargs": {"lossless": False, "distance": 1.0}}
    if name == "jpegxl":
        return {"compression": "jpegxl", "compressionargs": {"lossless": True}}
    return {"compression": name}


def combinations() -> Iterator[Kind]:
    """Yield every combination of type, bands, compression, planes and segments, the rest in turn."""
    rng = np.random.default_rng(0)
    turn = itertools.count()
    for dtype, bands, packed, planar, tiled in itertools.product(
        DTYPES, BANDS, LOSSLESS + LOSSY, ("contig", "separate"), (False, True)
    ):
        if bands == 1 and planar == "separate":
            continue
        number = next(turn)
        options = compression_options(packed)
        options |= {"tile": (16, 16)} if tiled else {"rowsperstrip": 8}
        options["photometric"] = "rgb" if bands in (3, 4) and dtype != "bool" and number % 2 else "minisblack"
        if bands > 1:
            options["planarconfig"] = planar
            extra = bands - (3 if options["photometric"] == "rgb" else 1)
            options |= {"extrasamples": ["unspecified"] * extra} if extra else {}
        if packed in ("lzw", "adobe_deflate", "zstd") and dtype != "bool" and number % 3:
            options["predictor"] = 3 if dtype == "float32" else 2
        array = pixels(dtype, bands, rng)
        stored = np.moveaxis(array, -1, 0) if planar == "separate" else array
        file = {"byteorder": "<>"[number // 2 % 2], "bigtiff": number % 5 == 0}
        name = f"{dtype} x {bands} {packed} {planar} {'tiles' if tiled else 'strips'} {options['photometric']}"
        swapped = (
            dtype == "bool" and planar == "contig" and bands > 1
        )  # tifffile packs the bits of neighbouring pixels, not bands
        yield Kind(name, stored, options, None if packed in LOSSY or swapped else array, number % 8 + 1, file)


def photometrics() -> Iterator[Kind]:
    """Yield inverted gray, palettes, few bits, transparency, and colour spaces of print and video."""
    rng = np.random.default_rng(1)
    gray = {dtype: pixels(dtype, 1, rng) for dtype in DTYPES}
    for packed, orientation in itertools.product(("none", "lzw", "zstd"), range(1, 9)):
        options = compression_options(packed)
        for dtype, array in gray.items():
            white = np.iinfo(dtype).max - array if dtype.startswith("u") else ~array if dtype == "bool" else array
            yield Kind(f"{dtype} miniswhite {packed}", array, {**options, "photometric": "miniswhite"}, white, orientation)
        table = rng.integers(0, 256, (3, 256), np.uint16)
        coloured = table.T.astype(np.uint8)[gray["uint8"]]
        palette = {**options, "photometric": "palette", "colormap": table * np.uint16(257)}
        yield Kind(f"palette {packed}", gray["uint8"], palette, coloured, orientation)
        for bands, kind in ((2, "unassalpha"), (2, "assocalpha"), (4, "unassalpha"), (4, "assocalpha")):
            for dtype in ("uint8", "uint16", "float32"):
                array = pixels(dtype, bands, rng)
                tags = {"photometric": "rgb" if bands == 4 else "minisblack", "extrasamples": [kind], "planarconfig": "contig"}
                yield Kind(f"{dtype} x {bands} {kind} {packed}", array, {**options, **tags}, array[..., :-1], orientation)
    for bits, packed in itertools.product((2, 4, 9, 10, 12, 14), ("none", "lzw", "zstd")):
        array = rng.integers(0, 1 << bits, (HEIGHT, WIDTH)).astype(np.uint8 if bits <= 8 else np.uint16)
        options = {**compression_options(packed), "bitspersample": bits}
        yield Kind(f"{bits} bits {packed}", array, {**options, "photometric": "minisblack"}, array)
        inverted = ((1 << bits) - 1 - array).astype(array.dtype)
        yield Kind(f"{bits} bits miniswhite {packed}", array, {**options, "photometric": "miniswhite"}, inverted)
    colour = {dtype: pixels(dtype, 3, rng) for dtype in ("uint8", "uint16")}
    for tile in (None, (16, 16)):
        jpeg = {"compression": "jpeg", "tile": tile}
        yield Kind("YCbCr jpeg", colour["uint8"], {**jpeg, "photometric": "ycbcr"})
        yield Kind("YCbCr jpeg, halved chroma", colour["uint8"], {**jpeg, "photometric": "ycbcr", "subsampling": (2, 2)})
        yield Kind("RGB jpeg", colour["uint8"], {**jpeg, "photometric": "rgb"})
        yield Kind("12-bit jpeg", colour["uint16"] >> 4, {**jpeg, "photometric": "rgb"})
        for (kind, mode), packed in itertools.product((("separated", "CMYK"), ("ycbcr", "YCbCr")), ("none", "lzw")):
            array = pixels("uint8", len(Image.new(mode, (1, 1)).getbands()), rng)
            shown = np.asarray(Image.frombytes(mode, (WIDTH, HEIGHT), array.tobytes()).convert("RGB"))
            options = {**compression_options(packed), "tile": tile, "photometric": kind}
            yield Kind(f"{mode} {packed}", array, options, shown)
        for kind, dtype, packed in itertools.product(
            ("cielab", "icclab", "itulab", "logl", "logluv", "cfa"), colour, ("none", "lzw")
        ):
            yield Kind(
                f"{dtype} {kind} {packed}", colour[dtype], {**compression_options(packed), "tile": tile, "photometric": kind}
            )


def outcome(kind: Kind, path: Path) -> str:
    """Return how a file is read: "read", "refused", "not written" or what is wrong."""
    try:
        kind.write(path)
        tifffile.imread(path)
    except Exception:  # tifffile raises nearly anything on what it cannot write
        return "not written"
    expected = kind.expected(path)
    source = Source(path)
    try:
        found = read_image(source)
    except UnreadableError as error:
        return "refused" if str(path) in error.found and "\n" not in str(error) else f"refused without its name: {error}"
    except Exception as error:
        return f"ended by {error!r}"
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return f"{found.dtype} {found.shape} is read, {expected.dtype} {expected.shape} was written"
    if image_size(source) != found.shape[:2]:
        return f"the header is read as {image_size(source)}, the image as {found.shape[:2]}"
    return "read" if np.array_equal(found, expected) else f"{np.mean(found != expected):.1%} of the values differ"


def main() -> int:
    """Read every file, print the counts, and return the exit status."""
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(itertools.chain(combinations(), photometrics())):
            path = Path(folder) / f"{number}.tif"
            found = outcome(kind, path)
            known = found in ("read", "refused", "not written")
            counts[found if known else "missed"] += 1
            refused[kind.name] += found == "refused"
            if not known:
                print(f"{kind.name}, orientation {kind.orientation}: {found}")
            path.unlink(missing_ok=True)
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    print("Refused: " + ", ".join(sorted(name for name, count in refused.items() if count)))
    return int(counts["missed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
