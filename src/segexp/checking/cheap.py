"""What can be said about a data set from what the pass before training knows anyway, without decoding anything again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from segexp.checking.duplicates import check_contradictions, check_equal
from segexp.checking.findings import Finding, ordered
from segexp.checking.leakage import check_groups, check_names
from segexp.types import Case


def cheap(
    cases: Sequence[Case],
    splits: Mapping[str, str],
    digests: Mapping[str, str] | None = None,
    mask_digests: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> list[Finding]:
    """Return findings on equal pictures across the split and on leakage by groups and names, errors first.

    Args:
        cases: all cases.
        splits: "train", "val" or "test" by case id.
        digests: `picture_digest` of each decoded image by case id; without it, pictures are not compared.
        mask_digests: `digest` of the class indices by case id; without it, masks of equal pictures are not compared.
        root: folder in which tables that tell of groups are looked for.
    """
    return ordered(
        [
            *check_groups(cases, splits),
            *check_names(cases, splits, root),
            *check_equal(cases, splits, digests or {}),
            *check_contradictions(cases, digests or {}, mask_digests or {}),
        ]
    )
