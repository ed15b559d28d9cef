"""Every notebook is run from top to bottom, in an empty folder."""

import os
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def outputs(notebook, kind):
    """The outputs of a notebook that have data of one MIME type."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [output.data[kind] for cell in cells for output in cell.outputs if kind in output.get("data", {})]


def printed(notebook):
    return "".join(out.text for cell in notebook.cells for out in cell.get("outputs", []) if out.output_type == "stream")


def test_the_four_lessons():
    assert [path.stem for path in NOTEBOOKS] == ["01_quickstart", "02_your_own_data", "03_compare", "04_explain_and_deploy"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_lesson_is_told_in_sentences(path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert len(re.findall(r"^## ", text, re.MULTILINE)) >= 4
    assert all(cell.cell_type == "code" or len(cell.source) > 60 for cell in cells), "a heading alone explains nothing"
    named = re.findall(r"`((?:docs|notebooks)/[\w./-]+)`|`(\w+\.ipynb)`", text)
    assert [name for name, other in named if name and not (FOLDER.parent / name).is_file()] == []
    assert [other for _, other in named if other and not (FOLDER / other).is_file()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the notebook machinery
def test_the_notebooks_run_and_show_pictures(tmp_path, monkeypatch):
    """One after the other in one kernel, which imports torch once; each begins without the names of the one before."""
    from nbclient import NotebookClient

    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    notebooks = {path: nbformat.read(path, as_version=4) for path in NOTEBOOKS}
    whole = nbformat.v4.new_notebook()
    for notebook in notebooks.values():
        whole.cells += [nbformat.v4.new_code_cell("%reset -f"), *notebook.cells]
    NotebookClient(whole, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(here)}}).execute()
    for path, notebook in notebooks.items():
        if keep := os.environ.get("SEGEXP_EXECUTED"):  # a folder, to look at the result
            nbformat.write(notebook, Path(keep) / path.name)
        pictures = outputs(notebook, "image/png")
        assert len(pictures) >= 2, path.stem
        assert all(len(picture) > 5000 for picture in pictures), path.stem
        assert "Traceback" not in printed(notebook), path.stem
        assert "the map is 0" not in printed(notebook), "a heat map shows something"
    assert list(here.iterdir()) == []  # a lesson writes into a temporary folder only
