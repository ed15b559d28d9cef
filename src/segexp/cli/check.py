"""python -m segexp.check: is this data set what its owner thinks it is, and can a network learn from it?"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp import __version__
from segexp.cli import hydra_app
from segexp.config import conf_dir, plain, report, validate
from segexp.config.experiment import fit_to_choices, running
from segexp.config.instantiate import fit_to_targets
from segexp.config.schema import SECTIONS, CheckConfig, check_fields
from segexp.errors import ConfigError, DataError, SegexpError

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

    from segexp.checks.issues import Examination
    from segexp.reporting.check_report import CheckSection

HELP = """
Look at a data set before training: pairs, sizes, mask values, duplicates, leakage, faults; each with the line to type.

  python -m segexp.check [key=value ...] [--config-dir MY_CONF]

Examples
  python -m segexp.check data=liver data.root=DIR
  python -m segexp.check data=auto data.root=DIR           any folder; proposes a complete data configuration
  python -m segexp.check data=liver fit=true model=unetpp  lets the network learn four pictures by heart, in two minutes
  python -m segexp.check data=liver runs=STUDY             ranks masks by how much the networks that never saw them dispute
                                                           them; of a study of folds (-m data.folds=5 'data.fold=range(5)')

Main keys
  output=DIR     where check.html goes; by default checks/<data name>
  fit=true       does learning work at all? takes model, loss, optimizer and trainer as in training
  propose=true   writes DIR/data/NAME.yaml, for python -m segexp.train --config-dir DIR data=NAME
  runs=STUDY     which masks may be wrong? label_errors.csv, and pictures in check.html
  trust=[package]  build networks of a package of yours, for runs
  seed=0         of the split, as in training

