"""Output files of an image: its mask and optional extras in separate folders, all written atomically.

A stack or volume has one mask file; extras are written per page into a folder of the same name. Overlapping classes have one
mask file each, `NAME_CLASS.png`. The mask of a GeoTIFF is a GeoTIFF. Masks, class indices and probabilities that are written as
TIFF have the position, pixel size and resolution of their image.

Shapes: K classes, H W pixels of the image.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segexp.atomic import atomic_write, make_writable, sync_folders
from segexp.data.io import nifti, tiff
from segexp.data.io.images import write_png
from segexp.data.labels.modes import label_layer
from segexp.errors import ConfigError, DataError, listed
from segexp.inference.inputs import Inventory, Job, file_safe_names, image_suffix
from segexp.types import Array, DataSpec, Source
from segexp.visualization import heat_map, layer_mask, triptych


@dataclass(frozen=True)
class OutputOptions:
    """Selected output files.

    Attributes:
        suffix: added to the name of every output.
        overlay: the image with the mask over it, PNG.
        probabilities: float16 (K, H, W), as "npz" (key "probabilities") or "tiff" (a page per class).
        labels: class indices or bit sets as PNG or, for a stack, TIFF; not for volumes with exclusive classes, whose mask
            already contains them.
        panel: input, ground truth (if known) and prediction side by side, PNG.
        uncertainty: a map with a colour bar, PNG, and its values from 0 to 1, float16, as npz (key "uncertainty").
        layers: overlapping classes, which have separate masks; empty for exclusive classes.
    """

    suffix: str = ""
    overlay: bool = False
    probabilities: Literal["npz", "tiff"] | None = None
    labels: bool = False
    panel: bool = False
    uncertainty: bool = False
    layers: tuple[str, ...] = ()

    def masks(self, job: Job) -> tuple[str, ...]:
        """Return the names of a job's masks relative to the output folder: one, or one per overlapping class."""
        return tuple(self._name(job, f"_{word}") for word in file_safe_names(self.layers)) or (self._name(job),)

    def labels_file(self, job: Job) -> str | None:
        """Return the name of a job's class index file, if there is one."""
        return f"labels/{self._name(job)}" if self.labels and (self.layers or not job.volume) else None

    def extras(self, job: Job, source: Source) -> dict[str, str]:
        """Return the names of the extras of one image of a job, by kind."""
        page = "" if source.page is None else f"/{source.page:04d}"
        name = f"{job.stem}{self.suffix}{page}"
        kinds = {
            "overlay": (self.overlay, "overlay", "png"),
            "probabilities": (bool(self.probabilities), "probabilities", "tif" if self.probabilities == "tiff" else "npz"),
            "panel": (self.panel, "panels", "png"),
            "map": (self.uncertainty, "uncertainty", "png"),
            "values": (self.uncertainty, "uncertainty", "npz"),
        }
        return {kind: f"{folder}/{name}.{ending}" for kind, (wanted, folder, ending) in kinds.items() if wanted}

    def files(self, job: Job) -> Iterator[str]:
        """Yield the names of all outputs of a job in the order of writing, the masks last."""
        for source in job.sources:
            yield from self.extras(job, source).values()
        labels = self.labels_file(job)
        yield from (labels,) if labels else ()
        yield from self.masks(job)

    def _name(self, job: Job, ending: str = "") -> str:
        kept = job.pages is not None or job.georeferenced
        return f"{job.stem}{self.suffix}{ending}{image_suffix(job.file.name) if kept else '.png'}"


@dataclass(frozen=True)
class PredictedImage:
    """Data to write for one image; None if not requested.

    Attributes:
        classes: (H, W) uint8, of overlapping labels bit sets.
        image: (H, W, C) network input before preprocessing.
        truth: (H, W) uint8, 255 = ignore.
        probabilities: (K, H, W) float32.
        uncertainty: (H, W) float32 from 0 to 1.
    """

    classes: Array
    image: Array | None = None
    truth: Array | None = None
    probabilities: Array | None = None
    uncertainty: Array | None = None


@dataclass(frozen=True)
class MaskWriter:
    """Writes the outputs of the jobs of one folder.

    Attributes:
        folder: of the masks.
        wanted: selected files.
        spec: class names and colours.
    """

    folder: Path
    wanted: OutputOptions
    spec: DataSpec

    def done(self, job: Job) -> bool:
        """Return whether every output of a job exists."""
        return all((self.folder / name).is_file() for name in self.wanted.files(job))

    def sync(self, jobs: Iterable[Job]) -> None:
        """Wait until the names of all outputs of some jobs are on the disk; their content is, since they have names."""
        sync_folders((self.folder / name).parent for job in jobs for name in self.wanted.files(job))

    def write_extras(self, job: Job, source: Source, found: PredictedImage) -> None:
        """Write the extras of one image."""
        colours, names, background = self.spec.palette, self.spec.classes, self.spec.background
        lay = layer_mask(self.spec.overlapping, background)
        for kind, name in self.wanted.extras(job, source).items():
            path = self.folder / name
            if kind == "overlay" and found.image is not None:
                write_png(path, lay(found.image, found.classes, colours))
            elif kind == "panel" and found.image is not None:
                title, kinds = job.label(source), {"overlapping": self.spec.overlapping, "background": background}
                drawn = triptych(found.image, found.truth, found.classes, colours, names, title, **kinds)
                write_png(path, drawn)
            elif kind == "probabilities" and found.probabilities is not None:
                _write_probabilities(path, found.probabilities, names, job.placements[source.page or 0 :][:1])
            elif kind == "map" and found.uncertainty is not None:
                write_png(path, heat_map(found.uncertainty, 0.0, 1.0, "uncertainty"))
            elif kind == "values" and found.uncertainty is not None:
                _write_npz(path, uncertainty=found.uncertainty.astype(np.float16))

    def write_mask(self, job: Job, classes: Sequence[Array]) -> None:
        """Write the mask or masks of a job, and its class indices if requested.

        Args:
            job: the image, stack or volume.
            classes: (H, W) uint8 of each of its images.
        """
        labels = self.wanted.labels_file(job)
        if labels:
            self._write(job, self.folder / labels, classes)
        paths = [self.folder / name for name in self.wanted.masks(job)]
        if self.spec.overlapping:
            for k, path in enumerate(paths, start=1):
                self._write_two(job, path, [label_layer(mask, k) for mask in classes])
        elif self.spec.num_classes == 2:
            self._write_two(job, paths[0], classes)
        else:
            self._write(job, paths[0], classes, self.spec.palette)

    def _write_two(self, job: Job, path: Path, pages: Sequence[Array]) -> None:
        """Write binary masks as 0 and 255, and 127 for ignored pixels; in a volume as 0, 1 and 255."""
        gray = np.array([0, 255, *[127] * 254], np.uint8)
        self._write(job, path, pages if job.volume else [gray[mask] for mask in pages])

    def _write(self, job: Job, path: Path, pages: Sequence[Array], palette: Any = None) -> None:
        if job.volume:
            nifti.write_labels(path, pages, job.file, job.orientation)
        elif job.pages is None and not job.georeferenced:
            write_png(path, pages[0], palette)
        else:
            tiff.write(path, pages, palette, job.placements)


