"""Post-processing chosen for a checkpoint: on which data that is right, and what becomes of the file."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segexp.checkpoint import store_postprocessing
from segexp.checkpoint.data import own_split
from segexp.data.datamodule import find
from segexp.errors import ConfigError
from segexp.segmenter import Segmenter
from segexp.tuning.choice import Tuned
from segexp.types import Case


def check_tunable(split: str | None, keys: Iterable[str], network: Mapping[str, Any]) -> None:
    """Refuse anything but the run's own network and validation images, as they were in training.

    Args:
        split: as typed.
        keys: of the data section that were typed.
        network: what is changed about it.

    Raises:
        ConfigError: another split, another key than where the data are, or a pruned network.
    """
    if network.get("prune_to") is not None:
        raise ConfigError(
            f"model.prune_to={network['prune_to']} with tune=postprocess",
            "The post-processing is stored in the checkpoint, and chosen for its whole network",
            "Leave one of them out",
        )
    if split not in (None, "val"):
        raise ConfigError(
            f"split={split} with tune=postprocess",
            "The post-processing is chosen on the validation images: the network knows the training images by heart, and "
            "test images on which something was chosen are a test no more",
            "Leave split out",
        )
    for key in sorted(set(keys) - {"root"}):
        raise ConfigError(
            f"data.{key} with tune=postprocess",
            "The post-processing is chosen on the validation images of the run itself, read as in training",
            f"Leave data.{key} out; data.root=DIR says where the images are now",
        )


def own_validation(segmenter: Segmenter, run: dict[str, Any]) -> list[Case]:
    """Return the validation cases of the run that a segmenter comes from.

    Args:
        segmenter: with the facts of its checkpoint.
        run: the config of the run; `data.root` is where the data are now.

    Raises:
        DataError: the data are no longer those of the run.
    """
    cases = find(run["data"])
    way_out = "Bring the files back, or type data.root=DIR, where they are now; it is the run's own images or none"
    assigned = own_split(cases, run, segmenter.facts["split_hash"], way_out)
    return [case for case in cases if assigned[case.id] == "val"]


def put_down(segmenter: Segmenter, tuned: Tuned) -> str:
    """Store the choice in the segmenter's checkpoint if it is kept, else take an earlier one out of it; say what was done.

    An earlier choice does not stay beside a finding that speaks against it: it was made by other candidates or another
    version, on the same images.
    """
    file, before = Path(str(segmenter.facts["file"])), "postprocessing" in segmenter.facts
    if tuned.kept:
        store_postprocessing(file, tuned.record(segmenter.facts["split_hash"]))
        return f"Stored in {file}: evaluate and predict use it from now on, and postprocess=none leaves it out"
    if before:
        store_postprocessing(file, None)
        return f"What {file} held before ({segmenter.postprocessing}) is taken out of it"
    return f"{file} is as it was"
