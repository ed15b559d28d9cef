"""Run train, predict, check and export on file systems that are too small, then again after room was made.

    python benchmarks/full_disk.py [--sizes 14] [VERB ...]

Mounts a tmpfs, so it needs root on Linux. Of each verb the needed bytes are measured first; the sizes are spread evenly below.
For each size: the exit code is 1 or 2, stderr is one paragraph of segexp's, no file with a final name is half-written, no
temporary file is left, and the same command (a run: resume=RUN) ends with 0 on the enlarged file system. Logs that grow line by
line (*.log, events of TensorBoard, metrics.csv) may end anywhere, and the lock of a folder stays. Exits with 1 on a miss.
"""

import argparse
import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import yaml
from bit_flips import make_demo
from PIL import Image

from segexp.checkpoint import read_checkpoint
from segexp.locking import LOCK_FILE

ROOM = "200m"
UNCHECKED = ("*.log", "events.out.*", "metrics.csv", "hparams.yaml", LOCK_FILE)
VERBS = ("train", "tmpdir", "predict", "check", "export")
TINY = ["data.size=64", "data.batch_size=2", "data.num_workers=0", "model.width=4", "model.depth=2", "trainer.gpus=0"]


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[], None]]:
    """Mount a file system of a size, such as "64k"; yield the function that enlarges it."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", f"remount,size={ROOM}", folder], check=True) and None
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def typed(words: list[str], work: Path, temporary: Path | None = None) -> tuple[int, str]:
    """Run a command in a fork of this process; return its exit code and stderr."""
    child = os.fork()
    if not child:
        code = 70
        try:
            os.chdir(work)
            if temporary is not None:
                os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(work / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
            code = import_module(f"segexp.cli.{words[0]}").main(words[1:])
            sys.stdout.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), (work / "stderr").read_text()


def half_written(folder: Path) -> list[str]:
    """Return the files that cannot be read, and temporary ones."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not any(map(path.match, UNCHECKED))):
        try:
            if path.name.startswith(".") or ".part" in path.name or path.parent.name.startswith((".part", ".export")):
                raise ValueError("left over")
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix in (".yaml", ".yml") and not yaml.safe_load(path.read_text()) and path.name != "overrides.yaml":
                raise ValueError("empty")
            elif path.suffix == ".ckpt":
                read_checkpoint(path)
            elif path.suffix in (".png", ".jpg", ".webp"):
                Image.open(path).load()
            elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
                raise ValueError("cut off")
            elif path.suffix == ".csv":
                with path.open(newline="") as file:
                    if len({len(row) for row in csv.reader(file)}) != 1:
                        raise ValueError("rows of different lengths")
            elif path.suffix in (".npz", ".pt2") and zipfile.ZipFile(path).testzip():
                raise ValueError("damaged")
        except Exception as error:
            found.append(f"{path.relative_to(folder)} ({error})")
    return found


def paragraph_problem(code: int, text: str) -> str:
    """Return what is wrong with the answer of a command that had no room."""
    lines = [line for line in text.splitlines() if line.strip() and "Warning" not in line and not line.startswith("  ")]
    if code not in (1, 2):
        return f"exit code {code}"
    if "unexpected" in text or "Traceback" in text or len(lines) != 1 or not lines[0].startswith("segexp: "):
        return " | ".join(lines)[-300:]
    return ""


def main() -> int:
    """Print a line per miss and the counts per verb; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, default=14)
    parser.add_argument("--show", action="store_true", help="print each message")
    parser.add_argument("verbs", nargs="*", default=VERBS)
    given = parser.parse_args()
    if os.geteuid() or not shutil.which("mount"):
        sys.stdout.write("Mounting a file system needs root on Linux; nothing was done.\n")
        return 0
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        disk, pictures = work / "disk", make_demo(work / "pictures", "organ", count=10, size=64)
        os.environ["SEGEXP_CACHE"] = str(work / "cache")
        for module in ("train", "predict", "check", "export"):
            import_module(f"segexp.cli.{module}")
        data = ["data=liver", f"data.root={pictures}"]
        train = ["train", *data, *TINY, "trainer.max_epochs=2"]
        code, text = typed([*train, "run_dir=run"], work)
        if code:
            raise SystemExit(text)
        import_module("segexp.training.run"), import_module("segexp.api.export"), import_module("segexp.api.predict")
        first = next(path.parent for path in pictures.rglob("*.png"))
        commands = {
            "train": [*train, f"run_dir={disk / 'run'}"],
            "tmpdir": [*train, f"run_dir={work / 'other'}"],
            "predict": ["predict", "checkpoint=run", f"input={first}", f"output={disk / 'out'}", "overlay=true", "check=false"],
            "check": ["check", *data, "data.size=64", f"output={disk / 'out'}"],
            "export": ["export", "checkpoint=run", f"output={disk / 'net.onnx'}", "format=onnx"],
        }
        for verb in given.verbs:
            words = commands[verb]
            temporary = disk if verb == "tmpdir" else None
            with small_disk(disk, ROOM):
                code, text = typed(words, work, temporary)
                if code:
                    raise SystemExit(f"{verb}: {text}")
                usage = os.statvfs(disk)
                needed = (usage.f_blocks - usage.f_bfree) * usage.f_frsize if verb != "tmpdir" else 64 << 10
                shutil.rmtree(work / "other", ignore_errors=True)
            counts = dict.fromkeys(("told", "whole", "went on"), 0)
            for step in range(given.sizes):
                size = max(4096, needed * step // given.sizes) // 4096 * 4
                with small_disk(disk, f"{size}k") as enlarge:
                    if verb == "tmpdir":
                        (disk / "full").write_bytes(bytes(size << 10))
                    code, text = typed(words, work, temporary)
                    told = "" if verb == "tmpdir" and code == 0 else paragraph_problem(code, text)
                    halves = half_written(work / "other" if verb == "tmpdir" else disk)
                    enlarge()
                    run = Path(words[-1].partition("=")[2])
                    resumable = words[0] == "train" and (run / "checkpoints" / "last.ckpt").is_file()
                    again = ["train", f"resume={run}"] if resumable else words
                    code, later = typed(again, work, temporary)
                    shutil.rmtree(work / "other", ignore_errors=True)
                for key, wrong in (("told", told), ("whole", halves), ("went on", code and later)):
                    counts[key] += not wrong
                    if wrong:
                        sys.stdout.write(f"{verb} on {size}k, not {key}: {wrong}\n")
                if given.show:
                    sys.stdout.write(f"{verb} on {size}k: {text}")
            missed += sum(given.sizes - count for count in counts.values())
            sys.stdout.write(f"{verb}: {', '.join(f'{key} {count} of {given.sizes}' for key, count in counts.items())}\n")
            sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
