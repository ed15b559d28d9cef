import pytest
import torch

from segexp.models import UNet
from segexp.models.attention import AttentionGate, ScSE


def test_the_gate_as_the_paper_writes_it():
    gate = AttentionGate(3, 5)
    skip, deep = torch.randn(2, 3, 8, 12), torch.randn(2, 5, 4, 6)
    x = torch.einsum("oiyx,bihywx->bohw", gate.of_skip.weight, skip.reshape(2, 3, 4, 2, 6, 2))
    g = torch.einsum("oi,bihw->bohw", gate.of_gate.weight[:, :, 0, 0], deep) + gate.of_gate.bias.view(1, -1, 1, 1)
    q = torch.einsum("i,bihw->bhw", gate.psi.weight[0, :, 0, 0], (x + g).relu()) + gate.psi.bias
    alpha = q.sigmoid().unsqueeze(1)
    torch.testing.assert_close(gate.alpha(skip, deep), alpha)
    fine = torch.nn.functional.interpolate(alpha, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(gate(skip, deep), skip * fine)


def test_gates_start_almost_open_also_in_a_network():
    gates = [m for m in UNet(1, 2, width=8, attention="gate", up="bilinear").modules() if isinstance(m, AttentionGate)]
    for gate in gates:
        channels, deep = gate.of_skip.in_channels, gate.of_gate.in_channels
        alpha = gate.alpha(torch.rand(1, channels, 16, 16), torch.rand(1, deep, 8, 8))
        assert alpha.min() > 0.9
        assert alpha.max() < 1


def test_a_closed_gate_hides_the_skip():
    gate = AttentionGate(3, 5)
    with torch.no_grad():
        gate.psi.bias.fill_(-100)
    assert gate(torch.randn(1, 3, 8, 8), torch.randn(1, 5, 4, 4)).abs().max() < 1e-20


def test_squeeze_and_excitation_as_the_paper_writes_it():
    block, x = ScSE(6), torch.randn(2, 6, 5, 7)
    first, second = block.channel[1], block.channel[3]
    assert (first.in_channels, first.out_channels, second.out_channels) == (6, 3, 6)
    z = x.mean(dim=(2, 3))
    s = torch.sigmoid((z @ first.weight[:, :, 0, 0].T + first.bias).relu() @ second.weight[:, :, 0, 0].T + second.bias)
    q = torch.sigmoid(torch.einsum("i,bihw->bhw", block.space[0].weight[0, :, 0, 0], x) + block.space[0].bias)
    torch.testing.assert_close(block(x), x * s[:, :, None, None] + x * q[:, None])


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_few_channels(channels):
    assert ScSE(channels)(torch.randn(1, channels, 3, 3)).shape == (1, channels, 3, 3)
