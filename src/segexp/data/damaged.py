"""Files that cannot be read: one message with all of them and the override that leaves them out."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from segexp.config.overrides import shell_words
from segexp.config.schema import DataConfig
from segexp.data.statistics import read_all
from segexp.errors import DataError, NotFiniteImageError, UnreadableError
from segexp.types import Case

NOT_A_NUMBER = "If NaN means that there are no data, type data.nodata=nan; otherwise copy"
"""Begin of the advice on files with NaN."""


def exclude_override(files: Iterable[str], root: Path | str, excluded: Sequence[str] = ()) -> str:
    """Return the override, quoted for a shell, that leaves out files besides those that are `excluded` already."""
    names = dict.fromkeys([*excluded, *(Path(file).relative_to(root).as_posix() for file in files)])
    return shell_words({"data.exclude": list(names)})


class UnreadableFilesError(DataError):
    """Names all files that cannot be read, and how to go on without them.

    Attributes:
        problems: one for each file, or page of a file.
    """

    def __init__(self, problems: Sequence[UnreadableError], root: Path | str, excluded: Sequence[str] = ()) -> None:
        """Compose the message; `excluded` is data.exclude so far."""
        self.problems = problems
        reasons = first_reasons((problem.file, problem) for problem in problems)
        line = exclude_override(reasons, root, excluded)
        one = len(reasons) == 1
        copy = NOT_A_NUMBER if any(isinstance(problem, NotFiniteImageError) for problem in problems) else "Copy"
        super().__init__(
            ("" if one else f"{len(reasons)} files cannot be used: ") + "; ".join(reasons.values()),
            "No case is left out in silence",
            f"{copy} {'the file' if one else 'them'} again from where {'it' if one else 'they'} came, or leave "
            f"{'it and its partner' if one else 'them and their partners'} out: type {line}",
        )

    def __reduce__(self) -> Any:
        """Support pickling, for worker processes."""
        return DataError, (self.found, self.expected, self.do)


def first_reasons(problems: Iterable[tuple[str, DataError]]) -> dict[str, str]:
    """Return what is wrong with each file; of a stack, with the first of its pages."""
    found: dict[str, str] = {}
    for file, problem in problems:
        found.setdefault(file, problem.found)
    return found


def refuse_unreadable(
    reader: Callable[[Case], object],
    cases: Sequence[Case],
    data: DataConfig,
    known: Sequence[UnreadableError] = (),
) -> None:
    """Read all cases and refuse the files that cannot be read, with those that are `known`, all at once.

    Raises:
        UnreadableFilesError: there are such files.
    """

    def problem_of(case: Case) -> UnreadableError | None:
        try:
            reader(case)
        except UnreadableError as problem:
            return problem
        except DataError:
            pass  # of another kind, which stays for the next attempt
        return None

    problems = [*known, *(problem for problem in read_all(problem_of, cases) if problem is not None)]
    if problems:
        raise UnreadableFilesError(problems, data.root, data.exclude)
