"""INT8: which layers stay in float, and why; on a real small file, and on differences that the test makes up."""

import json
import logging

import pytest
import torch
from torch import nn

from segexp.deployment import quantization
from segexp.deployment.formats import write_onnx
from segexp.deployment.modules import NetworkModule
from segexp.deployment.quantization import (
    CalibrationBatches,
    QuantisationResult,
    check_calibration,
    evenly_spaced,
    mean_difference,
    onnx_probabilities,
    quantisable_layers,
    quantise,
    rank_layers_by_error,
    silence_onnxruntime,
)
from segexp.errors import ConfigError


def test_a_calibration_set_that_is_too_small_as_typed():
    with pytest.raises(ConfigError) as caught:
        check_calibration(4, 100)
    assert str(caught.value) == (
        "calibration=4. At least 8 were expected: they say which range each layer's values have. Type calibration=8 or more."
    )
    check_calibration(8, 100)


def test_too_few_training_images():
    with pytest.raises(ConfigError) as caught:
        check_calibration(32, 5)
    assert str(caught.value) == (
        "The training split has 5 images to calibrate with. At least 8 were expected: they say which range each layer's values "
        "have. Type precision=fp32."
    )
    check_calibration(32, 8)


def test_items_spread_over_their_order():
    assert evenly_spaced(range(10), 4) == [0, 3, 6, 9]
    assert evenly_spaced("abc", 8) == ["a", "b", "c"]
    assert evenly_spaced("abc", 1) == ["a"]
    assert evenly_spaced([], 3) == []


def test_images_come_one_after_the_other():
    images = [torch.full((1, 2, 3), float(n)) for n in range(3)]
    found = list(CalibrationBatches(images))
    assert [each["image"].shape for each in found] == [(1, 1, 2, 3)] * 3
    assert [each["image"].flat[0] for each in found] == [0, 1, 2]


def test_the_mean_difference_of_the_class_that_differs_most():
    one = [torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]]), torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]]])]
    other = [torch.tensor([[[0.6, 0.5]], [[0.3, 0.5]]]), torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]]])]
    assert mean_difference(one, one) == 0
    assert mean_difference(one, other) == pytest.approx((0.1 + 0) / 2)


def test_layers_in_the_order_of_the_harm_that_each_does_alone():
    harm = {"a": 0.1, "b": 0.5, "c": 0.3}
    asked = []

    def difference(excluded):
        (alone,) = set(harm) - set(excluded)
        asked.append(alone)
        return harm[alone]

    assert rank_layers_by_error(list(harm), difference) == ["b", "c", "a"]
    assert asked == ["a", "b", "c"]


def test_the_root_logger_is_as_it_was():
    root = logging.getLogger()
    before = root.level
    with silence_onnxruntime():
        assert root.level == logging.ERROR
    assert root.level == before


def test_plain_values():
    assert QuantisationResult(("a",), 8, 0.001, {0: 0.5, 1: 0.001}).as_dict() == {
        "kept in float32": ["a"],
        "layers": 8,
        "mean difference": 0.001,
    }


