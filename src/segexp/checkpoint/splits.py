"""Check data against a checkpoint, and reproduce its training, validation and test split."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from segexp.config.overrides import shell_words
from segexp.config.schema import DataConfig, TrainConfig
from segexp.config.validation import validate_section
from segexp.data.cache import UncachedStore
from segexp.data.dataset import EvalDataset
from segexp.data.labels.multilabel import label_table
from segexp.data.spacing import spacings
from segexp.data.splits import open_cases, split_from_config, split_from_stored, split_hash
from segexp.data.statistics import held_classes, make_reader
from segexp.errors import ConfigError, DataError, listed
from segexp.inference.segmenter import Provenance, Segmenter
from segexp.types import Case, DataSpec


def check_spec(data: DataConfig, trained: DataSpec) -> None:
    """Require the classes, labels and channels of the network.

    Raises:
        ConfigError: they differ.
    """
    classes, names = list(data.classes or {}), ", ".join(trained.classes)
    if classes != list(trained.classes) and set(classes) == set(trained.classes) and data.background == classes[0]:
        raise ConfigError(
            f"data.background={data.background}, and the checkpoint was trained with {trained.classes[0]} as its first class",
            "The background is the first class of the network, so another one would need another training",
            f"Type {shell_words({'data.background': trained.classes[0]})}, data.background=null if every class counts, or "
            "leave it out",
        )
    if classes != list(trained.classes):
        raise ConfigError(
            f"data.classes names {', '.join(classes)}, and the checkpoint was trained with {names}",
            "The same classes in the same order were expected; only the mask values that mean them may differ",
            f"Type {shell_words({'data.classes': dict.fromkeys(trained.classes, 'VALUE')})}",
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


def with_background(segmenter: Segmenter, data: DataConfig) -> Segmenter:
    """Return the segmenter with the background that the data have: the first class or none."""
    background = data.background is not None
    if background == segmenter.spec.background:
        return segmenter
    spec = replace(segmenter.spec, background=background, palette=label_table(data).palette)
    return replace(segmenter, spec=spec)


def split_of_run(cases: Sequence[Case], run: TrainConfig, origin: Provenance) -> dict[str, str] | None:
    """Return the split of each case by id as a run had it: the one that it stored, or that of its seed; None for other cases.

    Raises:
        SegexpError: the cases cannot be split as in the run.
    """
    stored = split_from_stored(origin.held_out, cases) if any(origin.held_out.values()) else None
    assigned = stored or split_from_config(run.data, cases, run.seed)
    equal = split_hash({"id": case.id, "split": assigned[case.id]} for case in cases) == origin.split_hash
    return assigned if equal else None


def reproduce_split(cases: Sequence[Case], run: TrainConfig, origin: Provenance, do: str) -> dict[str, str]:
    """Return the split of each case of a run's own data by id.

    Args:
        cases: all cases.
        run: the configuration of the run.
        origin: the network that the run trained.
        do: advice for the case that the data changed.

    Raises:
        DataError: the split differs from that of the run.
    """
    assigned = split_of_run(cases, run, origin)
    if assigned is None:
        raise DataError(
            f"The {len(cases)} cases below {run.data.root} no longer give the split that the run was trained with",
            "The same files as in training were expected, so that no training image is scored as validation",
            do,
        )
    return assigned


def select_splits(
    split: str | None, cases: Sequence[Case], run: TrainConfig, origin: Provenance, *, other: bool
) -> dict[str, list[Case]]:
    """Return the cases to score by split name.

    Args:
        split: as typed; None for val and test of the run's own data, or all cases of other data.
        cases: all cases.
        run: the configuration of the run.
        origin: the network that the run trained.
        other: the data are not those of the run.

    Raises:
        DataError: the data changed since the run, or the split is empty.
    """
    if split == "all" or (split is None and other):
        return {"all": list(cases)}
    way_out = "Bring the files back, or type split=all to score every case whatever it was used for"
    if not other:
        assigned = reproduce_split(cases, run, origin, way_out)
    elif (own := split_of_run(cases, run, origin)) is not None:
        assigned = own
    else:
        held = held_classes(run.data, open_cases(run.data, cases))
        assigned = split_from_config(run.data, cases, run.seed, held)
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
    """Return the evaluation data set of some cases, decoded on access."""
    store, told = UncachedStore(make_reader(data), members), spacings(members, data.spacing)
    return EvalDataset(store, range(len(members)), segmenter.preprocessing, told)


def merge_data_config(trained: DataConfig, changes: Mapping[str, Any]) -> DataConfig:
    """Return the data section of the run updated with the typed keys.

    Raises:
        ConfigError: an unknown key or an invalid value.
    """
    return validate_section(DataConfig, trained.plain() | dict(changes), "data")
