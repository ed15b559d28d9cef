"""Kill, stop and double folder runs: each image is predicted once, no row is lost, nothing is half-written.

python benchmarks/folder_runs.py [--images 280] [--kills 6] [--seed 0]

Prints a line per trial; exit code 1 if one has another result than expected.
"""

import argparse
import csv
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fixtures.prediction import save_picture, written_run

TIMEOUT = 300


def start(words: Sequence[str], cwd: Path) -> "subprocess.Popen[str]":
    """Start a command."""
    return subprocess.Popen(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def masks(out: Path) -> list[Path]:
    """The finished outputs."""
    return [path for path in out.rglob("*.png") if not path.name.startswith(".")]


def wait_for(out: Path, count: int, process: "subprocess.Popen[str]") -> None:
    """Wait until there are so many masks, or the process has ended."""
    end = time.monotonic() + TIMEOUT
    while len(masks(out)) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)


def state(out: Path, table: str) -> tuple[int, int, int]:
    """Numbers of masks, of distinct rows, and of files that should not be there."""
    with (out / table).open(newline="", encoding="utf-8") as file:
        rows = [row["image" if table == "review.csv" else "file"] for row in csv.DictReader(file)]
    rest = list(out.rglob(".*"))
    return len(masks(out)), len(set(rows)) if len(set(rows)) == len(rows) else -len(rows), len(rest)


def counted(text: str, pattern: str) -> int:
    """The number in a line of a command."""
    found = re.search(pattern, text)
    return int(found[1]) if found else -1


def main() -> int:
    """Run all trials; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=280)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, total, misses = random.Random(asked.seed), asked.images, 0

    def trial(name: str, got: object, expected: object) -> None:
        nonlocal misses
        misses += got != expected
        sys.stdout.write(
            f"{'ok  ' if got == expected else 'MISS'} {name}: {got}" + ("" if got == expected else f", not {expected}") + "\n"
        )
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        run = written_run(folder / "run")
        rng = np.random.default_rng(0)
        for k in range(total):
            save_picture(folder / "in" / f"{k:04d}.png", rng.integers(0, 256, (160, 160), np.uint8))

        def command(verb: str, out: str, *more: str) -> list[str]:
            return [sys.executable, "-m", f"segexp.{verb}", f"checkpoint={run}", "input=in", f"output={out}", "gpus=0", *more]

        for verb, table, done in (
            ("predict", "review.csv", r"(\d+) images? predicted"),
            ("explain", "explanations.csv", r"(\d+) images? explained"),
        ):
            more = ("overlay=false",) if verb == "predict" else ("method=occlusion", "window=64", "target=1")
            out = folder / verb
            words = command(verb, verb, *more)
            for k in range(asked.kills):
                process = start(words, folder)
                wait_for(out, len(masks(out)) + draw.randrange(1, max(2, total // (2 * asked.kills))), process)
                process.kill()
                process.communicate()
                rows = out / table
                listed = len(rows.read_text().splitlines()) - 1 if rows.exists() else 0
                trial(
                    f"{verb} killed {k}: masks less rows is at most the images at work",
                    len(masks(out)) - listed in range(-k, 12 + k),
                    True,
                )
            finished = start(words, folder)
            said, errors = finished.communicate(timeout=TIMEOUT)
            trial(f"{verb} after {asked.kills} kills: exit code, stderr", (finished.returncode, errors), (0, ""))
            trial(f"{verb} after {asked.kills} kills: masks, rows, rest", state(out, table), (total, total, 0))

            out = folder / f"{verb}2"
            pair = [start(command(verb, out.name, *more), folder) for _ in range(2)]
            texts = [each.communicate(timeout=TIMEOUT) for each in pair]
            trial(f"two {verb}: exit codes", [each.returncode for each in pair], [0, 0])
            each_did = [counted(text, done) for text, _ in texts]
            trial(f"two {verb}: images of each add up", sum(each_did), total)
            sys.stdout.write(f"     {each_did}\n")
            trial(f"two {verb}: masks, rows, rest", state(out, table), (total, total, 0))

            out = folder / f"{verb}3"
            pair = [start(command(verb, out.name, *more), folder) for _ in range(3)]
            wait_for(out, total // 3, pair[0])
            pair[0].kill()
            texts = [each.communicate(timeout=TIMEOUT) for each in pair]
            trial(f"three {verb}, one killed: exit codes", [each.returncode for each in pair[1:]], [0, 0])
            trial(f"three {verb}, one killed: masks, rows, rest", state(out, table), (total, total, 0))

            out = folder / f"{verb}4"
            process = start(command(verb, out.name, *more), folder)
            wait_for(out, total // 4, process)
            process.send_signal(signal.SIGTERM)
            said, errors = process.communicate(timeout=TIMEOUT)
            trial(f"{verb} and SIGTERM: exit code, stderr", (process.returncode, errors), (143, ""))
            count = counted(said, r"Stopped by SIGTERM, (\d+) images? left")
            made, rows, rest = state(out, table)
            trial(f"{verb} and SIGTERM: rows are the rest of what is left", (rows, rest), (total - count, 0))
            trial(f"{verb} and SIGTERM: masks less rows", made - rows in (0, 1), True)
    sys.stdout.write(f"{misses} misses\n")
    return int(misses > 0)


if __name__ == "__main__":
    sys.exit(main())