def _write_probabilities(path: Path, probabilities: Array, names: Sequence[str], placed: Sequence[tiff.Placement]) -> None:
    half = np.empty(probabilities.shape, np.float16)
    np.copyto(half, probabilities, casting="same_kind")
    if path.suffix == ".npz":
        _write_npz(path, probabilities=half, classes=np.array(names))
    else:
        tiff.write(path, list(half), placed=[*placed] * len(half))


def _write_npz(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, durable=False) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def resolve_output_dirs(inputs: Sequence[str], outputs: Sequence[str]) -> list[tuple[Path, Path]]:
    """Return each input with its output folder.

    Several input folders with one output get a subfolder each, named like the input; parent names are added where necessary.
    Files are written directly into the output.

    Raises:
        ConfigError: an input is named twice, or the numbers of inputs and outputs do not match.
    """
    paths = [Path(text) for text in inputs]
    twice = [str(path) for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice or not paths:
        found = f"input names {listed(twice)} twice" if twice else "input names nothing"
        raise ConfigError(found, "Each folder or file once was expected", "Type input=DIR or 'input=[DIR,DIR]'")
    if len(outputs) == len(paths):
        return list(zip(paths, map(Path, outputs), strict=True))
    if len(outputs) != 1:
        raise ConfigError(
            f"output names {len(outputs)} folders for {len(paths)} inputs",
            "One folder for all, or one for each input, was expected",
            "Type output=DIR; every input then gets a folder of its own in it",
        )
    folders = [path.resolve() for path in paths if path.is_dir()]
    return [(path, Path(outputs[0]) / (_called(path.resolve(), folders) if path.is_dir() else "")) for path in paths]


def _called(folder: Path, folders: Sequence[Path]) -> Path:
    """Return the shortest suffix of a path that distinguishes it from the others."""
    longest = max(len(other.parts) for other in folders)
    for count in range(1, longest + 1):
        if sum(other.parts[-count:] == folder.parts[-count:] for other in folders) == 1:
            return Path(*folder.parts[1:][-count:])
    return Path(folder.name)


def check_collisions(inventories: Sequence[Inventory], files: Mapping[Job, Sequence[Path]]) -> None:
    """Refuse to overwrite an image, a ground truth mask, or another output.

    Args:
        inventories: all inputs.
        files: to be written for each job.

    Raises:
        ConfigError: naming both files.
    """
    kept = {job.file.resolve() for inventory in inventories for job in inventory.jobs}
    for inventory in inventories:
        kept |= {(inventory.root / name).resolve() for names in inventory.masks.values() for name in names}
    writers: dict[Path, Job] = {}
    for job, paths in files.items():
        for path in paths:
            if path.resolve() in kept:
                raise ConfigError(
                    f"What is predicted for {job.file} would be written over {path}, which is there already as image or mask",
                    "Outputs of other names, or in another folder, were expected",
                    "Type output=DIR with another folder, or another suffix; or delete that file if an interrupted run left it",
                )
            other = writers.setdefault(path, job)
            if other is not job:
                raise ConfigError(
                    f"{other.file} and {job.file} would both be written to {path}",
                    "An output of its own for each image was expected",
                    "Give each input a folder: 'output=[DIR,DIR]', or predict them one after the other",
                )


def check_writable(folder: Path) -> None:
    """Create an output folder and check that it is writable.

    Raises:
        ConfigError: it has the name of an image file.
        DataError: it cannot be created or written.
    """
    if image_suffix(folder.name) and not folder.is_dir():
        raise ConfigError(
            f"output={folder} names a file", "A folder was expected: masks have their images' names", "Type output=DIR"
        )
    try:
        make_writable(folder)
    except OSError as error:
        raise unwritable(folder, error) from error


def as_list(value: str | Sequence[str]) -> list[str]:
    """Return a path or a list of paths as a list."""
    return [value] if isinstance(value, str) else list(value)


def unwritable(path: Path | str, error: OSError) -> DataError:
    """Return the error for an output that cannot be written."""
    return DataError(
        f"{path} cannot be written ({error.strerror or error})",
        "A folder that can be written and has room was expected",
        "Make room, or type output=DIR with another folder; the same command again goes on with what is missing",
    )
