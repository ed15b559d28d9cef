"""Check the contract of a custom network with small images, forward and backward.

The contract: images (B, C, H, W) of any size from 16 pixels on to logits (B, K, H, W), one tensor, of the same height and
width; in eval mode the output of an image depends on that image alone.

Shapes: B batch, C channels, K classes, H W pixels.
"""

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segexp.errors import ConfigError, listed

EVEN, ODD = (64, 64), (49, 67)
"""Test sizes: one that every network supports, and one that requires the contract."""
PAD = "Pad inside the network, and crop the logits: segexp.models.blocks has pad_to(image, stride) and crop_to(logits, image)"


def check_network(network: nn.Module, name: str, channels: int, classes: int) -> None:
    """Test a network on small random images; the network and all random generators are unchanged.

    Args:
        network: the object built from the configuration.
        name: for messages, such as its dotted path.
        channels: C.
        classes: K.

    Raises:
        ConfigError: naming the violated part of the contract and how to fix it.
    """
    if not isinstance(network, nn.Module):
        raise _broken(name, f"is {type(network).__name__}", "a torch.nn.Module", "Derive the class from torch.nn.Module")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise _broken(
            name,
            "has no parameter to train",
            "layers that are attributes of the module",
            "Keep lists of layers in nn.ModuleList",
        )
    tried = copy.deepcopy(network).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _check_training(tried.train(), name, torch.randn(2, channels, *EVEN), classes)
        tried.eval()
        with torch.no_grad():
            _logits(tried, name, torch.randn(1, channels, *ODD), classes, PAD)
            _check_alone(tried, name, torch.randn(1, channels, *EVEN), classes)


def head_sizes(network: nn.Module, name: str, channels: int, classes: int) -> list[tuple[int, int]]:
    """Return height and width of each output of `forward_scales` for an image of 64x64, finest first.

    Raises:
        ConfigError: the network does not support deep supervision as required by the contract.
    """
    offered = (
        f"the attribute deep_supervision, true, and a method forward_scales(image) that returns logits (B, {classes}, h, w)"
    )
    if not getattr(network, "deep_supervision", False) or not hasattr(network, "forward_scales"):
        raise _broken(name, "has no heads for deep supervision", offered, "Type deep_supervision=null")
    tried = copy.deepcopy(network).cpu().eval()
    image = torch.zeros(1, channels, *EVEN)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        scales = tried.forward_scales(image)  # type: ignore[operator]
    fit = isinstance(scales, list | tuple) and scales and all(isinstance(each, Tensor) and each.ndim == 4 for each in scales)
    if not fit or any(each.shape[:2] != (1, classes) for each in scales):
        raise _broken(
            name, f"gives {_described(scales)} by forward_scales", f"a list of logits (B, {classes}, h, w)", "Return a list"
        )
    sizes = [(each.shape[2], each.shape[3]) for each in scales]
    if sizes != sorted(sizes, reverse=True):
        shown = listed(f"{height}x{width}" for height, width in sizes)
        raise _broken(name, f"gives heads of {shown} by forward_scales", "the finest first", "Turn the list round")
    return sizes


def _check_training(network: nn.Module, name: str, image: Tensor, classes: int) -> None:
    """Check one step in training mode, at a size that every network supports."""
    before = image.clone()
    logits = _logits(network, name, image, classes, "Run it on torch.randn(2, C, 64, 64) to see where")
    if not torch.equal(before, image):
        raise _broken(
            name,
            "changes its input in place",
            "the image untouched, which is used again",
            "Write x = x - mean and not x -= mean; give the first activation inplace=False",
        )
    sums = logits.detach().sum(dim=1)
    if logits.detach().min() >= 0 and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        raise _broken(
            name,
            "returns probabilities: the outputs of each pixel sum to 1",
            "logits; the loss takes the softmax itself",
            "Leave the softmax at the end of forward out",
        )
    mask = torch.randint(classes, (image.shape[0], *image.shape[2:]))
    hint = "Look for detach(), .data, numpy() and torch.no_grad() in forward"
    if not logits.requires_grad:
        raise _broken(name, "returns logits without a gradient", "an output that training can differentiate", hint)
    try:
        F.cross_entropy(logits.float(), mask).backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise _broken(
            name, f"fails in the backward pass: {_reason(error)}", "an output that can be differentiated", hint
        ) from error
    if not any(p.grad is not None and p.grad.any() for p in network.parameters()):
        raise _broken(name, "has no parameter that a gradient reaches", "an output that depends on its parameters", hint)


