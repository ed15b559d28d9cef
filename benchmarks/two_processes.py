"""Start each command twice at the same moment on one folder: each ends well or names the other process, and no file is damaged.

python benchmarks/two_processes.py [--rounds 3] [VERB ...]

Of two trainings in one run directory, one trains and the other is refused. Of the other commands both may do the work or share
it, or one is refused. Prints a line per command with how the processes ended; exit code 1 if one ended otherwise.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from full_disk import half_written

from fixtures.processes import fork
from segexp.cli.train import main as train
from segexp.data.synthetic.datasets import make_demo

SMALL = [
    *("data=liver", "data.size=64", "data.batch_size=2", "data.num_workers=0", "model=unet", "model.width=4", "model.depth=2"),
    *("trainer.gpus=0", "trainer.max_epochs=3"),
]
COMMANDS: dict[str, list[str]] = {
    "train": [*SMALL, "data.root={data}", "run_dir={here}/run"],
    "train -m": ["-m", *SMALL, "data.root={data}", "seed=0,1,2", "hydra.sweep.dir={here}/study"],
    "train resume=RUN": ["resume={here}/begun", "trainer.max_epochs=4"],
    "check": ["data=auto", "data.root={data}", "output={here}/out"],
    "predict": ["checkpoint={run}", "input={data}/val", "output={here}/out", "overlay=true", "gpus=0"],
    "evaluate": ["checkpoint={run}", "output={here}/out", "gpus=0"],
    "explain": ["checkpoint={run}", "input={data}/val", "output={here}/out", "gpus=0"],
    "export": ["checkpoint={run}", "output={here}/out/net.onnx"],
    "compare": ["{run}", "{run2}", "output={here}/out"],
    "report": ["{here}/begun"],
}
REFUSED = ("is in use by process", "already holds a run", "is in use by another process", "already exists")


def words_of(name: str, **places: Path) -> list[str]:
    """Return the words of a command."""
    return [word.format(**places) for word in COMMANDS[name]]


def call(name: str, words: Sequence[str]) -> None:
    """Run a command and leave with its exit code."""
    sys.exit(import_module(f"segexp.cli.{name.split()[0]}").main(list(words)))


def trained(*words: str) -> None:
    """Train a small network without a word."""
    with contextlib.redirect_stdout(io.StringIO()):
        assert train([*SMALL, *words]) == 0


def trial(name: str, work: Path, **places: Path) -> tuple[list[str], list[str]]:
    """Start a command twice; return how both ended, and what is wrong."""
    words = words_of(name, **places)
    both = [fork(lambda: call(name, words), work / f"output{number}", work) for number in (0, 1)]
    ends, wrong = [], []
    for process in both:
        code, out, err = process.ended(300)
        told = err.startswith("segexp: ") and err.count("\n") == 1 and any(text in err for text in REFUSED)
        ends.append("done" if code == 0 else "refused" if told else "failed")
        if code and not told:
            wrong.append(f"{code}: {(err or out)[-300:]}")
    if "done" not in ends:
        wrong.append(f"nothing is done: {ends}")
    wrong += half_written(places["here"])
    return ends, wrong


def main() -> int:
    """Try the commands that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", metavar="VERB", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        data = make_demo(base / "pictures", "organ", count=24, size=64)
        runs = [base / "run", base / "run2"]
        for number, run in enumerate(runs):
            trained(f"data.root={data}", f"run_dir={run}", f"seed={number}", "data.split_seed=0")
        for name in given.commands or COMMANDS:
            ended: Counter[str] = Counter()
            for number in range(given.rounds):
                here = base / f"{name.replace(' ', '_').replace('=', '_')}{number}"
                here.mkdir()
                if "{here}/begun" in " ".join(COMMANDS[name]):
                    trained(f"data.root={data}", f"run_dir={here / 'begun'}")
                ends, wrong = trial(name, here / "work", here=here, data=data, run=runs[0], run2=runs[1])
                ended[" + ".join(sorted(ends))] += 1
                failed += bool(wrong)
                for text in wrong:
                    print(f"{name}: {text}")
            print(f"{name:17}", ", ".join(f"{ends}: {count}" for ends, count in ended.items()), flush=True)
    print("every process ended well or named the other" if not failed else f"{failed} trials ended otherwise")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
