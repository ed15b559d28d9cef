"""Whether damaged, hostile and odd image files stop anything: each is given to check, predict and train, in this process.

Writes some 500 files of every format that is read, and of some that are not: cut off, with flipped and zeroed bytes, without
pages, of no size and of absurd sizes, compressed by codecs that are missing, complex, not finite, pickled, under a wrong name,
as a folder, a dangling link, a pipe, or without permission. They stand in for images, for masks, for stacks and for volumes.
Each file must be read or be named by each command; no command may end by an unexpected exception or before the last file; the
override that `train` prints must lead to a finished training; what is read of a cut file must be what was in it; memory must
stay bounded. Prints the counts, and exits with 1 on a miss.

    python benchmarks/damaged_files.py
"""

import contextlib
import gzip
import importlib
import io
import logging
import os
import pickle
import random
import re
import resource
import shlex
import struct
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from PIL import Image

from segexp.data.io.images import fit_channels, page_count, read_image
from segexp.errors import SegexpError
from segexp.types import Array, Source

SIDE = (48, 64)
"""Height and width of the files before they are damaged."""

MEMORY = 2 << 30
"""Bytes that the process may take at most, above what it needs before."""


SHOWN = 5
"""Misses of a kind that are printed."""


@dataclass(frozen=True)
class Damaged:
    """A file to write.

    Attributes:
        name: with its suffix.
        write: writes it to a path.
        intact: what is read of it, if it is read; None where any values may come out (bytes changed in the middle of a file
            without checksums).
    """

    name: str
    write: Callable[[Path], object]
    intact: Array | None = None


def picture(channels: int = 1, dtype: str = "uint8") -> Array:
    """Return a noisy disk (H, W) or (H, W, C)."""
    rng = np.random.default_rng(channels)
    y, x = np.mgrid[: SIDE[0], : SIDE[1]]
    disk = ((y - 24) ** 2 + (x - 30) ** 2 < 200).astype(float)
    values = (0.2 + 0.5 * disk)[..., None] + rng.uniform(0, 0.2, (*SIDE, channels))
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1
    return np.squeeze((values * top).astype(dtype))


def by_pillow(array: Array, kind: str, mode: str | None = None, **options: object) -> bytes:
    """Return an image encoded by Pillow."""
    out = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(out, format=kind, **options)
    return out.getvalue()


def by_tifffile(array: Array, **options: object) -> bytes:
    """Return an image encoded by tifffile."""
    out = io.BytesIO()
    with tifffile.TiffWriter(out, bigtiff=bool(options.pop("bigtiff", False))) as file:
        file.write(array, **{"metadata": None, **options})
    return out.getvalue()


def by_nibabel(array: Array) -> bytes:
    """Return a NIfTI volume."""
    return bytes(nibabel.Nifti1Image(array, np.eye(4)).to_bytes())


