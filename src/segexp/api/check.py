"""Check a data set before training."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp.api.calls import command_line, short_traceback
from segexp.api.run import Table
from segexp.atomic import atomic_write, make_writable
from segexp.config.composition import Job, compose_job, conf_dir, to_plain, with_data
from segexp.config.schema import CheckConfig, DataConfig, TrainConfig
from segexp.config.suggestions import explain_errors
from segexp.config.validation import key_problems, report, validate
from segexp.errors import DataError, SegexpError

if TYPE_CHECKING:
    from rich.console import Console

    from segexp.checks.issues import Examination, Finding
    from segexp.reporting.check_report import CheckSection


@dataclass(frozen=True, eq=False)
class CheckedData:
    """Result of a check.

    Attributes:
        examination: layout, cases, splits, facts and findings.
        page: check.html.
        learned: whether the overfit test passed; None without `fit`.
    """

    examination: "Examination"
    page: Path
    learned: bool | None = None

    @property
    def findings(self) -> "list[Finding]":
        """Errors first, each with what to type."""
        return self.examination.findings

    @property
    def failed(self) -> bool:
        """Whether a finding is an error, or the overfit test failed."""
        return self.examination.failed or self.learned is False

    def __str__(self) -> str:
        import io

        from rich.console import Console

        from segexp.reporting.check_report import check_verdict, print_examination

        text = io.StringIO()
        console = Console(file=text, soft_wrap=True, highlight=False, markup=False, color_system=None)
        print_examination(console, self.examination)
        console.print(check_verdict(self.examination))
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        columns = ("level", "kind", "found", "do", "cases")
        rows = [{"cases": len(each.cases), **{name: getattr(each, name) for name in columns[:-1]}} for each in self.findings]
        return Table(rows, columns)._repr_html_()


@short_traceback
def check(
    folder: "str | os.PathLike[str] | None" = None,
    /,
    *,
    overrides: Sequence[str] = (),
    config_dir: "str | os.PathLike[str] | None" = None,
    **keys: Any,
) -> CheckedData:
    """Check a data set before training (pairs, sizes, mask values, duplicates, leakage), as `segexp check` does.

    Findings are printed and written to check.html.

    Args:
        folder: of images and masks, whose layout is inferred; or an option of the group `data`, such as "liver".
        overrides: keys as on the command line.
        config_dir: your own configuration folder.
        keys: the same keys as arguments: `fit=True`, `output=DIR`, `runs=STUDY`, `data={"classes": {...}}`, …

    Returns:
        The findings; displayed as a table in notebooks.

    Raises:
        ConfigError: a wrong key.
        DataError: the folder is missing or has no known layout, the output cannot be written, fit=True finds no training case
            with foreground, or runs are of other data.
        CheckpointError: a run is missing or unfinished.

    Example:
        >>> segexp.check("DIR")
    """
    line = command_line(folder, keys, overrides, config_dir)
    with explain_errors(line.overrides, line.folders, "check"):
        job = compose_job("check", line.overrides, line.folders[1:])
    return check_data(job, line.folders[1:])


def check_data(job: Job, folders: Sequence[Path] = ()) -> CheckedData:
    """Check the data of a configuration composed of conf/check.yaml; print a report and write check.html.

    Raises:
        SegexpError: see `check`.
    """
    from rich.console import Console

    from segexp.checks.run import run_checks
    from segexp.config.components import fit_to_targets
    from segexp.config.experiment import fit_to_choices
    from segexp.console import silence_libraries
    from segexp.data.autoconfig import has_open_facts
    from segexp.models.pretrained import check_weights
    from segexp.reporting.check_report import check_page, check_verdict, dataset_name, print_examination
    from segexp.reporting.rendering import write_page

    if job.config.get("fit"):
        check_weights(job.config.get("model") or {})
    fit_to_targets(job.config, job.typed)
    fit_to_choices(job.config, job.typed, job.choices, job.folders)
    silence_libraries()
    values = to_plain(job.config)
    own, data = check_settings(values)
    output = make_output_folder(Path(own.output or Path("checks") / dataset_name(data)))
    console = Console(soft_wrap=True, highlight=False, markup=False)
    examination = run_checks(data, seed=own.seed, track=_tracked(console))
    print_examination(console, examination)
    sections: list[CheckSection] = []
    learned: bool | None = None
    problem: SegexpError | None = None
    if own.propose if own.propose is not None else has_open_facts(data):
        sections += write_proposal(console, examination, data, output, folders, own.seed)
    if own.fit:
        try:
            learned, shown = run_overfit_check(console, job, examination, output)
            sections.insert(0, shown)
        except SegexpError as error:  # raised after the page is written
            problem = error
    if own.runs and problem is None:
        try:
            sections.insert(0, rank_disputed_masks(console, examination, own, values["trainer"]["gpus"], output))
        except SegexpError as error:
            problem = error
    write_page(output / "check.html", check_page(examination, sections))
    console.print(f"\nPage: {output / 'check.html'}")
    console.print(check_verdict(examination), style="bold red" if examination.failed else "bold")
    if problem is not None:
        raise problem
    return CheckedData(examination, output / "check.html", learned)


def make_output_folder(folder: Path) -> Path:
    """Create the output folder; return it.

    Raises:
        DataError: it cannot be created or written.
    """
    try:
        make_writable(folder)
    except OSError as error:
        raise DataError(
            f"The output folder {folder} cannot be written ({error.strerror})", "check.html goes there", "Type output=DIR"
        ) from error
    return folder


def write_proposal(
    console: "Console", examination: "Examination", data: DataConfig, output: Path, folders: Sequence[Path], seed: int = 0
) -> "list[CheckSection]":
    """Write the data configuration that is proposed for the examined data; return its report section.

    It has the remedies of the findings, and data that differ from the examined ones in any way are examined as well. A file
    with other content is kept; the proposal then has another name.
    """
    from segexp.checks.propose_config import propose_config
    from segexp.reporting.check_report import proposal_section

    taken = {file.stem for folder in (conf_dir(), *folders) for file in (folder / "data").glob("*.yaml")}
    examined, remedied = examine_remedied(examination, seed)
    if more := [each for each in examined.findings if each.level != "note" and each not in examination.findings]:
        console.print(f"\nFound with {remedied} as above\n" + "\n".join(f"- {each}" for each in more))
    proposal = propose_config(examined, data, taken)
    if proposal is None:
        console.print("\nNo configuration is proposed: layout and classes must be known first.")
        return []
    console.print()
    name, number = proposal.name, 1
    while (file := output / "data" / f"{proposal.name}.yaml").is_file() and file.read_text("utf-8") != proposal.text:
        console.print(f"{file} exists and differs from the proposal; it is kept.")
        number += 1
        proposal = proposal.renamed(f"{name}_{number}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as part:
        part.write_text(proposal.text, encoding="utf-8")
    console.print(f"Proposed configuration: {file}{f', with {remedied} as above' if remedied else ''}")
    folder = str(output).replace("'", "'\\''")
    command = f"python -m segexp.train --config-dir '{folder}' data={proposal.name}"
    console.print(f"To train with it{', once the errors are fixed' if examined.failed else ''}: {command}")
    return [proposal_section(proposal.text, command)]


def examine_remedied(examination: "Examination", seed: int) -> "tuple[Examination, str]":
    """Return the examination of the data with the remedies of the findings, and the changed keys as text.

    Remedies that leave an error which was not there before are not taken.
    """
    from segexp.checks.propose_config import apply_remedies
    from segexp.checks.run import run_checks

    data = apply_remedies(examination)
    if data == examination.data:
        return examination, ""
    found = run_checks(data, seed=seed, alignment=False)
    if found.failed and not examination.failed:
        return examination, ""
    return found, " and ".join(
        f"data.{key}" for key in type(data).model_fields if getattr(data, key) != getattr(examination.data, key)
    )


def run_overfit_check(console: "Console", job: Job, examination: "Examination", output: Path) -> "tuple[bool, CheckSection]":
    """Overfit a few training images; return whether it succeeded, and its report section.

    Raises:
        SegexpError: no training case has foreground, or the training cannot start.
    """
    from segexp.data.io.images import write_png
    from segexp.reporting.check_report import fit_section
    from segexp.training.overfit_test import OverfitPoint, choose_cases, describe_result, run_overfit_test

    def told(moment: OverfitPoint) -> None:
        console.print(
            f"step {moment.step:4d}  loss {moment.loss:.4f}  Dice {moment.dice:.4f}  {moment.seconds:.0f} s", style="dim"
        )

    config = training_config(job, examination)
    cases = choose_cases(examination)
    console.print(f"\nOverfit test on {', '.join(case.id for case in cases)}")
    result = run_overfit_test(config, cases, told)
    verdict = describe_result(result, config)
    write_png(output / "fit.png", result.picture)
    console.print(verdict, style="bold" if result.learned else "bold red")
    points = [(each.step, each.seconds, each.loss, each.dice) for each in result.moments]
    return result.learned, fit_section(verdict, result.learned, points, result.picture)


def rank_disputed_masks(
    console: "Console", examination: "Examination", own: CheckConfig, gpus: Any, output: Path
) -> "CheckSection":
    """Rank masks by the disagreement of runs that did not train on them; return the report section.

    Raises:
        SegexpError: the runs are unfinished, or of other data.
    """
    from segexp.api.loading import checkpoint_files, load_members
    from segexp.devices import choose_devices
    from segexp.evaluation.label_errors import FILE, check_classes, rank_masks, ranking_lines, write_ranking
    from segexp.inference.outputs import as_list
    from segexp.reporting.check_report import disputes_section

    device, _ = choose_devices(gpus)
    check_classes(examination.data)
    members = load_members(checkpoint_files(as_list(own.runs or [])), device, own.trust)
    found = rank_masks(examination, members, _tracked(console))
    write_ranking(output / FILE, found)
    console.print("\nMasks to review first: most disputed by networks not trained on them", style="bold")
    console.print("\n".join([*ranking_lines(found), f"All of them: {output / FILE}"]))
    return disputes_section(found.ranking, found.notes, found.spec, found.look)


def check_settings(values: Mapping[str, Any]) -> tuple[CheckConfig, DataConfig]:
    """Return the keys of the check and the data section.

    Raises:
        ConfigError: a key is wrong.
    """
    own = {name: values[name] for name in CheckConfig.model_fields}
    report([*key_problems(CheckConfig, own), *key_problems(DataConfig, values["data"], "data")])
    return CheckConfig.model_validate(own), DataConfig.model_validate(values["data"])


def training_config(job: Job, examination: "Examination") -> TrainConfig:
    """Return the training configuration, with the inferred facts about the data.

    Raises:
        ConfigError: a key is wrong.
    """
    values = to_plain(with_data(job.config, examination.data.plain()))
    others = set(CheckConfig.model_fields) - set(TrainConfig.model_fields)
    return validate({key: value for key, value in values.items() if key not in others})


def _tracked(console: "Console") -> Callable[[Iterable[Any], int], Iterator[Any]]:
    def tracked(items: Iterable[Any], count: int) -> Iterator[Any]:
        from rich.progress import track

        shown = console.is_terminal and count > 20
        yield from track(items, "Checking images", count, console=console, transient=True, disable=not shown)

    return tracked