class Chain(nn.Module):
    """Four convolutions; the second gives one channel values a thousand times as large as the other, the third reads both."""

    def __init__(self, uneven):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Conv2d(*shape, 3, padding=1) for shape in ((1, 4), (4, 4), (4, 4), (4, 2)))
        if uneven:
            with torch.no_grad():
                self.layers[1].weight[0] *= 3000
                self.layers[1].bias[0] *= 3000
                self.layers[2].weight[:, 0] /= 3000
                self.layers[3].weight *= 20

    def forward(self, image):
        for layer in self.layers[:-1]:
            image = torch.relu(layer(image))
        return self.layers[-1](image)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Files of the two kinds of chain, and calibration images."""
    folder = tmp_path_factory.mktemp("chain")
    for name, uneven in (("even", False), ("uneven", True)):
        write_onnx(NetworkModule(Chain(uneven)), torch.zeros(2, 1, 48, 40), folder / f"{name}.onnx", "logits")
    torch.manual_seed(2)
    return folder, [torch.randn(1, 32, 32) for _ in range(8)]


@pytest.mark.slow
def test_where_bytes_suffice_every_layer_has_them(chain, tmp_path):
    import onnx

    folder, images = chain
    said = []
    found = quantise(folder / "even.onnx", tmp_path / "int8.onnx", images, said.append)
    assert (found.kept, found.layers, said) == ((), 4, [])
    assert found.tried == {0: found.difference}
    assert 0 < found.difference < quantization.CLOSE
    nodes = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert nodes.count("Conv") == 4
    assert "QuantizeLinear" in nodes
    expected, given = onnx_probabilities(folder / "even.onnx", images), onnx_probabilities(tmp_path / "int8.onnx", images)
    assert mean_difference(expected, given) == pytest.approx(found.difference)
    odd = onnx_probabilities(tmp_path / "int8.onnx", [torch.randn(1, 37, 51)])
    assert odd[0].shape == (2, 37, 51), "sizes stay open"


@pytest.mark.slow
def test_a_layer_that_suffers_stays_in_float(chain, tmp_path):
    folder, images = chain
    said = []
    found = quantise(folder / "uneven.onnx", tmp_path / "int8.onnx", images, said.append)
    layers = quantisable_layers(folder / "uneven.onnx")
    assert said == [f"All 4 layers in INT8 change the probabilities by {found.tried[0]:.4f} on average; each is tried alone …"]
    assert found.tried[0] > quantization.CLOSE
    assert found.difference < found.tried[0] / 2
    assert set(found.kept) & {layers[1], layers[2]}, "the one that writes the uneven map, or the one that reads it"
    assert len(found.kept) <= 2


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Quantise eight layers whose excluded ones decide what difference there is; returns the result and what was written."""

    def quantised(difference):
        layers, written = [f"n{k}" for k in range(8)], []

        def write(prepared, target, images, excluded):
            target.write_text(json.dumps(list(excluded)))
            written.append(tuple(excluded))

        monkeypatch.setattr(quantization, "_prepared", lambda source, folder: source)
        monkeypatch.setattr(quantization, "quantisable_layers", lambda path: layers)
        monkeypatch.setattr(quantization, "_write", write)
        monkeypatch.setattr(quantization, "onnx_probabilities", lambda path, images: path)
        monkeypatch.setattr(
            quantization, "mean_difference", lambda source, target: difference(tuple(json.loads(target.read_text())))
        )
        found = quantise(tmp_path / "float.onnx", tmp_path / "int8.onnx", [torch.zeros(1, 8, 8)] * 8)
        return found, written

    return quantised


def test_the_search_stops_as_soon_as_it_is_enough(made_up):
    found, written = made_up(lambda excluded: 0.001 if "n5" in excluded else 0.05 if len(excluded) == 7 else 0.03)
    assert found.kept == ("n5",)
    assert found.tried == {0: 0.03, 1: 0.001}
    assert found.difference == 0.001
    assert written[-1] == ("n5",), "the file is the one that is told of"


def test_the_search_stops_at_half_of_the_layers_and_takes_the_best(made_up):
    found, written = made_up(lambda excluded: 0.5 - 0.01 * len(excluded) if len(excluded) < 7 else 0.1)
    assert set(found.tried) == {0, 1, 2, 4}
    assert found.tried[4] == found.difference == pytest.approx(0.46)
    assert len(found.kept) == 4
    assert written[-1] == found.kept


def test_of_those_that_are_close_the_one_with_the_least_difference(made_up):
    found, _ = made_up(lambda excluded: {0: 0.0021, 1: 0.0030, 2: 0.0019, 7: 0.001}.get(len(excluded), 9.0))
    assert len(found.kept) == 2
    assert found.tried == {0: 0.0021, 1: 0.0030, 2: 0.0019}