The exit code is 1 when an error is found, or when nothing is learned.
"""


def check(config: "DictConfig", folders: Sequence[Path] = ()) -> int:
    """Examine as `conf/check.yaml` says; print a report, write check.html; return the exit code.

    Args:
        config: composed.
        folders: further folders of configuration groups.

    Raises:
        ConfigError: a wrong key.
        DataError: the folder is missing, nothing is recognised there, the output cannot be written, or fit=true finds no
            training case with foreground, or runs are of other data.
        CheckpointError: runs names what is missing or not finished.
    """
    from rich.console import Console

    from segexp.checks.run import examine
    from segexp.console import quieten
    from segexp.reporting.check_report import check_page, check_verdict, dataset_name, print_examination
    from segexp.reporting.rendering import write_page

    quieten()
    values = plain(config)
    own = {field.name: values[field.name] for field in fields(CheckConfig)}
    report([*check_fields("", own, CheckConfig), *check_fields("data", values["data"], SECTIONS["data"])])
    output = writable(Path(own["output"] or Path("checks") / dataset_name(values["data"])))
    console = Console(soft_wrap=True, highlight=False, markup=False)
    examination = examine(values["data"], seed=values["seed"], track=_tracked(console))
    print_examination(console, examination)
    sections: list[CheckSection] = []
    learned, problem = True, None
    open_layout = values["data"]["image"] is None and not values["data"].get("family")
    if own["propose"] if own["propose"] is not None else open_layout:
        sections += proposed(console, examination, values["data"], output, folders)
    if own["fit"]:
        try:
            learned, shown = fitted(console, config, examination, output)
            sections.insert(0, shown)
        except SegexpError as error:  # the page is written all the same
            problem = error
    if own["runs"] and problem is None:
        try:
            sections.insert(0, disputed(console, examination, own, values["trainer"]["gpus"], output))
        except SegexpError as error:
            problem = error
    write_page(output / "check.html", check_page(examination, sections))
    console.print(f"\nPage: {output / 'check.html'}")
    console.print(check_verdict(examination), style="bold red" if examination.failed else "bold")
    if problem is not None:
        raise problem
    return int(examination.failed or not learned)


def writable(folder: Path) -> Path:
    """Make a folder and try to write there, before minutes are spent.

    Raises:
        DataError: it cannot be made, or not be written.
    """
    probe = folder / ".probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(
            f"The output folder {folder} cannot be written ({error.strerror})", "check.html goes there", "Type output=DIR"
        ) from error
    return folder


def proposed(
    console: "Console", examination: "Examination", data: dict[str, Any], output: Path, folders: Sequence[Path]
) -> "list[CheckSection]":
    """Write the proposed data configuration, say how to train with it; return its part of the page.

    A file that is there already is a person's work and stays.
    """
    from segexp.atomic import whole_file
    from segexp.checks.propose_config import propose
    from segexp.reporting.check_report import proposal_section

    taken = {file.stem for folder in (conf_dir(), *folders) for file in (folder / "data").glob("*.yaml")}
    proposal = propose(examination, data, taken)
    if proposal is None:
        console.print("\nNo configuration is proposed: layout and classes must be known first.")
        return []
    file = output / "data" / f"{proposal.name}.yaml"
    if file.is_file() and file.read_text(encoding="utf-8") != proposal.text:
        console.print(f"\n{file} is there and differs from what would be proposed; it stays. Remove it for a new one.")
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as part:
            part.write_text(proposal.text, encoding="utf-8")
        console.print(f"\nProposed configuration: {file}")
    command = f"python -m segexp.train --config-dir '{output}' data={proposal.name}"
    console.print(f"To train with it{', once the errors are mended' if examination.failed else ''}: {command}")
    return [proposal_section(proposal.text, command)]


def fitted(console: "Console", config: "DictConfig", examination: "Examination", output: Path) -> "tuple[bool, CheckSection]":
    """Let the network learn a few pictures by heart; return whether it did and the part of the page.

    Raises:
        SegexpError: no training case has foreground, or training cannot even begin.
    """
    from segexp.data.io.images import write_png
    from segexp.reporting.check_report import fit_section
    from segexp.training.overfit_test import Moment, choose, rehearse, words

    def told(moment: Moment) -> None:
        console.print(
            f"step {moment.step:4d}  loss {moment.loss:.4f}  Dice {moment.dice:.4f}  {moment.seconds:.0f} s", style="dim"
        )

    values = with_data(config, examination)
    validate(values)
    cases = choose(examination)
    console.print(f"\nTrial fit on {', '.join(case.id for case in cases)}")
    result = rehearse(values, cases, told)
    verdict = words(result, values)
    write_png(output / "fit.png", result.picture)
    console.print(verdict, style="bold" if result.learned else "bold red")
    points = [(each.step, each.seconds, each.loss, each.dice) for each in result.moments]
    return result.learned, fit_section(verdict, result.learned, points, result.picture)


def disputed(console: "Console", examination: "Examination", own: dict[str, Any], gpus: Any, output: Path) -> "CheckSection":
    """Rank the masks by how much the runs that held them out dispute them, name the first; return the part of the page.

    Raises:
        SegexpError: the runs are not finished, or not of these data.
    """
    from segexp.api.loading import checkpoint_files, load_members
    from segexp.devices import choose_devices
    from segexp.evaluation.label_errors import FILE, check_classes, disputes, lines, write_ranking
    from segexp.reporting.check_report import disputes_section

    named = [own["runs"]] if isinstance(own["runs"], str) else own["runs"]
    device, _ = choose_devices(gpus)
    check_classes(examination.data)
    members = load_members(checkpoint_files(named), device, own["trust"])
    found = disputes(examination, members, _tracked(console))
    write_ranking(output / FILE, found)
    console.print("\nMasks to look at first, if a network that never saw them is right", style="bold")
    console.print("\n".join([*lines(found), f"All of them: {output / FILE}"]))
    return disputes_section(found.ranking, found.notes, found.spec, found.look)


def with_data(config: "DictConfig", examination: "Examination") -> dict[str, Any]:
    """Return the configuration as training would see it, with what was found out about the data filled in."""
    from omegaconf import OmegaConf, open_dict

    with open_dict(config):
        for key, value in examination.data.items():
            if key != "num_classes":
                OmegaConf.update(config, f"data.{key}", value, merge=False)
    values = plain(config)
    return {key: value for key, value in values.items() if key not in {field.name for field in fields(CheckConfig)}}


def _tracked(console: "Console") -> Callable[[Iterable[Any], int], Iterator[Any]]:
    def tracked(items: Iterable[Any], count: int) -> Iterator[Any]:
        from rich.progress import track

        shown = console.is_terminal and count > 20
        yield from track(items, "Looking at pictures", count, console=console, transient=True, disable=not shown)

    return tracked


def command(argv: Sequence[str]) -> int:
    """Understand the command line and run it; return the exit code."""
    if {"--help", "-h"} & set(argv):
        sys.stdout.write(f"{HELP.strip()}\n\nsegexp {__version__}\n")
        return 0
    from segexp.cli.overrides import parse

    line = parse(argv)
    if line.multirun:
        raise ConfigError("-m is on the command line", "One data set is checked at a time", "Leave -m out")
    codes: list[int] = []

    def task(config: "DictConfig") -> None:
        try:
            fit_to_targets(config, hydra_app.typed_keys())
            fit_to_choices(config, hydra_app.typed_keys(), *running())
            codes.append(check(config, line.folders[1:]))
        except Exception as error:
            raise hydra_app.Stopped(error) from error

    hydra_app.run_hydra(task, line, "check")
    return codes[0] if codes else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the console script leaves with what this returns."""
    return hydra_app.rim(lambda: command(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
