"""What the recipes reach: each trained on real data for the same number of minutes, ours beside the published ones.

    python benchmarks/recipes.py DATA_DIR                    # liver, isbi, skin, landcover below DATA_DIR; about 100 minutes
    python benchmarks/recipes.py DATA_DIR --only liver --minutes 10 --out runs/recipes

Runs that are finished are read, not repeated. The table names the score, what it must reach, and what it reached.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROWS = [
    ("liver", ["experiment=liver", "model=unet"], "val/dice", 0.86),
    ("liver", ["experiment=liver", "model=unetpp"], "val/dice", 0.86),
    ("liver", ["experiment=liver", "model=dilated"], "val/dice", 0.86),
    ("liver", ["experiment=recipe_d"], "val/dice", None),
    ("isbi", ["experiment=isbi"], "val/dice/membrane", 0.80),
    ("isbi", ["experiment=recipe_b"], "val/dice/membrane", None),
    ("skin", ["experiment=skin"], "val/dice", 0.78),
    ("skin", ["experiment=recipe_c"], "val/dice", None),
    ("landcover", ["experiment=landcover"], "val/iou", 0.35),
]
"""Data set, what is typed, the score, what it must reach in ten minutes on two CPU cores (published recipes: nothing)."""


def run(data: Path, overrides: list[str], minutes: float, directory: Path, gpus: str) -> dict[str, float]:
    """Train unless it is done; return the scores."""
    done = directory / "metrics.json"
    if not done.is_file():
        words = [*overrides, f"data.root={data}", f"trainer.minutes={minutes}", f"trainer.gpus={gpus}", f"run_dir={directory}"]
        Console().print(f"python -m segexp.train {shlex.join(words)}")
        subprocess.run([sys.executable, "-m", "segexp.train", *words], check=True)
    scores: dict[str, float] = json.loads(done.read_text())["scores"]
    return scores


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds liver/, isbi/, skin/ and landcover/")
    parser.add_argument("--only", choices=sorted({row[0] for row in ROWS}))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--gpus", default="0")
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    arguments = parser.parse_args()
    table = Table(title=f"{arguments.minutes:g} minutes each, from random weights")
    for name in ("command", "score", "must reach", "reached", "pixel error"):
        table.add_column(name)
    for name, overrides, score, goal in ROWS:
        if arguments.only in (None, name):
            folder = arguments.out / "_".join(word.partition("=")[2] for word in overrides)
            scores = run(arguments.data / name, overrides, arguments.minutes, folder, arguments.gpus)
            must = f"{goal:.2f}" if goal is not None else "-"
            error = 1 - scores["val/accuracy"]
            table.add_row(" ".join(overrides), score, must, f"{scores[score]:.4f}", f"{error:.4f}")
    Console().print(table)


if __name__ == "__main__":
    main()
