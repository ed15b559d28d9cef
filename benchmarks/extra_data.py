"""With few labelled images: do unlabelled ones, or mixed ones, make a network better than the plain recipe?

Of the training images of each data set so many keep their masks (drawn once, the same for all), and all others become the
unlabelled folder. With each seed these are trained, all with the recipe of the data set's experiment and on one split:

    plain      the labelled images alone
    longer     the same for as many steps as `pseudo` takes altogether, so that its gain is not one of time
    pseudo     one round of pseudo-labels, data.unlabeled=DIR
    cutmix, classmix, mosaic      the labelled images alone, mixed

The difference is that of `segexp.compare`: the mean over the seeds for each validation case, paired by case, with its 95 %
interval.

    python benchmarks/extra_data.py --data skin=DIR --data liver=DIR --labelled 16 --epochs 60       # trains what is missing
    python benchmarks/extra_data.py --data skin=DIR --methods plain longer pseudo --seeds 0 1 2 3 4

What is finished is kept in the work folder, so the same command again does what is missing.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from configured import configured
from network_dice import Job, train
from rich.console import Console
from rich.table import Table

from segexp.console import silence_libraries
from segexp.data.layout.pairing import find_data_cases
from segexp.data.splits import split_from_config
from segexp.evaluation.compare import Comparison, compare_records
from segexp.evaluation.records import read_record
from segexp.types import Case

METHODS = ("plain", "longer", "pseudo", "cutmix", "classmix", "mosaic")


@dataclass(frozen=True)
class Subset:
    """A data set of which few training images have masks, as links in a folder of its own.

    Attributes:
        words: that make a training read the labelled images.
        unlabeled: the folder of the others.
        labelled: how many training images have masks.
        others: how many have none.
    """

    words: tuple[str, ...]
    unlabeled: Path
    labelled: int
    others: int


def subset(name: str, root: Path, folder: Path, labelled: int) -> Subset:
    """Link the images and masks of a data set into a folder: val as it is, of train the masks of a few.

    Raises:
        SystemExit: an image has several masks or is a page of a file, or there are too few.
    """
    data = configured([f"experiment={name}", f"data.root={root}"]).data
    cases = find_data_cases(data)
    if any(len(case.masks) != 1 or case.image.page is not None for case in cases):
        raise SystemExit(f"{name}: images in files of their own, each with one mask, were expected")
    splits = split_from_config(data.changed(split_seed=0), cases, 0)
    training = [case for case in cases if splits[case.id] == "train"]
    if len(training) <= labelled:
        raise SystemExit(f"{name}: --labelled {labelled} leaves none of its {len(training)} training images without mask")
    order = np.random.default_rng(0).permutation(len(training))
    known = {training[int(n)].id for n in order[:labelled]}
    grouped = any(case.group is not None for case in cases)
    for case in cases:
        split, stem = splits[case.id], f"{Path(case.id).name}{case.image.path.suffix}"
        where = Path(split) / str(case.group) if grouped else Path(split)
        if split == "train" and case.id not in known:
            link(case.image.path, folder / "unlabelled" / where / stem)
        elif split != "test":
            link(case.image.path, folder / "labelled" / "images" / where / stem)
            link(case.masks[0].path, folder / "labelled" / "masks" / where / f"{Path(stem).stem}{suffix_of(case)}")
    fields = "{split}/{group}/{id}" if grouped else "{split}/{id}"
    images, masks = endings([case.image.path for case in cases]), endings([case.masks[0].path for case in cases])
    words = (f"data.root={(folder / 'labelled').resolve()}", f'data.image="images/{fields}.{images}"')
    words += (f'data.mask="masks/{fields}.{masks}"', "data.groups=null")
    return Subset(words, (folder / "unlabelled").resolve(), labelled, len(training) - labelled)


def suffix_of(case: Case) -> str:
    """Return the ending of a case's mask file."""
    return case.masks[0].path.suffix


