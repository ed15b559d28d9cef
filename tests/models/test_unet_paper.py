import pytest
import torch
from torch import nn

from segexp.errors import ConfigError
from segexp.models import UNetPaper
from segexp.models.unet_paper import check_tile


def tiled(net, tile, **arguments):
    """The same network, seeing images in tiles."""
    other = UNetPaper(net.down[0][0].in_channels, net.head.out_channels, tile=tile, **arguments).to(net.head.weight.dtype)
    other.load_state_dict(net.state_dict())
    return other.eval()


def test_572_to_388_through_the_maps_of_figure_1():
    net = UNetPaper(1, 2, width=1).eval()
    sizes = []
    for layer in (*net.down, *(part for pair in zip(net.up, net.join, strict=True) for part in pair)):
        layer.register_forward_hook(lambda _, inputs, out: sizes.append(out.shape[2]))
    assert net.unpadded(torch.randn(1, 1, 572, 572)).shape == (1, 2, 388, 388)
    assert sizes == [568, 280, 136, 64, 28, 56, 52, 104, 100, 200, 196, 392, 388]
    assert (net.margin, net.size_for(388), net.size_for(389)) == (92, 388, 404)


def test_as_large_as_published():
    with torch.device("meta"):
        net = UNetPaper(1, 2)
    assert sum(p.numel() for p in net.parameters()) == 31_030_658
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23, "in total the network has 23 convolutional layers"
    assert all(m.padding == (0, 0) for m in convolutions)
    assert {(m.kernel_size, m.in_channels // m.out_channels) for m in net.up} == {((2, 2), 2)}


def test_dropout_at_the_end_of_the_contracting_path_in_training_only():
    net = UNetPaper(1, 2, width=1, dropout=0.25)
    shapes = []
    net.drop.register_forward_hook(lambda _, inputs, out: shapes.append(tuple(out.shape[1:])))
    image = torch.randn(1, 1, 64, 64)
    assert not torch.equal(net(image), net(image))
    assert shapes[:2] == [(8, 24, 24), (16, 8, 8)]
    assert torch.equal(net.eval()(image), net(image))


@pytest.mark.parametrize("size", [(16, 16), (97, 131), (68, 68), (150, 33)])
@pytest.mark.parametrize("tile", [20, 36, 388])
def test_tiles_give_exactly_what_one_pass_gives(tile, size):
    # weights and pixels are small whole numbers, whose sums float64 holds exactly: no rounding hides behind a tolerance
    net = UNetPaper(1, 2, width=2).double().eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randint(-1, 2, p.shape))
    image = torch.randint(0, 4, (2, 1, *size)).double()
    whole = net(image)
    assert whole.abs().max() < 2**53
    assert len(whole.unique()) > 10
    assert torch.equal(tiled(net, tile, width=2)(image), whole)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_tiles_at_other_depths(depth):
    net = UNetPaper(2, 3, width=2, depth=depth).double().eval()
    image = torch.randn(1, 2, 45, 70).double()
    whole = net(image)
    for tile in (2 * net.stride + 4, 5 * net.stride + 4):
        torch.testing.assert_close(tiled(net, tile, width=2, depth=depth)(image), whole, rtol=0, atol=1e-12)


def test_a_tile_needs_no_more_than_its_part_of_the_image():
    net = tiled(UNetPaper(1, 2, width=1).eval(), 36, width=1)
    sizes = []
    net.down[0].register_forward_hook(lambda _, inputs, out: sizes.append(tuple(inputs[0].shape[2:])))
    net(torch.randn(1, 1, 70, 33))
    assert sizes == [(220, 220), (220, 188), (220, 220), (220, 188), (204, 220), (204, 188)]
    net.train()(torch.randn(1, 1, 70, 33))
    assert sizes[6:] == [(84 + 184, 36 + 184)], "training sees the image whole"


def test_the_border_is_the_mirror_image():
    net = UNetPaper(1, 2, width=1, depth=3).eval()
    image = torch.randn(1, 1, 30, 30)
    mirrored = nn.functional.pad(image, (net.margin, net.margin + 2, net.margin, net.margin + 2), mode="reflect")
    torch.testing.assert_close(net(image), net.unpadded(mirrored)[:, :, :30, :30])


def test_tiles_learn():
    net = UNetPaper(1, 2, width=2, depth=3, tile=12)
    image = torch.randn(2, 1, 30, 30)
    net(image).square().mean().backward()
    assert all(p.grad.any() for p in net.parameters())


@pytest.mark.parametrize(("stride", "sizes"), [(16, (20, 36, 388)), (2, (6, 8, 10)), (4, (8, 12))])
def test_sizes_of_tiles(stride, sizes):
    assert [check_tile(size, stride) for size in sizes] == list(sizes)
    assert check_tile(None, stride) is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"tile": 400},
            "model.tile is 400. a size that comes out of 5 levels of valid convolutions: a multiple of 16, and 4. "
            "Set model.tile=404.",
        ),
        ({"tile": 4}, "Set model.tile=20."),
        ({"tile": 0}, "model.tile is 0. an integer of at least 1."),
        ({"dropout": 1.0}, "model.dropout is 1.0."),
        ({"depth": 1}, "model.depth is 1. an integer of at least 2."),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ConfigError) as error:
        UNetPaper(1, 2, **arguments)
    assert text in str(error.value)
