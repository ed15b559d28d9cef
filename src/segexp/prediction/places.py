"""Where outputs go: a folder for each input, and nothing written over an image, a truth or another output."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from segexp.errors import ConfigError, DataError, listed
from segexp.prediction.inputs import Inventory, Job
from segexp.prediction.names import ending_of


def pair_up(inputs: Sequence[str], outputs: Sequence[str]) -> list[tuple[Path, Path]]:
    """Return each input with its output folder.

    Several folders with one output get a folder each in it, called like them; where two are called alike, the names of the
    folders above are added. Files go into the output as they are.

    Raises:
        ConfigError: an input is named twice, or there are several outputs but not one for each input.
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
    """Return the last parts of a path, as many as tell it from the others."""
    longest = max(len(other.parts) for other in folders)
    for count in range(1, longest + 1):
        if sum(other.parts[-count:] == folder.parts[-count:] for other in folders) == 1:
            return Path(*folder.parts[1:][-count:])
    return Path(folder.name)


def check_collisions(inventories: Sequence[Inventory], files: Mapping[Job, Sequence[Path]]) -> None:
    """Refuse to write over an image or a truth, or one output over another.

    Args:
        inventories: all inputs.
        files: the files that each job will write.

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
    """Make an output folder, and find out before the work whether it can be written.

    Raises:
        ConfigError: it is the name of a picture.
        DataError: it cannot be made or written.
    """
    if ending_of(folder.name) and not folder.is_dir():
        raise ConfigError(
            f"output={folder} names a file", "A folder was expected: masks have their images' names", "Type output=DIR"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".segexp-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise unwritable(folder, error) from error


def several(value: str | Sequence[str]) -> list[str]:
    """Return what a key names, one path or a list of them, as a list."""
    return [value] if isinstance(value, str) else list(value)


def unwritable(path: Path | str, error: OSError) -> DataError:
    """Return what to tell about an output that cannot be written."""
    return DataError(
        f"{path} cannot be written ({error.strerror or error})",
        "A folder that can be written and has room was expected",
        "Make room, or type output=DIR with another folder; the same command again goes on with what is missing",
    )
