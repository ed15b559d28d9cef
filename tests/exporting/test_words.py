"""What is printed of a certificate."""

from segexp.exporting.agreement import Agreement
from segexp.exporting.certificate import Certificate, Scores
from segexp.exporting.latency import Latency
from segexp.exporting.quantizing import Quantised
from segexp.exporting.words import lines
from segexp.metrics.statistics import Interval


def certificate(scores=None, largest=2.5e-7):
    latencies = {name: Latency(median, median + 1, 9) for name, median in (("torch", 30.0), ("file", 10.0), ("float", 20.0))}
    found = [Agreement(3, 17, 19, largest, 2, 969)]
    return Certificate(found, scores, latencies, (32, 48), 1_230_000, 4_560_000, "a machine")


def test_every_number_with_what_it_is_of():
    scores = Scores(Interval(0.9, 0.8, 0.95, 5), Interval(0.89, 0.79, 0.94, 5), Interval(-0.01, -0.02, 0.005, 5))
    assert lines(certificate(scores), "Well.", Quantised(("node_conv2d", "node_conv2d_1"), 8, 0.001, {0: 0.02})) == [
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
    found = lines(certificate(largest=float("nan")), "Well.", Quantised((), 8, 0.001, {}))
    assert found[1] == "  3 x 17x19: 2 of 969 pixels have another class (2.1e-03)"
    assert found[2] == "  Dice: not measured"
    assert found[-2] == "  in float32 of 8 layers: none"
