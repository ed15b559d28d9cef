"""python -m segexp.report: the pages written again."""

import shutil

from segexp.cli.report import main


def test_the_page_of_a_run_is_written_again(full_run, tmp_path, capsys):
    run = full_run(tmp_path / "run")
    assert main([str(run)]) == 0
    first = (run / "report.html").read_text(encoding="utf-8")
    shutil.rmtree(run / "pictures")
    assert main([str(run)]) == 0
    assert len((run / "report.html").read_text(encoding="utf-8")) < len(first)
    assert capsys.readouterr().out == f"{run / 'report.html'}\n" * 2


def test_a_problem_is_one_paragraph(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 1
    found = capsys.readouterr()
    assert found.err.startswith(f"segexp: {tmp_path / 'nothing'} does not exist.")
    assert found.err.count("\n") == 1


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "python -m segexp.report RUN_OR_STUDY" in capsys.readouterr().out


def test_no_folder_is_named(capsys):
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "segexp: No folder is named. The directory of a run or a study was expected. Type python -m segexp.report "
        "RUN_OR_STUDY.\n"
    )
