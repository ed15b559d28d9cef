"""The page of a certificate: its verdict in sight, its numbers, and nothing that is loaded from elsewhere."""

import re

import numpy as np
import pytest

from segexp.reporting.export_report import certificate_page


def values(**changes):
    interval = {"mean": 0.9, "low": 0.8, "high": 0.95, "cases": 5}
    latency = {name: {"median": ms, "p95": ms + 1, "rounds": 9} for name, ms in (("torch", 30.0), ("file", 10.0))}
    return {
        "file": "net.onnx",
        "checkpoint": "runs/<toy>/best.ckpt",
        "verdict": "The file gives what the network gives.",
        "format": "onnx",
        "opset": 20,
        "precision": "fp32",
        "returns": "logits",
        "sha256": "ab12cd",
        "machine": "a machine",
        "bytes": {"file": 1_230_000, "weights in float32": 4_560_000},
        "agreement": [{"batch": 3, "height": 17, "width": 19, "largest": 2.5e-7, "changed": 2, "pixels": 969}],
        "dice": {"before": interval, "after": interval, "difference": {"mean": 0.0, "low": -0.01, "high": 0.002, "cases": 5}},
        "latency": {"height": 32, "width": 48, **latency},
        **changes,
    }


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]+>", " ", page, flags=re.DOTALL))


def test_every_number_is_on_the_page():
    text = text_of(certificate_page(values(), good=True))
    for part in (
        "Certificate of net.onnx",
        "The file gives what the network gives.",
        "onnx, opset 20",
        "1.23 MB; the weights in float32 are 4.56 MB",
        "ab12cd",
        "a machine",
        "3 17x19 2.5e-07 2 of 969 2.1e-03",
        "PyTorch, float32 0.9000 0.8000 to 0.9500 5",
        "difference, paired by case +0.0000 -0.0100 to +0.0020 5",
        "PyTorch, float32 30.0 31.0 3.00 9",
        "this file 10.0 11.0 1.00 9",
        "One image of 32x48 pixels",
        "python -m segexp.predict model=net.onnx input=DIR output=DIR",
    ):
        assert part in text, part


@pytest.mark.parametrize("look", [(), [("this file", np.zeros((8, 8, 3), np.uint8))]])
def test_the_page_loads_nothing(look):
    page = certificate_page(values(), True, look)
    loads = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", page) + re.findall(r"url\(([^)]+)\)", page)
    assert [each for each in loads if not each.startswith(("data:", "#"))] == []
    assert ("A validation image" in page) == bool(look)


def test_what_comes_from_elsewhere_is_text():
    page = certificate_page(values(file="<b>net.onnx", machine="<i>"), True, [("<u>", np.zeros((8, 8, 3), np.uint8))])
    assert "runs/&lt;toy&gt;/best.ckpt" in page
    assert "python -m segexp.predict model=&lt;b&gt;net.onnx input=DIR output=DIR" in page
    assert not re.search(r"<[biu]>", page)


def test_the_page_runs_no_script():
    page = certificate_page(values(), True)
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "script-src" not in page


def test_success_and_none_look_different():
    verdict = "No success: it is not faster."
    good, bad = (certificate_page(values(verdict=verdict), each) for each in (True, False))
    assert good != bad
    assert verdict in good
    assert verdict in bad


def test_layers_that_stayed_in_float():
    page = certificate_page(values(int8={"kept in float32": ["n1", "n2"], "layers": 8}), True)
    assert "n1, n2, of 8 layers" in text_of(page)
    none = certificate_page(values(int8={"kept in float32": [], "layers": 8}), True)
    assert "none, of 8 layers" in text_of(none)


def test_what_was_not_measured():
    unknown = {"mean": None, "low": None, "high": None, "cases": 0}
    agreement = [{"batch": 1, "height": 17, "width": 19, "largest": None, "changed": 0, "pixels": 323}]
    latency = {name: {"median": 9.0, "p95": 9.5, "rounds": 3} for name in ("torch", "file", "float")}
    latency |= {"height": 32, "width": 48}
    changes = {"dice": None, "agreement": agreement, "returns": "classes", "opset": None, "latency": latency}
    text = text_of(certificate_page(values(**changes), True))
    assert "Not measured: there were no validation cases." in text
    assert "1 17x19 0 of 323 0.0e+00" in text
    assert "the float32 file 9.0 9.5 1.00 3" in text
    assert "Load it in a program of your own; net.onnx.json describes its inputs and outputs." in text
    assert "opset" not in text
    page = certificate_page(values(dice={"before": unknown, "after": unknown, "difference": unknown}), True)
    assert "this file not known not known to not known 0" in text_of(page)
