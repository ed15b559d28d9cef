"""The pages of a folder written again, and a page that cannot be written."""

import pytest

from segexp.errors import DataError
from segexp.locking import LockedError, folder_lock
from segexp.reporting.regenerate import write_report_safely, write_reports
from segexp.reporting.run_report import write_run_report


def test_the_page_of_a_run(full_run, tmp_path):
    run = full_run(tmp_path / "run", pictures=False)
    assert list(write_reports(run)) == [run / "report.html"]
    assert (run / "report.html").is_file()


def test_the_pages_of_a_study_come_before_that_of_the_study(full_study, tmp_path):
    folder = full_study(tmp_path / "nets")
    written = list(write_reports(folder))
    assert written[-1] == folder / "report.html"
    assert {path.parent.parent for path in written[:-1]} == {folder}
    assert len(written) == 5, "jobs that did not finish have none"


def test_a_job_with_broken_files_does_not_stop_the_others(full_study, tmp_path):
    folder = full_study(tmp_path / "nets")
    (folder / "model-unet_seed-1" / "cases.csv").unlink()
    assert len(list(write_reports(folder))) == 4


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(DataError):
        list(write_reports(tmp_path))


def test_a_page_that_fails_does_not_fail_the_run(full_run, tmp_path):
    run = full_run(tmp_path / "run", pictures=False)
    assert write_report_safely(write_run_report, run) == f"Report: {run / 'report.html'}"
    (run / "cases.csv").unlink()
    text = write_report_safely(write_run_report, run)
    assert text.startswith(f"The report could not be written. {run / 'cases.csv'} does not exist.")
    assert text.endswith(f"To try again: python -m segexp.report {run}")

    def broken(directory):
        raise ZeroDivisionError("by nothing")

    assert "ZeroDivisionError: by nothing." in write_report_safely(broken, run)


def test_a_run_in_training_keeps_its_page(full_run, full_study, tmp_path):
    run, study = full_run(tmp_path / "run", pictures=False), full_study(tmp_path / "nets")
    with folder_lock(run, "run directory"), pytest.raises(LockedError, match="Wait until that process has ended"):
        list(write_reports(run))
    assert not (run / "report.html").exists()
    with folder_lock(study / "model-unet_seed-1", "run directory"):
        assert len(list(write_reports(study))) == 4
