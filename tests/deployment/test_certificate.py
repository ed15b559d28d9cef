"""The certificate by hand: what is wrong, what is poor, and what JSON can say."""

import json

import pytest

from segexp.deployment.certificate import Certificate, Scores, certificate_lines, certificate_record, finite, write_certificate
from segexp.deployment.quantization import QuantisationResult
from segexp.deployment.verification import Agreement, Latency
from segexp.metrics.significance import Interval

NAN = float("nan")


def certificate(fall=0.0, file=5.0, torch=20.0, fp32=None, largest=1e-6, changed=0, scores=True):
    dice = Scores(Interval(0.9, 0.8, 0.95, 5), Interval(0.9 - fall, 0.8, 0.95, 5), Interval(-fall, -0.02, 0.01, 5))
    latencies = {"torch": Latency(torch, torch, 7), "file": Latency(file, file, 7)}
    latencies |= {} if fp32 is None else {"float": Latency(fp32, fp32, 7)}
    agreement = [Agreement(1, 32, 32, largest, changed, 1024)]
    return Certificate(agreement, dice if scores else None, latencies, (32, 32), 1000, 4000, "a machine")


def test_nothing_is_wrong_and_nothing_poor():
    assert (certificate().wrong, certificate().poor) == ("", "")
    assert certificate(fall=0.01).poor == "", "0.01 is allowed"


def test_a_float_file_is_wrong_where_it_differs():
    assert certificate(largest=0.5).wrong.startswith("a probability differs by 0.5 (at 1 x 32x32)")
    assert certificate(changed=1).wrong.startswith("0.00098 of the pixels have another class")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"fall": 0.0123}, "Dice falls by 0.0123, more than 0.01"),
        ({"fp32": 4.0}, "it is not faster than the float32 file (5.0 ms for 4.0 ms)"),
        ({"fp32": 5.0}, "it is not faster than the float32 file (5.0 ms for 5.0 ms)"),
        ({"torch": 4.0}, "it is not faster than the float32 file (5.0 ms for 4.0 ms)"),
        ({"scores": False}, "its Dice is not known, for there are no validation images"),
        ({"fall": NAN}, "its Dice is not known, for no validation mask has any class but the background"),
        (
            {"fall": 0.5, "fp32": 1.0},
            "Dice falls by 0.5000, more than 0.01 and it is not faster than the float32 file (5.0 ms for 1.0 ms)",
        ),
    ],
)
def test_why_fewer_bits_are_no_success(values, reason):
    assert certificate(**values).poor == reason


def test_the_float32_file_is_what_counts_where_it_was_timed():
    assert certificate(torch=4.0, fp32=6.0).poor == ""


def test_what_is_no_number_becomes_null(tmp_path):
    values = certificate_record({"file": "a.onnx"}, certificate(fall=NAN, largest=NAN), "well")
    write_certificate(tmp_path / "c.json", values)
    found = json.loads((tmp_path / "c.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert found["agreement"][0] == {"batch": 1, "height": 32, "width": 32, "largest": None, "changed": 0, "pixels": 1024}
    assert found["dice"]["difference"] == {"mean": None, "low": -0.02, "high": 0.01, "cases": 5}
    assert (found["what"], found["verdict"], found["file"]) == ("segexp-certificate", "well", "a.onnx")
    assert found["bytes"] == {"file": 1000, "weights in float32": 4000}
    assert found["latency"]["file"] == {"median": 5.0, "p95": 5.0, "rounds": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_without_cases_there_is_no_dice():
    assert certificate_record({}, certificate(scores=False), "")["dice"] is None


def test_finite_goes_all_the_way_down():
    assert finite({"a": [1.0, float("inf"), (NAN, "x")], "b": {"c": -float("inf")}, "d": 3}) == {
        "a": [1.0, None, [None, "x"]],
        "b": {"c": None},
        "d": 3,
    }


def certificate_words(scores=None, largest=2.5e-7):
    latencies = {name: Latency(median, median + 1, 9) for name, median in (("torch", 30.0), ("file", 10.0), ("float", 20.0))}
    found = [Agreement(3, 17, 19, largest, 2, 969)]
    return Certificate(found, scores, latencies, (32, 48), 1_230_000, 4_560_000, "a machine")


def test_every_number_with_what_it_is_of():
    scores = Scores(Interval(0.9, 0.8, 0.95, 5), Interval(0.89, 0.79, 0.94, 5), Interval(-0.01, -0.02, 0.005, 5))
    assert certificate_lines(
        certificate_words(scores), "Well.", QuantisationResult(("node_conv2d", "node_conv2d_1"), 8, 0.001, {0: 0.02})
    ) == [
        "Certificate",
        "  3 x 17x19: probabilities differ by 2.5e-07 at most, 2 of 969 pixels have another class (2.1e-03)",
        "  Dice on 5 validation cases: 0.9000 [0.8000, 0.9500] before, 0.8900 [0.7900, 0.9400] after",
        "  difference -0.0100 [-0.0200, +0.0050]",
        "  PyTorch, float32: 30.0 ms, 95th percentile 31.0 ms (9 times)",
        "  this file: 10.0 ms, 95th percentile 11.0 ms (9 times)",
        "  the float32 file: 20.0 ms, 95th percentile 21.0 ms (9 times)",
        "  timed with one image of 32x48 on a machine",
        "  1.23 MB; the weights in float32 are 4.56 MB",
        "  in float32 of 8 layers: node_conv2d, node_conv2d_1",
        "Well.",
    ]


def test_what_was_not_measured():
    found = certificate_lines(certificate_words(largest=float("nan")), "Well.", QuantisationResult((), 8, 0.001, {}))
    assert found[1] == "  3 x 17x19: 2 of 969 pixels have another class (2.1e-03)"
    assert found[2] == "  Dice: not measured"
    assert found[-2] == "  in float32 of 8 layers: none"
