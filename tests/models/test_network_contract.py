"""What every network in conf/model keeps to, in a small edition of it."""

import inspect
import io
import warnings
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf

from segexp.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "model"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
SMALL = {"width": 4}
every_network = pytest.mark.parametrize("name", FILES)


def settings(name, channels=3, classes=2):
    config = OmegaConf.create({"data": {"channels": channels, "num_classes": classes}, "model": OmegaConf.load(FILES[name])})
    return OmegaConf.to_container(config.model, resolve=True)


def make(name, channels=3, classes=2, **changes):
    torch.manual_seed(0)
    arguments = settings(name, channels, classes)
    target = get_class(arguments.pop("_target_"))
    return target(**(arguments | SMALL | changes))


def test_all_files_are_found():
    assert set(FILES) >= {"unet", "unetpp", "dilated"}


@every_network
def test_file_says_every_default(name):
    arguments = settings(name)
    parameters = inspect.signature(get_class(arguments.pop("_target_"))).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    assert set(arguments) == set(parameters)
    assert {key: arguments[key] for key in defaults} == {
        key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()
    }


@every_network
@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(64, 64), (97, 131), (16, 16)])
def test_logits_have_the_size_of_the_image(name, classes, channels, size):
    net = make(name, channels, classes)
    logits = net(torch.randn(2, channels, *size))
    assert logits.shape == (2, classes, *size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@every_network
def test_stride_is_an_attribute(name):
    net = make(name)
    assert type(net.stride) is int
    assert net.stride & (net.stride - 1) == 0


@every_network
@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
def test_every_norm_at_the_smallest_size(name, norm):
    net = make(name, norm=norm).eval()
    assert net(torch.randn(1, 3, 16, 16)).isfinite().all()
    assert net.train()(torch.randn(2, 3, 16, 16)).isfinite().all()


@every_network
def test_gradients_reach_all_parameters(name):
    net = make(name)
    net(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad.isfinite().all() for p in net.parameters())


@every_network
def test_state_survives_a_file(name):
    net, other = make(name), make(name)
    net(torch.randn(2, 3, 32, 32))  # moves the running statistics
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    image = torch.randn(1, 3, 40, 40)
    assert torch.equal(net.eval()(image), other.eval()(image))


@every_network
def test_evaluation_is_deterministic_and_of_each_image_alone(name):
    net = make(name).eval()
    image = torch.randn(3, 3, 33, 50)
    logits = net(image)
    assert torch.equal(net(image), logits)
    torch.testing.assert_close(net(image[1:2]), logits[1:2], rtol=1e-4, atol=1e-4)


@every_network
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
    net = make(name, norm="group").eval()
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
    mask[:, 8:20, 10:25] = 1
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
@pytest.mark.parametrize("size", [(16, 16), (97, 131), (64, 40)])
def test_trace_at_one_size_runs_at_others(name, size):
    net = make(name).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated")
        traced = torch.jit.trace(net, torch.randn(1, 3, 45, 70), check_trace=False)
    image = torch.randn(2, 3, *size)
    torch.testing.assert_close(traced(image), net(image), rtol=1e-4, atol=1e-4)


@every_network
def test_export_at_one_size_runs_at_others(name):
    net = make(name).eval()
    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(net, (torch.randn(2, 3, 45, 70),), dynamic_shapes=(sizes,)).module()
    # torch.export guards against maps of a single pixel, so the smallest size is one above the stride
    for size in ((2, 3, 97, 131), (1, 3, 17, 18), (3, 3, 64, 40)):
        image = torch.randn(*size)
        torch.testing.assert_close(program(image), net(image), rtol=1e-4, atol=1e-4)


@every_network
@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"width": 0}, "model.width is 0"),
        ({"norm": "layer"}, "model.norm is 'layer'"),
        ({"channels": 0}, "model.in_channels is 0"),
        ({"classes": 1}, "model.num_classes is 1"),
    ],
)
def test_nonsense_is_refused(name, changes, found):
    with pytest.raises(ConfigError) as error:
        make(name, **changes)
    assert error.value.found == found
    assert error.value.expected
    assert error.value.do
