import pytest
import torch

from segexp.errors import ConfigError
from segexp.models import UNetPlusPlus

NODES = {f"conv{i}_{j}" for i in range(5) for j in range(5 - i)}


def nodes(net):
    return {name for name, _ in net.named_children() if name.startswith("conv")}


def test_as_large_as_published():
    with torch.device("meta"):
        net = UNetPlusPlus(3, 2)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(9.04e6, rel=0.02)
    assert [getattr(net, f"conv{i}_0")[1][0].out_channels for i in range(5)] == [32, 64, 128, 256, 512]


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_nodes_of_the_paper(depth):
    net = UNetPlusPlus(1, 2, width=2, depth=depth)
    assert nodes(net) == {name for name in NODES if int(name[4]) + int(name[6]) < depth}
    assert net.stride == 2 ** (depth - 1)
    net(torch.randn(2, 1, 32, 32)).square().mean().backward()
    assert all(p.grad.any() for p in net.parameters())


def test_each_node_sees_its_row_and_the_one_below():
    net = UNetPlusPlus(1, 2, width=2)
    seen = {}
    for name in NODES:
        getattr(net, name).register_forward_hook(lambda _, inputs, out, name=name: seen.update({name: (inputs[0], out)}))
    net(torch.randn(2, 1, 32, 32))
    for name in NODES:
        i, j = int(name[4]), int(name[6])
        if j:
            row = [seen[f"conv{i}_{k}"][1] for k in range(j)]
            below = torch.nn.functional.interpolate(seen[f"conv{i + 1}_{j - 1}"][1], scale_factor=2, mode="bilinear")
            assert torch.equal(seen[name][0], torch.cat([*row, below], dim=1))
        elif i:
            assert torch.equal(seen[name][0], torch.nn.functional.max_pool2d(seen[f"conv{i - 1}_0"][1], 2))


def test_a_shallow_network_is_the_corner_of_a_deep_one():
    deep, shallow = UNetPlusPlus(1, 2, width=2, deep_supervision=True), UNetPlusPlus(1, 2, width=2, depth=3)
    state = {key: value for key, value in deep.state_dict().items() if key in shallow.state_dict()}
    state |= {f"heads.0.{key}": value for key, value in deep.heads[1].state_dict().items()}
    shallow.load_state_dict(state)
    image = torch.randn(1, 1, 32, 48)
    torch.testing.assert_close(shallow.eval()(image), deep.eval().forward_scales(image)[2])


def test_heads_last_column_first():
    net = UNetPlusPlus(1, 3, width=2, deep_supervision=True).eval()
    image = torch.randn(2, 1, 37, 50)
    scales = net.forward_scales(image)
    assert [tuple(logits.shape) for logits in scales] == [(2, 3, 37, 50)] * 4
    before = [logits.detach().clone() for logits in scales]
    with torch.no_grad():
        net.heads[3].bias += 1  # the head of x0_4
    moved = [not torch.equal(a, b) for a, b in zip(before, net.forward_scales(image), strict=True)]
    assert moved == [True, False, False, False]


def test_prediction_is_the_average_of_the_heads():
    net = UNetPlusPlus(1, 2, width=2, deep_supervision=True).eval()
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(net(image), sum(net.forward_scales(image)) / 4)


def test_without_deep_supervision_there_is_one_scale():
    net = UNetPlusPlus(1, 2, width=2).eval()
    image = torch.randn(1, 1, 32, 32)
    (only,) = net.forward_scales(image)
    assert torch.equal(only, net(image))


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_pruned_network_is_that_head_of_the_whole(level):
    whole = UNetPlusPlus(1, 3, width=2, deep_supervision=True)
    whole(torch.randn(2, 1, 32, 32))  # moves the running statistics
    pruned = UNetPlusPlus(1, 3, width=2, deep_supervision=True, prune_to=level)
    state = whole.state_dict()
    pruned.load_state_dict(state)
    assert len(state) == len(whole.state_dict()), "the caller's own is left alone"
    image = torch.randn(2, 1, 37, 50)
    heads = whole.eval().forward_scales(image)[::-1]
    assert torch.equal(pruned.eval()(image), heads[level - 1])
    assert [torch.equal(a, b) for a, b in zip(pruned.forward_scales(image)[::-1], heads, strict=False)] == [True] * level
    assert nodes(pruned) == {name for name in NODES if int(name[4]) + int(name[6]) <= level}
    assert len(pruned.heads) == level


def test_a_pruned_network_runs_no_more_than_it_needs():
    net = UNetPlusPlus(1, 2, width=2, deep_supervision=True, prune_to=2).eval()
    ran = []
    for name, layer in net.named_modules():
        layer.register_forward_hook(lambda _, inputs, out, name=name: ran.append(name))
    net(torch.randn(1, 1, 32, 32))
    assert {name for name in ran if name.startswith(("conv", "heads")) and name.count(".") == name.startswith("heads")} == {
        *("conv0_0", "conv1_0", "conv0_1", "conv2_0", "conv1_1", "conv0_2", "heads.1")
    }


def test_the_state_of_a_pruned_network_loads_into_one_alike():
    one, other = (UNetPlusPlus(1, 2, width=2, deep_supervision=True, prune_to=2).eval() for _ in range(2))
    other.load_state_dict(one.state_dict())
    image = torch.randn(1, 1, 32, 32)
    assert torch.equal(one(image), other(image))


def test_pruning_hides_no_weights_that_do_not_fit():
    state = UNetPlusPlus(1, 2, width=2, deep_supervision=True).state_dict()
    pruned = UNetPlusPlus(1, 2, width=2, deep_supervision=True, prune_to=2)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*mystery\.weight"):
        pruned.load_state_dict({**state, "mystery.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"Missing key.*conv0_2"):
        pruned.load_state_dict({key: value for key, value in state.items() if "conv0_2" not in key})
    inner = torch.nn.Sequential(pruned)
    inner.load_state_dict({f"0.{key}": value for key, value in state.items()})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"prune_to": 5, "deep_supervision": True},
            "model.prune_to is 5. One of 1, 2, 3, 4: a UNet++ of depth 5 has the levels L1 to L4. Set model.prune_to=4 or "
            "less, or leave it out for the whole network.",
        ),
        ({"prune_to": 0, "deep_supervision": True}, "model.prune_to is 0. One of 1, 2, 3, 4"),
        ({"prune_to": True, "deep_supervision": True}, "model.prune_to is True."),
        ({"prune_to": 3, "depth": 3, "deep_supervision": True}, "One of 1, 2: a UNet++ of depth 3 has the levels L1 to L2."),
        (
            {"prune_to": 2},
            "model.prune_to=2 without deep supervision. Heads on L1 to L4, which training with deep supervision makes. Train "
            "with deep_supervision=true, or leave model.prune_to out.",
        ),
    ],
)
def test_pruning_that_cannot_be(arguments, text):
    with pytest.raises(ConfigError) as error:
        UNetPlusPlus(1, 2, width=2, **arguments)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("depth", "text"), [(1, "model.depth is 1. an integer of at least 2"), (6, "model.depth is 6. 2 to 5 for UNet++. Set")]
)
def test_nonsense_is_refused(depth, text):
    with pytest.raises(ConfigError) as error:
        UNetPlusPlus(1, 2, depth=depth)
    assert text in str(error.value)
