"""From file name patterns to cases: list the files once, match, pair image and mask, name whatever is left over."""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segexp.data.layout.groups import grouped
from segexp.data.layout.matching import matches, unique
from segexp.data.layout.pairing import assembled, paired
from segexp.data.layout.patterns import Pattern, parse, parse_masks
from segexp.errors import DataError, listed
from segexp.types import Case, Source

_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


def find_cases(
    root: Path | str,
    image: str,
    mask: str | Mapping[str, str] | None,
    *,
    groups: Mapping[str, Any] | str | None = None,
    splits: Iterable[str] | None = None,
    require_masks: bool = True,
    optional: Collection[str] = (),
) -> list[Case]:
    """Pair the images below a folder with their masks by the fields that both patterns have.

    A file that both patterns fit belongs to the one with more characters of its own (`{id}_mask.png` against `{id}.png`).
    A test split without a single mask is unlabelled, as in challenges: its images are left out, with a line in the log.

    Args:
        root: the folder.
        image: pattern of the images.
        mask: pattern of the masks; with a `*` in it, several files make one mask. Classes that may overlap have one each, by
            the name of the class. None finds images alone.
        groups: which cases belong together, see `grouped`; None takes the field {group} if there is one.
        splits: keep only cases of these splits.
        require_masks: every image must have a mask (one of each class) and every mask an image.
        optional: classes of which an image need not have a mask.

    Returns:
        Cases in natural order of their ids (2 before 10).

    Raises:
        DataError: the folder is missing or empty, nothing matches, files stay unmatched or claim the same id.
        ConfigError: a pattern is wrong, or the two have no field in common.
    """
    root = Path(root)
    images = parse(image, "data.image")
    patterns = parse_masks(mask)
    files = list_files(root, max(pattern.depth for pattern in (images, *patterns.values())))
    found = matches(root, files, images, list(patterns.values()))
    if not found:
        raise _nothing(root, files, images)
    unique(found, images)
    of_class: dict[str, dict[str, tuple[Source, ...]]] = {}
    for name, pattern in patterns.items():
        others = [other for other in patterns.values() if other is not pattern]
        of_class[name] = paired(root, files, found, images, pattern, require_masks, others, name in optional)
    wanted = None if splits is None else set(splits)
    cases = [case for case in assembled(found, of_class) if wanted is None or case.split in wanted]
    if groups is None:
        return cases
    of = grouped([case.id for case in cases], groups, root)
    return [replace(case, group=of[case.id]) for case in cases]


def list_files(root: Path, depth: int) -> list[str]:
    """Return all files at most `depth` folders deep, relative to the root with "/", without hidden files and clutter.

    Raises:
        DataError: the folder is missing, is a file, or holds nothing.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        here = "" if root.is_absolute() else f" (from {Path.cwd()})"
        raise DataError(
            f"The data folder {root} {what}{here}", "data.root is the folder that holds the pictures", "Type data.root=DIR"
        )
    files: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        stat = Path(folder).stat()
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        again = (stat.st_dev, stat.st_ino) in seen  # a link back to a folder above
        seen.add((stat.st_dev, stat.st_ino))
        folders[:] = [] if again or prefix.count("/") >= depth else sorted(filter(_wanted, folders))
        files += [] if again else [prefix + name for name in sorted(filter(_wanted, names))]
    if not files:
        raise DataError(
            f"The data folder {root} holds no files", "Pictures and masks were expected in it", "Type data.root=DIR"
        )
    return files


def _wanted(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _CLUTTER


def _nothing(root: Path, files: list[str], pattern: Pattern) -> DataError:
    example = "'data.image=\"{split}/{id}.png\"'"
    return DataError(
        f"No file below {root} matches {pattern.key}={pattern.text}; seen there: {listed(files, 3)}",
        "The pattern is relative to data.root and must fit a whole path",
        f"Type data.image=… as the files are named, for example {example}, or see what the layout is taken for: "
        f"python -m segexp.check data=auto data.root={root}",
    )
