"""The tables and the plot of the exports, from certificates made by hand."""

import sys
from pathlib import Path

import cv2
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("export", "deploy", "exported"):
        sys.modules.pop(name, None)


def certificate(largest: float = 1e-6, changed: int = 0, ms: float = 4.0) -> dict[str, object]:
    interval = {"mean": 0.9, "low": 0.8, "high": 0.95, "cases": 20}
    return {
        "agreement": [
            {"batch": 1, "height": 10, "width": 10, "largest": largest / 2, "changed": 0, "pixels": 100},
            {"batch": 3, "height": 10, "width": 10, "largest": largest, "changed": changed, "pixels": 300},
        ],
        "dice": {"before": interval, "after": interval, "difference": {"mean": 0.0, "low": -1e-5, "high": 2e-5, "cases": 20}},
        "latency": {"torch": {"median": 9.0, "p95": 10.0}, "file": {"median": ms, "p95": 5.0}},
        "bytes": {"file": 2_500_000, "weights in float32": 2_400_000},
    }


def test_a_row_per_network_and_the_reasons_of_what_failed_below():
    from export import table

    good = certificate(largest=3e-6, changed=1)
    text = table(
        {"unet": {"onnx": good, "torch_export": certificate()}, "mine": {"onnx": {"failed": "Aten::x."}, "torch_export": good}}
    )
    rows = text.splitlines()
    assert rows[2] == "| `unet` | 2.5 | 3.0e-06 | 1.0e-06 | 1 | 0.9000 | +0.00000 [-0.00001, +0.00002] | 0.44 | 0.44 |"
    assert rows[3] == "| `mine` |  | failed | 3.0e-06 |  |  |  |  | 0.44 |"
    assert rows[3].count("|") == rows[0].count("|")
    assert rows[-1] == "Not exported: `mine` as onnx: Aten::x.."


def test_nothing_failed_is_said_too():
    from export import table

    assert table({"unet": {"onnx": certificate(), "torch_export": certificate()}}).endswith("Not exported: none.\n")


def test_the_table_takes_the_place_of_the_one_before(tmp_path):
    from export import put

    page = tmp_path / "page.md"
    page.write_text("above\n<!-- networks: start -->\nold\n<!-- networks: end -->\nbelow\n")
    put(page, "new", "networks")
    put(page, "newer\n", "networks")
    assert page.read_text() == "above\n<!-- networks: start -->\n\nnewer\n\n<!-- networks: end -->\nbelow\n"
    with pytest.raises(SystemExit, match=r"page\.md has no <!-- deployed: start -->"):
        put(page, "new", "deployed")


def point(name: str, dice: float, ms: float, precision: str = "fp32"):
    from deploy import Point

    from segexp.deployment.verification import Latency

    told = {"mean": dice, "low": dice - 0.01, "high": dice + 0.01}
    return Point(name, "onnx", precision, told, {"mean": 0.0, "low": 0.0, "high": 0.0}, 1000, Latency(ms, 2 * ms, 9))


def test_the_front_is_what_nothing_beats_in_both():
    from deploy import best

    found = [point("slow", 0.95, 9.0), point("poor", 0.90, 5.0), point("fast", 0.92, 4.0), point("tie", 0.95, 10.0)]
    assert [each.network for each in best(found)] == ["fast", "slow"]


def test_the_plot_has_every_point_and_the_table_a_row_for_each(tmp_path):
    from deploy import plot, table

    found = [point("teacher", 0.95, 9.0), point("teacher", 0.94, 4.0, "int8"), point("student", 0.93, 2.0)]
    plot(found, tmp_path / "plot.png")
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture.shape[1] > 900
    assert picture.std() > 5
    rows = table(found).splitlines()
    assert rows[3].startswith(
        "| teacher | ONNX, int8 | 0.9400 [0.9300, 0.9500] | +0.0000 [+0.0000, +0.0000] | 4.0 | 8.0 | 0.00 |"
    )
    assert len(rows) == 2 + 3 + 2


def test_a_level_is_read_from_the_command_line():
    from deploy import Subject, subject

    assert subject("pruned=runs/a@2") == Subject("pruned", Path("runs/a"), 2)
    assert subject("whole=runs/a") == Subject("whole", Path("runs/a"), None)
