"""Tables that a command goes on with."""

from pathlib import Path

import pytest

from segexp.errors import DataError
from segexp.prediction.earlier import read_rows, write_rows


def test_rows_come_back(tmp_path):
    rows = [{"file": 'a,"b"\n.png', "share": "0.5", "more": "x"}, {"file": "é.png"}]
    path = write_rows(tmp_path / "t.csv", ("file", "share"), rows)
    assert read_rows(path) == [{"file": 'a,"b"\n.png', "share": "0.5"}, {"file": "é.png", "share": ""}]
    assert path.read_bytes().startswith(b"file,share\n")
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00\x81", b"", b'file\n"' + 200_000 * b"x"])
def test_a_table_that_is_missing_or_broken_has_no_rows(content, tmp_path):
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    assert read_rows(tmp_path / "t.csv") == []


def test_a_row_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path):
    (tmp_path / "t.csv").write_text("file,share\na.png,0.5\nb.png")
    assert read_rows(tmp_path / "t.csv") == [{"file": "a.png", "share": "0.5"}, {"file": "b.png", "share": ""}]


def test_a_table_that_cannot_be_written_says_what_to_type(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(DataError) as caught:
        write_rows(tmp_path / "out" / "t.csv", ("file",), [{"file": "a"}])
    assert str(caught.value).startswith(f"{Path(tmp_path, 'out', 't.csv')} cannot be written (Not a directory)")


def test_the_table_of_before_stays_where_writing_fails(tmp_path):
    path = write_rows(tmp_path / "t.csv", ("file",), [{"file": "a"}])

    def rows():
        yield {"file": "b"}
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left on device"):
        write_rows(path, ("file",), rows())
    assert read_rows(path) == [{"file": "a"}]
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]
