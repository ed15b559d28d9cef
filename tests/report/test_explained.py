import json

import numpy as np
import pytest

from segexp.pictures import Explained
from segexp.report.explained import FOLDER, INDEX, explained_section, read_explained, write_explained

PALETTE = ((0, 0, 0), (230, 159, 0))


@pytest.fixture
def written(tmp_path):
    rng = np.random.default_rng(0)
    cases = []
    for n in range(2):
        mask = (rng.random((40, 400)) > 0.5).astype(np.uint8)
        image = rng.integers(0, 255, (40, 400, 1)).astype(np.uint8)
        cases.append(Explained(image, mask, mask, rng.random((40, 400)).astype(np.float32), mask == 1, f"<case{n}>   9%"))
    write_explained(tmp_path, cases, "liver", "down.3", PALETTE)
    return tmp_path


def test_what_is_written_is_shown(written):
    told = read_explained(written)
    assert (told.target, told.layer, told.titles) == ("liver", "down.3", ("<case0>   9%", "<case1>   9%"))
    page = explained_section(written)
    assert "<h2>What speaks for liver</h2>" in page
    assert "at the layer down.3" in page
    assert page.count("<img") == 2 * 4 + 1, "and the bar"
    assert 'width="320" height="32"' in page
    assert "&lt;case1&gt; \u00b7 9%" in page
    assert "<case1>" not in page


def test_a_run_without_them_has_no_such_section(tmp_path):
    assert explained_section(tmp_path) == ""


def test_pictures_that_are_gone_are_left_out(written):
    for file in (written / FOLDER).glob("00_*.jpg"):
        file.unlink()
    page = explained_section(written)
    assert "case0" not in page
    assert "case1" in page
    for file in (written / FOLDER).glob("*.jpg"):
        file.unlink()
    assert explained_section(written) == ""


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"target": "a", "layer": "b", "titles": [], "files": [3]})])
def test_a_broken_index_is_none(written, content):
    (written / FOLDER / INDEX).write_text(content)
    assert read_explained(written) is None


def test_an_index_names_no_file_elsewhere(written):
    index = written / FOLDER / INDEX
    index.write_text(json.dumps({"target": "a", "layer": "b", "titles": ["t"], "files": [["../../secret.jpg"]]}))
    assert read_explained(written).files == (("secret.jpg",),)
