"""A module as a file: what the exporters say, what stays open, and what is kept quiet."""

import logging
import math
import warnings

import pytest
import torch
from torch import nn

from segexp.exporting.kinds import ExportError
from segexp.exporting.writing import program, quiet, refused, round_up, spatial_axes, write_onnx


class Padded(nn.Module):
    """Pads to a multiple of three by ceil(a / b), as the encoders of some libraries do."""

    def forward(self, image):
        return nn.functional.pad(image, (0, math.ceil(image.shape[3] / 3) * 3 - image.shape[3]))


def test_sizes_are_rounded_up_in_whole_numbers():
    captured = program(Padded(), torch.zeros(2, 1, 32, 40))
    assert math.ceil not in {node.target for node in captured.graph.nodes}
    for width in (30, 31, 32, 40):
        assert captured.module()(torch.zeros(1, 1, 16, width)).shape == (1, 1, 16, math.ceil(width / 3) * 3)


def test_a_program_without_such_sizes_stays_as_it_is():
    captured = program(nn.Conv2d(1, 2, 1), torch.zeros(2, 1, 32, 40))
    before = [(node.name, node.target) for node in captured.graph.nodes]
    round_up(captured.graph_module)
    assert [(node.name, node.target) for node in captured.graph.nodes] == before


@pytest.mark.slow
def test_the_open_axes_have_names_that_can_be_read(tmp_path):
    import onnx

    write_onnx(nn.Conv2d(1, 2, 3, padding=1), torch.zeros(2, 1, 32, 40), tmp_path / "net.onnx", "logits", 19)
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [each.name for each in (*graph.input, *graph.output)] == ["image", "logits"]
    for value, channels in ((graph.input[0], 1), (graph.output[0], 2)):
        batch, second, height, width = value.type.tensor_type.shape.dim
        assert [batch.dim_param, height.dim_param, width.dim_param] == ["batch", "height", "width"]
        assert second.dim_value == channels
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"], "weights and all are in one file"


def test_height_and_width_of_bytes_and_of_prepared_images():
    assert spatial_axes(torch.zeros(2, 8, 9, 3, dtype=torch.uint8)) == (1, 2)
    assert spatial_axes(torch.zeros(2, 3, 8, 9)) == (2, 3)


def test_the_exporters_own_last_words():
    with pytest.raises(ExportError) as caught, refused("ONNX"):
        raise RuntimeError("many words\n  UnsupportedError: no operator for this\nand more")
    assert str(caught.value).startswith(
        "The network cannot be written as ONNX: RuntimeError: UnsupportedError: no operator for this. Operations that the "
        "exporter knows, for any batch, height and width, were expected. "
    )
    with pytest.raises(ExportError, match=r"as ONNX: KeyError: KeyError\. "), refused("ONNX"):
        raise KeyError


def test_what_is_interrupted_is_not_refused():
    with pytest.raises(KeyboardInterrupt), refused("ONNX"):
        raise KeyboardInterrupt


def test_the_exporters_are_quiet_and_afterwards_as_before():
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with quiet():
        assert logger.level == logging.ERROR
        warnings.warn("of their own affairs", stacklevel=1)
    assert logger.level == before
