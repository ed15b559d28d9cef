"""Classes that a split lacks: validation without foreground cannot choose weights."""

from collections.abc import Mapping, Sequence

from segexp.checks.issues import Finding
from segexp.config.schema import DataConfig
from segexp.data.splits import open_cases, ungroup_overrides
from segexp.errors import listed, pluralise
from segexp.types import Case

DEFINED = ("accuracy", "accuracy_pooled")
"""Scores that are defined where no mask holds a counted class."""


def check_split_classes(
    cases: Sequence[Case],
    splits: Mapping[str, str],
    held: Mapping[str, frozenset[int]],
    classes: Mapping[int, str],
    data: DataConfig,
    monitor: str = "dice",
) -> list[Finding]:
    """Return findings on classes without a mask in val or test.

    Args:
        cases: all cases.
        splits: "train", "val" or "test" by case id.
        held: indices of the counted classes that the mask of each case holds, by id.
        classes: names of the counted classes by index.
        data: the data section.
        monitor: the validation score that chooses the weights.
    """
    holders = [case for case in cases if held.get(case.id) and case.id in splits]
    if not holders or "val" not in splits.values():
        return []
    met = {
        split: {k for case in holders if splits[case.id] == split for k in held[case.id]} for split in ("train", "val", "test")
    }
    score, _, name = monitor.partition("/")
    wanted = [k for k, each in classes.items() if name in ("", each)]
    findings = [] if score in DEFINED else _too_few_for_folds(holders, splits, data)
    if not findings and score not in DEFINED and not met["val"].intersection(wanted):
        own = [case for case in holders if not held[case.id].isdisjoint(wanted)]
        drawn = data.folds is not None or bool(open_cases(data, cases))
        findings.append(_undefined(own, splits, [classes[k] for k in wanted], data, monitor, drawn=drawn))
    for split in ("val", "test"):
        lacking = [each for k, each in classes.items() if k not in met[split] and any(k in held[case.id] for case in holders)]
        if lacking and split in splits.values() and not (findings and split == "val"):
            findings.append(_unscored(split, lacking, none=not met[split]))
    return findings


def _groups(cases: Sequence[Case]) -> int:
    """Return the number of groups and of cases without one."""
    return len({(case.group is not None, case.group or case.id) for case in cases})


def _any(names: Sequence[str]) -> str:
    return f"{'any of ' * (len(names) > 1)}{listed(names)}"


def _holders(cases: Sequence[Case]) -> str:
    """Return the number of masks, of groups if there are any, and the ids."""
    groups, ids = _groups(cases), [case.id for case in cases]
    among = "" if groups == len(cases) else f" of {pluralise(groups, 'group')}"
    return f"{pluralise(len(cases), 'mask')}{among} ({listed(ids, 4)})"


def _undefined(
    own: Sequence[Case], splits: Mapping[str, str], names: Sequence[str], data: DataConfig, monitor: str, *, drawn: bool
) -> Finding:
    """Return the error about a monitored score that no validation mask defines.

    Args:
        own: the cases that hold one of the classes.
        splits: by case id.
        names: of the classes.
        data: the data section.
        monitor: the score.
        drawn: whether the split is drawn at random.
    """
    pool = [case for case in own if splits[case.id] != "test"]
    count, groups = sum(split == "val" for split in splits.values()), _groups(pool)
    elsewhere = f", but {_holders(own)} elsewhere" if own else ", and no other mask either"
    text = f"None of the {pluralise(count, 'validation mask')} holds {_any(names)}{elsewhere}"
    text += f": val/{monitor} is undefined, and no weights can be chosen"
    remedy: dict[str, int] = {}
    if groups >= 2 and drawn:
        do = "Start a new run, whose split is stratified by class; a higher data.val_fraction has room for more classes"
    elif groups >= 2:
        remedy = {"folds": min(5, groups), "fold": 0}
        do = f"Move such cases into val, or have train and val split anew: type data.folds={remedy['folds']} data.fold=0"
    else:
        do = _more(pool, data)
    do += "; trainer.monitor=accuracy trains all the same, and chooses weights by pixel accuracy"
    return Finding("error", "undefined_score", text, do, tuple(case.id for case in own), remedy)


def _more(pool: Sequence[Case], data: DataConfig) -> str:
    """Return what helps where train and val cannot both have a case."""
    do = "Add such cases: train and val each need one"
    together = _groups(pool) < len(pool) and ungroup_overrides(data)
    return f"{do}; or type {together} to split the cases of a group" if together else do


def _too_few_for_folds(holders: Sequence[Case], splits: Mapping[str, str], data: DataConfig) -> list[Finding]:
    """Return an error if some fold would have no foreground to validate on, whichever fold this one is."""
    pool = [case for case in holders if splits[case.id] != "test"]
    groups = _groups(pool)
    if data.folds is None or groups >= data.folds:
        return []
    text = f"Foreground is in {_holders(pool)}, and data.folds={data.folds}: {data.folds - groups} of the folds have none of it"
    text += " to validate on, so that their scores are undefined and no weights can be chosen"
    remedy = {"folds": groups, "fold": min(data.fold or 0, groups - 1)} if groups >= 2 else {}
    typed = " ".join(f"data.{key}={value}" for key, value in remedy.items())
    do = f"Type {typed}, or add such cases" if remedy else _more(pool, data)
    return [Finding("error", "undefined_score", text, do, tuple(case.id for case in pool), remedy)]


def _unscored(split: str, lacking: Sequence[str], *, none: bool) -> Finding:
    """Return the warning about classes whose score is undefined."""
    text = f"No {'validation' if split == 'val' else split} mask holds {_any(lacking)}: "
    its, it = ("its score is", "it") if len(lacking) == 1 else ("their scores are", "them")
    text += f"{its} undefined (nan)" + ("" if none else f", and means leave {it} out")
    return Finding("warning", "unscored", text, f"Add such cases to {split}, if it is to be scored")
