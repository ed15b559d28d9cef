"""Which cases an ensemble can be scored on, and by which of its members: none predicts a case that it was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexp.checkpoint.data import own_split
from segexp.config.saved import saved
from segexp.data.splits import read_split_csv
from segexp.errors import ConfigError, listed
from segexp.prediction.members import run_of
from segexp.segmenter import Segmenter
from segexp.types import Case, Source


@dataclass(frozen=True)
class Chosen:
    """Cases of one split and who predicts each of them."""

    cases: list[Case]
    members: list[list[Segmenter]]

    @property
    def says(self) -> str:
        """Who predicts a case, in words."""
        count = len({id(member) for each in self.members for member in each})
        few, many = (f(len(each) for each in self.members) for f in (min, max))
        if few == count:
            return f"all {count} networks"
        number = str(few) if few == many else f"{few} to {many}"
        return f"the {number} of {count} networks that held it out"


def chosen(
    members: Sequence[Segmenter], cases: Sequence[Case], data: Mapping[str, Any], split: str | None
) -> dict[str, Chosen]:
    """Return the cases to score by split name, and who predicts them: never a member that was trained on them.

    Args:
        members: at least two.
        cases: all cases.
        data: the data section that found them.
        split: as typed; None takes all cases of other data, val and test of the members' own.

    Raises:
        ConfigError: a split of other data, which has none that the members agree on; pictures among them that members were
            trained on; or see `held_out`.
        DataError: see `held_out`.
    """
    if own_data(members, data):
        return held_out(members, cases, data, split)
    if split not in (None, "all"):
        raise ConfigError(
            f"split={split} of other data is not known to an ensemble", "Each member has a split of its own", "Type split=all"
        )
    known = set().union(*map(trained_on, members))
    seen = [case.id for case in cases if _file(case.image) in known]
    if seen:
        raise ConfigError(
            f"{len(seen)} of the {len(cases)} cases below {data['root']} are pictures that members of the ensemble were "
            f"trained on: {listed(seen, 3)}",
            "Such scores would be too good: an ensemble is scored on what none of its members saw",
            "Type split=val without other data (each case by the members that held it out), or data.root=DIR of other pictures",
        )
    return {"all": Chosen(list(cases), [list(members)] * len(cases))}


def trained_on(member: Segmenter) -> set[str]:
    """Return the picture files that a member was trained on, as far as its split.csv lies beside its checkpoint."""
    run = run_of(member)
    rows = read_split_csv(run / "split.csv") if (run / "split.csv").is_file() else []
    root = Path(kept.cwd if (kept := saved(run)) else "", _config(member)["data"]["root"])
    return {str((root / row["image"]).resolve()) for row in rows if row["split"] == "train"}


def _file(source: Source) -> str:
    return str(Source(source.path.resolve(), source.page))


def held_out(
    members: Sequence[Segmenter], cases: Sequence[Case], data: Mapping[str, Any], split: str | None
) -> dict[str, Chosen]:
    """Return the cases of the members' own data that can be scored, each with the members that were not trained on it.

    "val" are the cases that at least one member validated on: of folds every case, by the one run that held it out. "test"
    are those that are test cases of all members.

    Args:
        members: at least two.
        cases: of the data, all of them.
        data: the data section that found them, for messages.
        split: as typed; None takes val and, where there is one, test.

    Raises:
        ConfigError: the split asks for training cases, or there is no case that no member was trained on.
        DataError: the data changed since a run.
    """
    if split in ("train", "all"):
        raise ConfigError(
            f"split={split} asks for cases that members of the ensemble were trained on",
            f"Such scores would be too good: of its own data below {data['root']} an ensemble is scored on what it never saw",
            "Type split=val (each case by the members that held it out), split=test, or data.root=DIR for other data",
        )
    way_out = "Bring the files back, or type data.root=DIR for other data"
    splits = []
    for member in members:
        config = _config(member)
        splits.append(
            own_split(cases, config | {"data": config["data"] | {"root": data["root"]}}, member.facts["split_hash"], way_out)
        )
    found = {}
    for name in [split] if split else ["val", "test"]:
        wanted = any if name == "val" else all
        own = [case for case in cases if wanted(each[case.id] == name for each in splits)]
        by = [[m for m, each in zip(members, splits, strict=True) if each[case.id] == name] for case in own]
        if own:
            found[name] = Chosen(own, by)
    if not found:
        there = listed(sorted({each for one in splits for each in one.values()}))
        raise ConfigError(
            f"split={split}: there is no case that is one of all {len(members)} members",
            f"Their splits are {there}; a test split that no fold trains on comes from data.test_fraction in training",
            "Type split=val (each case by the members that held it out), or data.root=DIR for other data",
        )
    return found


def own_data(members: Sequence[Segmenter], data: Mapping[str, Any]) -> bool:
    """Say whether a data section names the pictures of the members, whatever the masks: the same pattern in the same folder."""
    sections = [_config(member)["data"] for member in members]
    here = (Path(data["root"]).resolve(), data.get("image"))
    return here in [(Path(section["root"]).resolve(), section.get("image")) for section in sections]


def _config(member: Segmenter) -> dict[str, Any]:
    config: Any = member.facts["config"]
    return dict(config)