def link(source: Path, target: Path) -> None:
    """Make a link to a file unless it is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_symlink():
        target.symlink_to(source.resolve())


def endings(paths: Sequence[Path]) -> str:
    """Return the endings of files as a pattern has them."""
    found = sorted({path.suffix.removeprefix(".") for path in paths})
    return found[0] if len(found) == 1 else f"{{{','.join(found)}}}"


def jobs(name: str, made: Subset, folder: Path, arguments: argparse.Namespace) -> list[Job]:
    """Return the trainings on a data set, those of one seed after the other."""
    longer = round(arguments.epochs * (2 + min(made.others, made.labelled) / made.labelled))  # teacher, then a larger epoch
    more = {
        "plain": (f"trainer.max_epochs={arguments.epochs}",),
        "longer": (f"trainer.max_epochs={longer}",),
        "pseudo": (
            f"trainer.max_epochs={arguments.epochs}",
            f"data.unlabeled={made.unlabeled}",
            f"data.pseudo.confidence={arguments.confidence:g}",
        ),
    }
    found = []
    for seed in arguments.seeds:
        for method in arguments.methods:
            own = more.get(method, (f"trainer.max_epochs={arguments.epochs}", f"mix={method}"))
            words = (f"experiment={name}", *made.words, *arguments.words, f"trainer.gpus={arguments.gpus}", f"seed={seed}")
            found.append(Job(name, method, (*words, *own), {}, folder.resolve() / f"{method}_{seed}"))
    return found


def compared(done: Sequence[Job]) -> Comparison:
    """Return all methods against the first one, over the validation cases."""
    return compare_records([read_record(job.folder) for job in done], split="val", reference=str(done[0].folder))


def table(name: str, made: Subset, done: Sequence[Job], found: Comparison) -> Table:
    """Return a row per method."""
    first = done[0].network
    shown = Table(title=f"{name}, {made.labelled} labelled and {made.others} unlabelled images", min_width=110)
    for column in ("method", "Dice", "each seed", f"minus {first}"):
        shown.add_column(column, justify="left" if column == "method" else "right")
    methods = {job.folder: job.network for job in done}
    order = list(dict.fromkeys(job.network for job in done))
    for entry in sorted(found.entries, key=lambda entry: order.index(methods[entry.runs[0].directory])):
        method = methods[entry.runs[0].directory]
        difference = next((str(each.difference) for each in found.contrasts if each.entry is entry), "")
        seeds = ", ".join(f"{value:.4f}" for value in entry.by_seed)
        shown.add_row(method, str(entry.interval), seeds, "" if method == first else difference)
    return shown


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=DIR", help="skin=DIR, liver=DIR, …")
    parser.add_argument("--labelled", type=int, default=16, help="training images that keep their masks")
    parser.add_argument("--epochs", type=int, default=60, help="of every training but `longer`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="the first is compared with")
    parser.add_argument("--confidence", type=float, default=0.9, help="data.pseudo.confidence")
    parser.add_argument("--words", nargs="*", default=[], help="further words for every training")
    parser.add_argument("--threads", type=int, default=2, help="of a training")
    parser.add_argument("--gpus", default="0", help="trainer.gpus of the trainings")
    parser.add_argument("--out", type=Path, default=Path("runs/extra_data"))
    arguments = parser.parse_args()
    silence_libraries()
    console = Console(width=140, soft_wrap=True, highlight=False)
    for name, _, root in (text.partition("=") for text in arguments.data):
        here = arguments.out / f"{name}_{arguments.labelled}"
        made = subset(name, Path(root), here / "data", arguments.labelled)
        wanted = jobs(name, made, here, arguments)
        train(wanted, arguments.threads, console.print)
        found = compared(wanted)
        console.print(table(name, made, wanted, found))
        for sentence in (*found.verdicts, *found.notes):
            console.print(sentence)


if __name__ == "__main__":
    main()
