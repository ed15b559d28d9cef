"""How much memory is free, and used."""

import subprocess
import sys

import pytest

from segexp.training import memory
from segexp.training.memory import SHORT, free_memory, peak_memory

ALONE = """
import importlib.util, sys, time
sys.modules["torch"] = type(sys)("torch")  # a GPU's memory is not asked for
spec = importlib.util.spec_from_file_location("memory", sys.argv[1])
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)
"""
PEAK = f"""{ALONE}
before = memory.peak_memory()
bytearray(b"1" * int(before + 160e6))  # more than the process has ever had, and gone at once
print(before, memory.peak_memory(), memory.used_memory("cpu"))
"""
BOUND = f"""{ALONE}
memory.free_memory = lambda *_: int((memory.peak_memory() + 2e8) / (1 - memory.HEADROOM)) + 1
free, most = memory.memory_limit("cpu")
assert most == int((1 - memory.HEADROOM) * free)
taken = bytearray(int(float(sys.argv[2])))
time.sleep(0.5)
print(len(taken))
"""


def test_free_is_what_the_system_and_the_group_leave(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1000 kB\nMemFree: 20 kB\nMemAvailable: 500 kB\n")
    assert free_memory(tmp_path) == 500 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("100000\n")
    assert free_memory(tmp_path) == 500 * 1024
    (group / "memory.max").write_text("300000\n")
    assert free_memory(tmp_path) == 200_000


def test_without_either_it_is_half_of_the_machine(tmp_path):
    assert free_memory(tmp_path) > 100e6
    assert free_memory() > 0


def test_the_peak_remains():
    """Asked in a small process of its own: more than the peak of this one would be gigabytes."""
    ended = subprocess.run([sys.executable, "-c", PEAK, memory.__file__], capture_output=True, text=True, check=True)
    before, after, used = map(int, ended.stdout.split())
    assert after - before > 100e6
    assert used >= after
    assert peak_memory() > before


@pytest.mark.parametrize(("taken", "code"), [(1e8, 0), (4e8, SHORT)])
def test_a_process_leaves_where_it_takes_more_than_its_bound(taken, code):
    command = [sys.executable, "-c", BOUND, memory.__file__, str(taken)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout.strip() == ("" if code else str(int(taken)))
