"""Activation checkpointing changes the memory of a training step and nothing else."""

import copy
import io

import pytest
import torch
from torch import nn

from segexp.errors import ConfigError
from segexp.models import DilatedNet, EncoderDecoder, ResUNet, UNet, UNetPlusPlus
from segexp.models.checkpointing import SIDE, checkpoint_activations, checkpointed_blocks, find_blocks, record_pass

SMALL = {"encoder": "tu-test_resnet", "decoder": {"channels": [16, 16, 8, 8, 8]}}
KINDS = {
    "unet": (UNet, {"width": 4}),
    "dropout": (UNet, {"width": 4, "dropout": 0.5, "up": "bilinear", "attention": "gate"}),
    "unetpp": (UNetPlusPlus, {"width": 4, "deep_supervision": True}),
    "resunet": (ResUNet, {"width": 4, "norm": "group"}),
    "dilated": (DilatedNet, {"width": 4}),
    "unet_encoder": (EncoderDecoder, {"architecture": "unet", **SMALL}),
    "manet": (EncoderDecoder, {"architecture": "manet", **SMALL}),
    "segformer": (EncoderDecoder, {"architecture": "segformer", "encoder": "tu-test_convnext"}),
}


def make(name="unet", **more):
    torch.manual_seed(0)
    target, arguments = KINDS[name]
    return target(3, 2, **arguments | more)


def stepped(network, *, size=(2, 3, 48, 64), steps=2, dtype=None):
    """Train some steps from the same seed; return the losses."""
    torch.manual_seed(3)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            outputs = network.forward_scales if getattr(network, "deep_supervision", False) else lambda x: [network(x)]
            loss = sum(logits.float().square().mean() for logits in outputs(torch.rand(size)))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def saved_bytes(network, size=(2, 3, 64, 64)):
    """The bytes that one forward pass keeps for the backward pass, each storage once; weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.train()(torch.rand(size))
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("name", KINDS)
def test_a_step_is_the_same_with_less_memory(name):
    plain = make(name)
    other = copy.deepcopy(plain)
    before = torch.random.get_rng_state()
    checkpoint_activations(other, 3, name)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(checkpointed_blocks(other)) >= 2
    assert not checkpointed_blocks(plain)
    assert list(other.state_dict()) == list(plain.state_dict())
    for (key, one), two in zip(plain.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two), f"{key} changed in the trial"
    assert stepped(plain) == pytest.approx(stepped(other), rel=1e-6)
    buffers = dict(other.named_buffers())
    for key, buffer in plain.named_buffers():
        assert torch.equal(buffer, buffers[key]), key
    weights = dict(other.named_parameters())
    for key, weight in plain.named_parameters():
        torch.testing.assert_close(weights[key], weight, rtol=1e-5, atol=1e-7)
    assert saved_bytes(other) < 0.75 * saved_bytes(plain)


def test_half_precision_is_the_same_in_the_second_pass():
    plain = make("unet", dropout=0.3)
    other = copy.deepcopy(plain)
    checkpoint_activations(other, 3, "unet")
    assert stepped(plain, dtype=torch.bfloat16) == stepped(other, dtype=torch.bfloat16)
    for one, two in zip(plain.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_a_batch_that_a_level_sees_as_a_single_value():
    plain = make("unet")
    other = copy.deepcopy(plain)
    checkpoint_activations(other, 3, "unet")
    assert stepped(plain, size=(1, 3, 16, 16)) == stepped(other, size=(1, 3, 16, 16))
    for one, two in zip(plain.buffers(), other.buffers(), strict=True):
        assert torch.equal(one, two)


def test_a_copy_has_blocks_of_its_own_and_weights_load_either_way():
    first, second = make("unet"), make("unet")
    checkpoint_activations(first, 3, "unet")
    twin = copy.deepcopy(first)
    assert checkpointed_blocks(twin) == checkpointed_blocks(first)
    with torch.no_grad():
        twin.stem[0][0].weight.zero_()
    assert twin.stem.forward.args[0].__self__ is twin.stem
    image = torch.rand(1, 3, 32, 32)
    assert not torch.equal(twin.train()(image), first.train()(image))
    stepped(first)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(second.eval()(image), first.eval()(image))


def test_validation_is_not_concerned(monkeypatch):
    network = make("unet")
    checkpoint_activations(network, 3, "unet")
    monkeypatch.setattr("segexp.models.checkpointing.checkpoint", lambda *_, **__: pytest.fail("computed again"))
    with torch.no_grad():
        network.eval()(torch.rand(1, 3, 32, 32))


def test_blocks_are_disjoint_and_need_less():
    network = make("unetpp").train()
    image = torch.rand(2, 3, SIDE, SIDE)
    blocks = find_blocks(network, image)
    assert not [(a, b) for a in blocks for b in blocks if a != b and b.startswith(f"{a}.")]
    found = record_pass(network, image)
    assert found.peak(blocks) < 0.7 * found.peak()
    assert found.peak(blocks) > sum(found.inside(name) for name in blocks) / len(blocks)


class Spoils(nn.Module):
    """A block that changes what it was given."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Sigmoid(), nn.Conv2d(4, 4, 3, padding=1), nn.Sigmoid())

    def forward(self, x):
        return self.inner(x.mul_(2))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 1), Spoils(), Spoils()), "one of the variables needed for gradient computation"),
        (nn.Conv2d(1, 2, 3, padding=1), "no layer of it that holds others keeps any maps of its own"),
    ],
)
def test_a_network_that_cannot_do_it_is_refused_in_words(network, reason):
    with pytest.raises(ConfigError) as caught:
        checkpoint_activations(network, 1, "mine.Net")
    text = str(caught.value)
    assert text.startswith(f"trainer.checkpoint_activations=true does not work with the network mine.Net: {reason}")
    assert "Expected modules inside it that give the same again for the same input, and leave that as it is." in text
    assert text.endswith("Type trainer.checkpoint_activations=false; a smaller data.crop or data.batch_size saves memory too.")
