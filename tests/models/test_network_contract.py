"""What every network in conf/model keeps to, in a small edition of it."""

import inspect
import io
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import get_class
from omegaconf import OmegaConf

from segexp.config.composition import register_resolvers
from segexp.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "model"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
LIBRARY = yaml.safe_load((Path(__file__).resolve().parents[1] / "small_networks.yaml").read_text(encoding="utf-8"))
"""The networks of libraries, and what makes each of them small; the others have a `width`."""
BIG = {"deeplabv3", "fcn"}
"""No encoder of theirs is small."""
every_network = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in BIG)) for name in FILES]
)
OPTIONS = {"attention_unet": {"up": "bilinear", "attention": "gate"}}
"""Files that are options of a network: what they say in place of its defaults."""
own_network = pytest.mark.parametrize("name", [name for name in FILES if name not in LIBRARY])


def settings(name, channels=3, classes=2):
    register_resolvers()
    facts = {"data": {"channels": channels, "num_classes": classes}, "deep_supervision": None}
    config = OmegaConf.create({**facts, "model": OmegaConf.load(FILES[name])})
    return OmegaConf.to_container(config.model, resolve=True)


def make(name, channels=3, classes=2, **changes):
    torch.manual_seed(0)
    arguments = settings(name, channels, classes)
    target = get_class(arguments.pop("_target_"))
    return target(**(arguments | LIBRARY.get(name, {"width": 4}) | changes))


NORMED = [name for name in FILES if "norm" in settings(name)]
"""The published U-Net has no norm, and libraries have their own."""


def test_all_files_are_found():
    own = {"attention_unet", "dilated", "resunet", "unet", "unet_paper", "unetpp"}
    assert set(FILES) >= own | set(LIBRARY)


@own_network
def test_file_says_every_default(name):
    arguments = settings(name)
    parameters = inspect.signature(get_class(arguments.pop("_target_"))).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    assert set(arguments) == set(parameters)
    said = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    assert {key: arguments[key] for key in defaults} == said | OPTIONS.get(name, {})


@every_network
@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_forward_backward_save_load(name, classes, channels):
    net, other = make(name, channels, classes), make(name, channels, classes)
    for batch, size in ((2, (64, 64)), (1, (97, 131)), (1, (16, 16))):
        image = torch.randn(batch, channels, *size)
        before = image.clone()
        logits = net(image)
        assert logits.shape == (batch, classes, *size)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()
        net.zero_grad()
        logits.square().mean().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
        assert any(p.grad is not None and p.grad.any() for p in net.parameters())
        assert torch.equal(image, before), "the image is the caller's"
    with torch.no_grad():
        for p in net.parameters():
            p += 0.01 * torch.randn_like(p)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    net.eval(), other.eval()
    for size in ((64, 64), (97, 131)):
        image = torch.randn(1, channels, *size)
        assert torch.equal(net(image), other(image))


@every_network
def test_stride_is_an_attribute(name):
    net = make(name)
    assert type(net.stride) is int
    assert net.stride & (net.stride - 1) == 0


@pytest.mark.parametrize("name", NORMED)
@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
def test_every_norm_at_the_smallest_size(name, norm):
    net = make(name, norm=norm).eval()
    assert net(torch.randn(1, 3, 16, 16)).isfinite().all()
    assert net.train()(torch.randn(2, 3, 16, 16)).isfinite().all()


@every_network
def test_gradients_reach_all_parameters(name):
    net = make(name)
    net(torch.randn(2, 3, 64, 64)).square().mean().backward()
    trained = {key: p for key, p in net.named_parameters() if p.requires_grad}
    assert [key for key, p in trained.items() if p.grad is None] == []
    if name not in LIBRARY:  # timm's residual blocks start as the identity, with a zero that stops some gradients
        assert [key for key, p in trained.items() if not p.grad.any()] == []
    assert all(p.grad.isfinite().all() for p in trained.values())


@every_network
def test_evaluation_is_deterministic_and_of_each_image_alone(name):
    net = make(name).eval()
    image = torch.randn(3, 3, 33, 50)
    logits = net(image)
    assert torch.equal(net(image), logits)
    torch.testing.assert_close(net(image[1:2]), logits[1:2], rtol=1e-4, atol=1e-4)


@own_network
def test_a_shift_by_the_stride_shifts_the_logits(name):
    changes = {"rates": [1, 1, 2]} if name == "dilated" else {"depth": 3}
    net = make(name, **changes).eval()
    step = net.stride
    image = torch.randn(1, 3, 128, 128)
    shifted = torch.roll(image, (step, -step), (2, 3))
    torch.testing.assert_close(
        net(shifted)[..., 56:72, 56:72],
        torch.roll(net(image), (step, -step), (2, 3))[..., 56:72, 56:72],
        rtol=1e-4,
        atol=1e-4,
    )


@every_network
def test_channels_last_and_autocast_agree(name):
    net = make(name, **({"norm": "group"} if name in NORMED else {})).eval()
    image = torch.randn(2, 3, 40, 56)
    expected = net(image)
    net = net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(image.to(memory_format=torch.channels_last)), expected, rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(image.to(memory_format=torch.channels_last))
    assert half.dtype == torch.bfloat16
    assert (half.float() - expected).abs().mean() < 0.05 * expected.abs().mean()


@every_network
def test_learns_a_square(name):
    net = make(name)
    image = torch.randn(4, 3, 32, 32)
    mask = torch.zeros(4, 32, 32, dtype=torch.long)
    mask[(slice(None), slice(16, None)) if name in BIG else (slice(None), slice(8, 20), slice(10, 25))] = 1
    image[mask.unsqueeze(1).expand_as(image) == 1] += 1.5
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(net(image), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


@every_network
def test_trace_at_one_size_runs_at_others(name):
    net = make(name).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated")
        if name in LIBRARY:  # they check sizes on the way
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        traced = torch.jit.trace(net, torch.randn(1, 3, 45, 70), check_trace=False)
    for size in ((16, 16), (97, 131), (64, 40)):
        image = torch.randn(2, 3, *size)
        torch.testing.assert_close(
            traced(image), net(image), rtol=1e-4, atol=1e-4, msg=lambda text, size=size: f"{size}: {text}"
        )


@pytest.mark.parametrize(
    ("name", "changes", "found"),
    [
        *((name, {"channels": 0}, "model.in_channels is 0") for name in FILES),
        *((name, {"classes": 1}, "model.num_classes is 1") for name in FILES),
        *((name, {"width": 0}, "model.width is 0") for name in FILES if name not in LIBRARY),
        *((name, {"norm": "layer"}, "model.norm is 'layer'") for name in NORMED),
    ],
)
def test_nonsense_is_refused(name, changes, found):
    with pytest.raises(ConfigError) as error:
        make(name, **changes)
    assert error.value.found == found
    assert error.value.expected
    assert error.value.do
