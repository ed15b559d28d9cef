"""Whether data fit a checkpoint, and which of them are its training, validation and test cases."""

from collections.abc import Mapping, Sequence
from typing import Any

from segexp.config.schema import DataConfig, TrainConfig
from segexp.config.validation import validate_section
from segexp.data.cache import ReadingStore
from segexp.data.datamodule import make_reader
from segexp.data.dataset import EvalDataset
from segexp.data.spacing import spacings
from segexp.data.splits import split_as, split_hash
from segexp.errors import ConfigError, DataError, listed
from segexp.inference.segmenter import Segmenter
from segexp.types import Case, DataSpec


def check_spec(data: DataConfig, trained: DataSpec) -> None:
    """Refuse classes, labels or channels that are not those of the network.

    Raises:
        ConfigError: naming both.
    """
    classes, names = list(data.classes or {}), ", ".join(trained.classes)
    if classes != list(trained.classes):
        raise ConfigError(
            f"data.classes names {', '.join(classes)}, and the checkpoint was trained with {names}",
            "The same classes in the same order were expected; only the mask values that mean them may differ",
            f"Type 'data.classes={{{', '.join(f'{name}: VALUE' for name in trained.classes)}}}'",
        )
    if data.multilabel != trained.overlapping:
        labels = "overlapping" if trained.overlapping else "exclusive"
        raise ConfigError(
            f"data.labels={data.labels}, and the checkpoint was trained with {labels} labels",
            "Labels of the same kind were expected: they decide what the network's output means",
            "Leave data.labels out",
        )
    if data.channels != trained.channels:
        raise ConfigError(
            f"data.channels={data.channels}, and the checkpoint was trained with {trained.channels}",
            "The network's own number of channels was expected; images are read as gray or colour to fit it",
            "Leave data.channels out",
        )


def own_split(cases: Sequence[Case], run: TrainConfig, trained: str | None, do: str) -> dict[str, str]:
    """Return the split of each case of a run's own data by its id.

    Args:
        cases: all cases.
        run: the config of the run.
        trained: the hash of the split that the run was trained with.
        do: what to type where the data are no longer those.

    Raises:
        DataError: the split is another one than in training.
    """
    assigned = split_as(run.data, cases, run.seed)
    if split_hash({"id": case.id, "split": assigned[case.id]} for case in cases) != trained:
        raise DataError(
            f"The {len(cases)} cases below {run.data.root} no longer give the split that the run was trained with",
            "The same files as in training were expected, so that no training image is scored as validation",
            do,
        )
    return assigned


def chosen_splits(
    split: str | None, cases: Sequence[Case], run: TrainConfig, trained: str | None, *, other: bool
) -> dict[str, list[Case]]:
    """Return the cases to score by split name.

    Args:
        split: as typed; None takes val and test of the run's own data, and all cases of other data.
        cases: all cases.
        run: the config of the run.
        trained: the hash of the split that the run was trained with.
        other: the data are not those of the run.

    Raises:
        DataError: the data changed since the run, or the split has no case.
    """
    if split == "all" or (split is None and other):
        return {"all": list(cases)}
    way_out = "Bring the files back, or type split=all to score every case whatever it was used for"
    assigned = split_as(run.data, cases, run.seed) if other else own_split(cases, run, trained, way_out)
    wanted = [split] if split else ["val", "test"]
    members = {name: [case for case in cases if assigned[case.id] == name] for name in wanted}
    found = {name: chosen for name, chosen in members.items() if chosen}
    if not found:
        there = listed(sorted(set(assigned.values())))
        raise DataError(
            f"No case is in the split {listed(wanted)}", f"The data have {there}", f"Type split={there.split(',')[0]}"
        )
    return found


def scoring_set(data: DataConfig, members: Sequence[Case], segmenter: Segmenter) -> EvalDataset:
    """Return cases as the segmenter is scored on them, decoded when they are asked for."""
    store, told = ReadingStore(make_reader(data), members), spacings(members, data.spacing)
    return EvalDataset(store, range(len(members)), segmenter.preprocessing, told)


def merged(trained: DataConfig, changes: Mapping[str, Any]) -> DataConfig:
    """Return the data section of the run with what was typed in its place.

    Raises:
        ConfigError: a key that the data section does not have, or a value that it cannot have.
    """
    return validate_section(DataConfig, trained.plain() | dict(changes), "data")