def intact_files() -> dict[str, bytes]:
    """Return undamaged files of every format by name."""
    gray, colour, deep = picture(), picture(3), picture(1, "uint16")
    gray_tiff = {"photometric": "minisblack"}
    volume = np.stack([picture(1, "int16")] * 5, axis=2)
    files = {
        "gray.png": by_pillow(gray, "PNG"),
        "stored.png": by_pillow(gray, "PNG", compress_level=0),
        "colour.png": by_pillow(colour, "PNG"),
        "deep.png": by_pillow(deep, "PNG"),
        "palette.png": by_pillow(colour, "PNG", "P"),
        "bits.png": by_pillow(gray, "PNG", "1"),
        "alpha.png": by_pillow(colour, "PNG", "RGBA"),
        "gray.jpg": by_pillow(gray, "JPEG"),
        "colour.jpg": by_pillow(colour, "JPEG"),
        "progressive.jpeg": by_pillow(colour, "JPEG", progressive=True),
        "gray.gif": by_pillow(gray, "GIF"),
        "gray.bmp": by_pillow(gray, "BMP"),
        "colour.bmp": by_pillow(colour, "BMP"),
        "gray.tif": by_tifffile(gray, **gray_tiff),
        "strips.tif": by_tifffile(gray, rowsperstrip=8, **gray_tiff),
        "zlib.tif": by_tifffile(gray, compression="zlib", **gray_tiff),
        "tiles.tif": by_tifffile(gray, compression="zlib", tile=(16, 16), **gray_tiff),
        "colour.tif": by_tifffile(colour, photometric="rgb"),
        "planar.tif": by_tifffile(np.moveaxis(colour, 2, 0), photometric="rgb", planarconfig="separate"),
        "float.tif": by_tifffile(picture(1, "float32"), **gray_tiff),
        "deep.tif": by_tifffile(deep, **gray_tiff),
        "big.tif": by_tifffile(gray, bigtiff=True, **gray_tiff),
        "lzw.tif": by_pillow(gray, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": by_pillow(colour, "TIFF", compression="jpeg"),
        "packbits.tif": by_pillow(gray, "TIFF", compression="packbits"),
        "fax.tif": by_pillow(gray, "TIFF", "1", compression="group4"),
        "volume.nii": by_nibabel(volume),
        "volume.nii.gz": gzip.compress(by_nibabel(volume)),
        "slice.nii.gz": gzip.compress(by_nibabel(picture(1, "float32")[..., None])),
    }
    for name, pages in {"stack.tif": 3, "stack.gif": 3}.items():
        out = io.BytesIO()
        first, *rest = [Image.fromarray(np.roll(gray, 9 * n, axis=0)) for n in range(pages)]
        first.save(out, format=name[-3:].replace("tif", "tiff"), save_all=True, append_images=rest)
        files[name] = out.getvalue()
    return files


def damages(name: str, data: bytes, intact: Array) -> Iterator[Damaged]:
    """Yield the ways to damage a file."""
    random.seed(name)
    stem, _, suffix = name.partition(".")
    size, middle = len(data), len(data) // 2

    def changed(kind: str, content: bytes, values: Array | None = None) -> Damaged:
        return Damaged(f"{stem}_{kind}.{suffix}", lambda path: path.write_bytes(content), values)

    for share in (0, 3, 10, 50, 90):
        yield changed(f"cut_{share}", data[: size * share // 100], intact)
    yield changed("cut_last", data[:-1], intact)
    for n in range(4):
        place = random.randrange(2, min(size, 120))
        yield changed(f"bit_{n}", data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :])
    tail = bytearray(data)
    tail[-60:] = bytes(tail[-60:][::-1])
    yield changed("tail", bytes(tail))
    checked = intact if name.endswith((".png", ".gz")) or name in ("zlib.tif", "tiles.tif") else None
    yield changed("zeroed_middle", data[: middle - 40] + bytes(80) + data[middle + 40 :], checked)
    yield changed("zeroed_header", data[:8] + bytes(24) + data[32:])
    yield changed("noise", data[:8] + random.randbytes(size))


def tiff_with(data: bytes, **tags: int) -> bytes:
    """Return a little-endian classic TIFF with other values of some tags of its first page."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        found = {tag.name: tag for tag in file.pages[0].tags}
    out = bytearray(data)
    for name, value in tags.items():
        tag = found[name]
        out[tag.offset + 8 : tag.offset + 12] = struct.pack(
            "<I" if tag.dtype == 4 else "<HH", *([value] if tag.dtype == 4 else [value, 0])
        )
    return bytes(out)


def png_of(width: int, height: int, rows: bytes = b"", bits: int = 8) -> bytes:
    """Return a gray PNG that declares a size and holds some zlib data."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    parts = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bomb(width: int, height: int) -> bytes:
    """Return a whole PNG of one bit per pixel, all black."""
    packer, row = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    return png_of(width, height, b"".join(packer.compress(row) for _ in range(height)) + packer.flush(), bits=1)


def nifti_with(data: bytes, place: int, *sides: int) -> bytes:
    """Return a NIfTI file with other 16-bit values in its header."""
    return data[:place] + struct.pack(f"<{len(sides)}h", *sides) + data[place + 2 * len(sides) :]


class Trap:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch unpickled",)


def special_files() -> Iterator[Damaged]:
    """Yield sizes, types and things that are no damage of bytes."""
    gray, colour = picture(), picture(3)
    plain = by_tifffile(gray, photometric="minisblack")
    volume = by_nibabel(np.stack([gray] * 3, axis=2))
    bmp, gif, jpg = by_pillow(gray, "BMP"), by_pillow(gray, "GIF"), by_pillow(gray, "JPEG")
    frame = jpg.index(b"\xff\xc0") + 5
    npy = io.BytesIO()
    np.save(npy, np.array([Trap()], dtype=object), allow_pickle=True)
    contents = {
        "zero_width.png": png_of(0, 48),
        "zero.png": png_of(0, 0),
        "zero.bmp": bmp[:18] + bytes(8) + bmp[26:],
        "zero.gif": gif[:6] + bytes(4) + gif[10:],
        "zero.jpg": jpg[:frame] + bytes(4) + jpg[frame + 4 :],
        "zero_width.tif": tiff_with(plain, ImageWidth=0),
        "zero_height.tif": tiff_with(plain, ImageLength=0),
        "zero.nii": nifti_with(volume, 42, 0, 0),
        "huge.png": png_of(40_000, 25_000, zlib.compress(b"\0" * 1000)),
        "absurd.png": png_of(2**31 - 1, 2**31 - 1, zlib.compress(b"\0" * 1000)),
        "below_limit.png": png_of(16_000, 16_000, zlib.compress(b"\0" * 1000)),
        "bomb.png": bomb(40_000, 25_000),
        "huge.bmp": bmp[:18] + struct.pack("<ii", 100_000, 100_000) + bmp[26:],
        "huge.gif": gif[:6] + b"\xff\xff\xff\xff" + gif[10:],
        "huge.jpg": jpg[:frame] + b"\xff\xff\xff\xff" + jpg[frame + 4 :],
        "huge_width.tif": tiff_with(plain, ImageWidth=65_535, ImageLength=65_535),
        "huge_height.tif": tiff_with(plain, ImageLength=65_535),
        "huge_zlib.tif": tiff_with(
            by_tifffile(gray, compression="zlib", photometric="minisblack"), ImageWidth=60_000, ImageLength=60_000
        ),
        "huge_lzw.tif": tiff_with(by_pillow(gray, "TIFF", compression="tiff_lzw"), ImageWidth=60_000, ImageLength=60_000),
        "samples.tif": tiff_with(plain, SamplesPerPixel=65_535),
        "bits.tif": tiff_with(plain, BitsPerSample=77),
        "huge.nii": nifti_with(volume, 42, 30_000, 30_000, 30_000),
        "huge.nii.gz": gzip.compress(nifti_with(volume, 42, 30_000, 30_000, 30_000)),
        "many_slices.nii": nifti_with(volume, 46, 32_000),
        "negative.nii": nifti_with(volume, 42, -5),
        "datatype.nii": nifti_with(volume, 70, 999),
        "axes.nii": nifti_with(volume, 40, 99),
        "no_page.tif": b"II*\0" + struct.pack("<I", 0),
        "page_outside.tif": b"II*\0" + struct.pack("<I", 10**9),
        "no_tags.tif": b"II*\0" + struct.pack("<IHI", 8, 0, 0),
        "own_page.tif": plain[:-4] + struct.pack("<I", 8),
        "complex64.tif": by_tifffile(gray.astype(np.complex64)),
        "complex128.tif": by_tifffile(gray.astype(np.complex128)),
        "complex.nii": by_nibabel(np.stack([gray] * 3, axis=2).astype(np.complex64)),
        "nan.tif": by_tifffile(np.where(gray > 120, np.nan, gray).astype(np.float32)),
        "inf.tif": by_tifffile(np.where(gray > 120, np.inf, gray).astype(np.float32)),
        "beyond_float32.tif": by_tifffile(gray * 1e300),
        "nan.nii": by_nibabel(np.full((8, 8, 2), np.nan, np.float32)),
        "numpy.png": npy.getvalue(),
        "pickle.png": pickle.dumps(Trap()),
        "pickle.tif": pickle.dumps(Trap()),
        "text.png": b"no image\n",
        "page.png": b"<!DOCTYPE html><html><body>404</body></html>",
        "lfs.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "dicom.png": bytes(128) + b"DICM" + bytes(500),
        "webp.png": by_pillow(colour, "WEBP"),
        "postscript.jpg": b"%!PS-Adobe-3.0\n(hello) print\n",
        "null.tif": bytes(5000),
    }
    for name, content in contents.items():
        yield Damaged(name, lambda path, content=content: path.write_bytes(content))
    for code in (5, 6, 7, 34712, 50000, 34887, 34925, 50001, 12345):
        yield Damaged(f"compression_{code}.tif", lambda path, code=code: path.write_bytes(tiff_with(plain, Compression=code)))
    yield Damaged("png_in.tif", lambda path: path.write_bytes(by_pillow(gray, "PNG")), gray[..., None])
    yield Damaged("tiff_in.png", lambda path: path.write_bytes(plain), gray[..., None])
    yield Damaged("folder.png", lambda path: path.mkdir())
    yield Damaged("dangling.png", lambda path: path.symlink_to("nowhere.png"))
    yield Damaged("loop.png", lambda path: path.symlink_to("loop.png"))
    yield Damaged("pipe.png", lambda path: os.mkfifo(path))
    yield Damaged("forbidden.png", lambda path: (path.write_bytes(by_pillow(gray, "PNG")), path.chmod(0)))


def damaged_files() -> list[Damaged]:
    """Return all files."""
    return [*each_damage(), *special_files()]


def each_damage() -> Iterator[Damaged]:
    """Yield every damage of every format."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in intact_files().items():
            path = Path(folder) / name
            path.write_bytes(data)
            page = 0 if page_count(path) > 1 else None
            yield from damages(name, data, read_image(Source(path, page)))


def outcome(file: Damaged, path: Path) -> str:
    """Return "refused", "read", or "other" where a file gives other values than were in it before it was cut."""
    try:
        pages = page_count(path)
        values = read_image(Source(path, 0 if pages > 1 else None), 1)
    except SegexpError:
        return "refused"
    same = file.intact is None or np.array_equal(values, fit_channels(file.intact, 1, ""))
    return "read" if same else "other"


@dataclass
class Ended:
    """What a command left: exit code, all that it printed, seconds."""

    code: int
    text: str
    seconds: float


def typed(verb: str, *words: str) -> Ended:
    """Type a command in this process."""
    out, started = io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = importlib.import_module(f"segexp.cli.{verb}").main(list(words))
    handlers = [handler for handler in logging.root.handlers if isinstance(handler, logging.FileHandler)]
    for handler in handlers:
        logging.root.removeHandler(handler)
    return Ended(int(code), out.getvalue(), time.monotonic() - started)


@dataclass
class Misses:
    """Counts of what must not happen, with an example of each."""

    counts: Counter[str]

    def note(self, kind: str, where: str) -> None:
        """Count a miss, and print the first ones."""
        self.counts[kind] += 1
        if self.counts[kind] <= SHOWN:
            print(f"  MISS {kind}: {where}")

    def examine(self, what: str, ended: Ended, refused: list[str], said: str) -> None:
        """Count what is wrong with a command that had to name the refused files in `said` and end with 1."""
        print(f"{what}: exit code {ended.code}, {len(refused)} files refused, {ended.seconds:.0f} s")
        if "Traceback" in ended.text:
            self.note("tracebacks", f"{what}: {ended.text[-400:]}")
        if "unexpected" in ended.text:
            self.note("unexpected", f"{what}: {ended.text[-400:]}")
        if ended.code != 1:
            self.note("exit codes", f"{what}: {ended.code}, {ended.text[-400:]}")
        for name in refused:
            if name not in said:
                self.note("files not named", f"{what}: {name}")


def write_pairs(root: Path, files: dict[str, Damaged], side: str, suffix: str) -> dict[str, str]:
    """Write eight good pairs and one for each file, with the damaged one on a side; return the outcomes by name."""
    other = {"images": "masks", "masks": "images"}[side]
    for folder in (root / "images", root / "masks"):
        folder.mkdir(parents=True)
    good = Image.fromarray(picture())
    mask = Image.fromarray(np.where(picture() > 110, np.uint8(255), np.uint8(0)))

    def write_good(folder: str, stem: str, pages: int = 1) -> None:
        path = root / folder / f"{stem}.{suffix}"
        image = mask if folder == "masks" else good
        if suffix == "nii.gz":
            path.write_bytes(gzip.compress(by_nibabel(np.stack([np.asarray(image).T] * pages, axis=2))))
        else:
            image.save(path, **({"save_all": True, "append_images": [image] * (pages - 1)} if pages > 1 else {}))

    for n in range(8):
        write_good("images", f"good{n}")
        write_good("masks", f"good{n}")
    outcomes, pages = {}, 1
    for name, file in files.items():
        path = root / side / name
        file.write(path)
        with contextlib.suppress(SegexpError):
            pages = page_count(path) if suffix != "png" else 1
        write_good(other, name.partition(".")[0], pages)
        outcomes[name] = outcome(file, path)
    return outcomes


def main() -> None:
    """Write the files, run the commands, print the counts."""
    logging.disable(logging.WARNING)
    misses = Misses(Counter())
    files = {f"{n:03d}_{file.name}": file for n, file in enumerate(damaged_files())}
    volumes = {name: file for name, file in files.items() if ".nii" in name}
    stacks = {name: file for name, file in files.items() if name.endswith(".tif")}
    flat = {name: file for name, file in files.items() if name not in volumes}
    print(f"{len(files)} damaged files")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        ready = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        small = ["model.width=4", "model.depth=2", "trainer.gpus=0", "trainer.max_epochs=1", "data.num_workers=0"]
        small += ["data.batch_size=2", "callbacks=none", "data.allow_leakage=true"]
        classes = "data.classes={background: 0, disk: 255}"
        sets = {
            "images": (flat, "images", "png", 'data.image="images/{id}.*"', 'data.mask="masks/{id}.*"'),
            "masks": (flat, "masks", "png", 'data.image="images/{id}.*"', 'data.mask="masks/{id}.*"'),
            "stacks": (stacks, "images", "tif", 'data.image="images/{id}.tif[{page}]"', 'data.mask="masks/{id}.tif[{page}]"'),
            "volumes": (
                *(volumes, "images", "nii.gz"),
                *('data.image="images/{id}.{nii,nii.gz}[{page}]"', 'data.mask="masks/{id}.{nii,nii.gz}[{page}]"'),
            ),
        }
        run = ""
        for what, (chosen, side, suffix, image, mask) in sets.items():
            root = Path(folder) / what
            outcomes = write_pairs(root, chosen, side, suffix)
            print(f"{what}: {len(chosen)} files, {dict(Counter(outcomes.values()))}")
            for name in (name for name, end in outcomes.items() if end == "other"):
                misses.note("read with other values", name)
            refused = [name for name, end in outcomes.items() if end == "refused"]
            keys = ["data=paired_folders", f"data.root={root}", image, mask, classes, "data.channels=1"]
            ended = typed("check", *keys, f"output={root}_check")
            misses.examine(f"check {what}", ended, refused, ended.text)
            for name, end in outcomes.items():
                if end == "read":  # what is left of it need not fit its partner
                    path = root / side / name
                    path.unlink()
                    (root / {"images": "masks", "masks": "images"}[side] / f"{name.partition('.')[0]}.{suffix}").unlink()
            ended = typed("train", *keys, *small, f"run_dir={root}_run")
            misses.examine(f"train {what}", ended, refused, ended.text)
            if Path(f"{root}_run").exists():
                misses.note("started before the refusal", what)
            line = re.search(r"'data\.exclude=.*?'(?=[ .])", ended.text)
            ended = typed("train", *keys, *small, f"run_dir={root}_run", *shlex.split(line[0] if line else ""))
            print(f"train {what}, as the message says: exit code {ended.code}, {ended.seconds:.0f} s")
            if ended.code:
                misses.note("lines that do not help", f"{what}: {ended.text[-400:]}")
            run = run or f"{root}_run"
        root = Path(folder) / "input"
        outcomes = {}
        root.mkdir()
        for name, file in files.items():
            file.write(root / name)
            outcomes[name] = outcome(file, root / name)
        refused = [name for name, end in outcomes.items() if end == "refused"]
        ended = typed("predict", f"checkpoint={run}", f"input={root}", "output=out", "check=false")
        review = Path("out/review.csv").read_text(encoding="utf-8")
        misses.examine("predict", ended, refused, "\n".join(row for row in review.splitlines() if "not predicted: " in row))
        written = {path.name.partition(".")[0] for path in Path("out").iterdir()}
        for name in (name for name, end in outcomes.items() if end == "read" and name.partition(".")[0] not in written):
            if f"{name}," not in review:
                misses.note("stops", f"{name} was neither predicted nor named")
        if Path("unpickled").exists():
            misses.note("unpickled", "numpy.png or pickle")
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - ready) * 1024
        print(f"peak memory above that of the start: {peak / 1e6:.0f} MB")
        if peak > MEMORY:
            misses.note("memory", f"{peak} bytes")
    kinds = ("tracebacks", "unexpected", "stops", "files not named", "read with other values")
    print(", ".join(f"{kind} {misses.counts[kind]}" for kind in dict.fromkeys((*kinds, *misses.counts))))
    raise SystemExit(1 if misses.counts else 0)


if __name__ == "__main__":
    main()
