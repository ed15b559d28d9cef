"""Files that cannot be read: one message with all of them and the override that leaves them out."""

import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from segexp.config.overrides import to_overrides
from segexp.data.statistics import read_all
from segexp.errors import DataError, UnreadableError
from segexp.types import Case


def exclude_override(files: Iterable[str], root: Path | str, excluded: Sequence[str] = ()) -> str:
    """Return the override, quoted for a shell, that leaves out files besides those that are `excluded` already."""
    base = Path(root)
    paths = [Path(file) for file in files]
    names = [path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path) for path in paths]
    return shlex.quote(to_overrides({"data": {"exclude": list(dict.fromkeys([*excluded, *names]))}})[0])


def unreadable_files(problems: Sequence[UnreadableError], root: Path | str, excluded: Sequence[str] = ()) -> DataError:
    """Return one error that names all files, and how to go on without them."""
    found = "; ".join(problem.found for problem in problems)
    them = "it and its partner" if len(problems) == 1 else "them and their partners"
    line = exclude_override((problem.file for problem in problems), root, excluded)
    return DataError(
        found if len(problems) == 1 else f"{len(problems)} files cannot be used: {found}",
        "Training leaves out no case by itself",
        f"Copy {'the file' if len(problems) == 1 else 'them'} again from where it came, or leave {them} out: type {line}",
    )


def refuse_unreadable(
    reader: Callable[[Case], object], cases: Sequence[Case], root: Path | str, excluded: Sequence[str] = ()
) -> None:
    """Read all cases and refuse the files that cannot be read, all at once.

    Raises:
        DataError: see `unreadable_files`.
    """

    def problem_of(case: Case) -> UnreadableError | None:
        try:
            reader(case)
        except UnreadableError as problem:
            return problem
        except DataError:
            pass  # of another kind, which stays for the next attempt
        return None

    problems = [problem for problem in read_all(problem_of, cases) if problem is not None]
    if problems:
        raise unreadable_files(problems, root, excluded)
