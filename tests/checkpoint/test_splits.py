"""A run's split travels with its weights: by the seed where that gives it, else by ids, whatever became of the masks."""

from pathlib import Path

import pytest

from fixtures.configs import train_config
from segexp.checkpoint.splits import reproduce_split, select_splits, split_of_run
from segexp.data.splits import split_from_config, split_hash
from segexp.errors import DataError
from segexp.inference.segmenter import Provenance
from segexp.types import Case, Source

CASES = [Case(f"c{n}", Source(Path(f"c{n}.png")), (Source(Path(f"m{n}.png")),)) for n in range(16)]
RUN = train_config({"data": {"val_fraction": 0.2, "test_fraction": 0.2, "folds": None, "fold": None}})
HELD = {"c3": frozenset({1}), "c11": frozenset({1})}
OLD = split_from_config(RUN.data, CASES, RUN.seed)
NEW = next(s for k in range(9) if (s := split_from_config(RUN.data.changed(split_seed=k), CASES, 0, HELD)) != OLD)


def origin(splits: dict[str, str], stored: bool) -> Provenance:
    found = split_hash({"id": id_, "split": split} for id_, split in splits.items())
    out = {name: [id_ for id_, split in splits.items() if split == name] for name in ("val", "test")} if stored else {}
    return Provenance(Path("best.ckpt"), RUN, found, held_out=out)


def test_a_stored_split_is_used_without_a_look_at_the_masks() -> None:
    assert split_of_run(CASES, RUN, origin(NEW, True)) == NEW
    assert reproduce_split(CASES, RUN, origin(NEW, True), "…") == NEW
    chosen = select_splits("val", CASES, RUN, origin(NEW, True), other=True)
    assert {case.id for case in chosen["val"]} == {id_ for id_, split in NEW.items() if split == "val"}


def test_a_run_that_stored_none_has_the_split_of_its_seed() -> None:
    assert split_of_run(CASES, RUN, origin(OLD, False)) == OLD


def test_other_cases_have_no_split_of_the_run() -> None:
    for stored in (True, False):
        assert split_of_run(CASES[:-1], RUN, origin(NEW, stored)) is None
        with pytest.raises(DataError, match="no longer give the split"):
            reproduce_split(CASES[:-1], RUN, origin(NEW, stored), "Bring them back")