def _check_alone(network: nn.Module, name: str, image: Tensor, classes: int) -> None:
    """Check that the output of an image in eval mode is deterministic and independent of the batch."""
    first, again = (_logits(network, name, image, classes, PAD) for _ in range(2))
    if _differ(first, again):
        raise _broken(
            name,
            "gives another output for the same image the second time in eval mode",
            "no chance outside of training",
            "Use nn.Dropout, or functional.dropout(x, p, self.training)",
        )
    neighbour = 3 * torch.randn_like(image) + 1
    if _differ(first, _logits(network, name, torch.cat([image, neighbour]), classes, PAD)[:1]):
        raise _broken(
            name,
            "mixes the batch in eval mode: the output of an image depends on the images beside it",
            "an output that depends on its own image alone",
            "Look for operations over axis 0, and for norms with track_running_stats=False",
        )


def _logits(network: nn.Module, name: str, image: Tensor, classes: int, do: str) -> Tensor:
    """Return the output of a network for an image after checking that it is logits."""
    shape = "x".join(map(str, image.shape[2:]))
    try:
        found = network(image)
    except Exception as error:
        mode = "training" if network.training else "eval"
        raise _broken(
            name,
            f"fails on images {tuple(image.shape)} in {mode} mode: {_reason(error)}",
            f"forward(image) takes any height and width from 16 on, {shape} too",
            do,
        ) from error
    wanted = (image.shape[0], classes, *image.shape[2:])
    if not isinstance(found, Tensor):
        raise _broken(name, f"returns {_described(found)}", f"one tensor of logits {wanted}", _choice(found, wanted))
    if found.ndim != 4 or found.shape[0] != image.shape[0]:
        raise _broken(
            name,
            f"returns a tensor {tuple(found.shape)} for images {tuple(image.shape)}",
            f"logits {wanted}",
            "Keep all four axes",
        )
    if found.shape[1] != classes:
        raise _broken(
            name,
            f"gives {found.shape[1]} channels for {classes} classes",
            "one logit per class, the background too: two for a binary task, where a softmax stands for the sigmoid",
            "Take their number from the argument num_classes, or name its own: 'model.ARGUMENT=${data.num_classes}'",
        )
    if found.shape[2:] != image.shape[2:]:
        given = "x".join(map(str, found.shape[2:]))
        bigger = "return functional.interpolate(logits, image.shape[2:], mode='bilinear')"
        raise _broken(
            name,
            f"gives logits of {given} for an image of {shape}",
            "logits of the image's own height and width, odd ones too",
            PAD if image.shape[2:] == ODD else f"Enlarge them at the end of forward: {bigger}",
        )
    if not found.is_floating_point():
        raise _broken(name, f"returns {found.dtype}", "logits, which are floating point", "Leave the argmax out")
    if not found.isfinite().all():
        raise _broken(
            name,
            f"gives logits that are not finite for images {tuple(image.shape)}",
            "finite numbers",
            "Look for divisions by 0",
        )
    return found


def _choice(found: object, wanted: tuple[int, ...]) -> str:
    """Explain how to return one tensor if a network returns several."""
    pairs = (
        list(found.items()) if isinstance(found, Mapping) else list(enumerate(found)) if isinstance(found, list | tuple) else []
    )
    right = [key for key, each in pairs if isinstance(each, Tensor) and tuple(each.shape) == wanted]
    if not right:
        return "Return the logits alone"
    return (
        f"Return the entry [{right[0]!r}] of it alone; further heads go into a method forward_scales(image), which returns a "
        "list of them, finest first, for deep_supervision=true"
    )


def _described(found: object) -> str:
    """Describe the output of a network."""
    if isinstance(found, Tensor):
        return f"a tensor {tuple(found.shape)}"
    if isinstance(found, Mapping):
        return f"a dict ({listed(f'{key}: {_described(each)}' for key, each in found.items())})"
    if isinstance(found, list | tuple):
        return f"a {'list' if isinstance(found, list) else 'tuple'} of {len(found)} ({listed(map(_described, found))})"
    return f"{type(found).__name__}" if found is not None else "nothing (forward has no return)"


def _differ(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) > 1e-3 * (1e-6 + float(one.abs().max()))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"


def _broken(name: str, found: str, expected: str, do: str) -> ConfigError:
    return ConfigError(f"The network {name} {found}", f"Expected {expected}", do)
