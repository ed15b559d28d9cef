"""Runs without training, read back."""

import pytest

from segexp.comparison.records import read_record


@pytest.fixture
def made(make_run, tmp_path):
    """Write the directory of a run by its name and read it; see `write_run`."""
    return lambda name, dice, **more: read_record(make_run(tmp_path / name, dice, **more))


@pytest.fixture
def study(make_run, tmp_path):
    """Write the jobs of a study by name; returns its folder."""

    def study(**jobs):
        folder = tmp_path / "study"
        for name, (dice, more) in jobs.items():
            make_run(folder / name, dice, **more)
        (folder / "multirun.yaml").write_text("hydra: {}\n")
        return folder

    return study
