"""How long a command takes to answer: seconds of `python -m segexp.train --help` and of an error in the command line.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table


def seconds(*words: str, runs: int = 7) -> list[float]:
    """Return the wall times of some runs, after one that warms the disk."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "segexp.train", *words], capture_output=True, check=False)
        times.append(time.perf_counter() - start)
    return times[1:]


def main() -> None:
    """Measure and print the table."""
    table = Table("command", "median s", "slowest s")
    for words in (["--help"], ["model=unett"], ["trainer.max_epochs=abc"]):
        times = seconds(*words)
        table.add_row(f"segexp.train {' '.join(words)}", f"{statistics.median(times):.2f}", f"{max(times):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
