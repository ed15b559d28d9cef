"""Check the contract of a custom loss with a small example, forward and backward.

The contract: logits (B, K, H, W) and a mask (B, H, W) of class indices, 255 = ignore, to a differentiable scalar that does not
depend on ignored pixels, even if there are no others.

Shapes: B batch, K classes, H W pixels.
"""

import copy

import torch
from torch import Tensor, nn

from segexp.errors import ConfigError
from segexp.losses.combine import WeightedSum
from segexp.types import IGNORE

SIZE = (16, 16)


def check_losses(loss: nn.Module, key: str, classes: int) -> None:
    """Test a custom loss, or each custom term of a sum.

    Args:
        loss: the object built from the configuration.
        key: of the configuration, for messages.
        classes: K.

    Raises:
        ConfigError: naming the violated part of the contract and how to fix it.
    """
    if isinstance(loss, WeightedSum):
        for name, term in loss.losses.items():
            check_losses(term, f"{key}.terms.{name}.loss", classes)
    elif not type(loss).__module__.startswith("segexp."):
        check_loss(loss, f"{key}={type(loss).__module__}.{type(loss).__qualname__}", classes)


def check_loss(loss: nn.Module, name: str, classes: int) -> None:
    """Test a loss on a small random example; the loss and all random generators are unchanged.

    Args:
        loss: the object built from the configuration.
        name: for messages.
        classes: K.

    Raises:
        ConfigError: naming the violated part of the contract and how to fix it.
    """
    if not isinstance(loss, nn.Module):
        raise _broken(
            name, "is no torch.nn.Module", "a module that is called with (logits, mask)", "Derive the class from nn.Module"
        )
    tried = copy.deepcopy(loss).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logits, mask = torch.randn(2, classes, *SIZE), torch.randint(classes, (2, *SIZE))
        slope = _gradient(tried, name, logits, mask, "a mask of class indices")
        if not slope.any():
            raise _broken(
                name, "has no gradient: the logits make no difference", "a slope", "Look for argmax, comparisons and detach()"
            )
        _check_ignored(tried, name, logits, mask)


def _check_ignored(loss: nn.Module, name: str, logits: Tensor, mask: Tensor) -> None:
    """Check that pixels of 255 are ignored, also if there are no others."""
    part = mask.clone()
    part[:, :5] = IGNORE
    _gradient(loss, name, logits, part, f"a mask in which some pixels are ignored ({IGNORE})")
    other = logits.clone()
    other[:, :, :5] += 10 * torch.randn_like(other[:, :, :5])
    with torch.no_grad():
        one, two = float(loss(logits, part)), float(loss(other, part))
    if abs(one - two) > 1e-4 * max(1.0, abs(one)):
        raise _broken(
            name,
            f"does not ignore the pixels of {IGNORE}: other logits there turn {one:.4g} into {two:.4g}",
            "a loss that these pixels have no part in",
            f"Leave them out: valid = mask != {IGNORE}",
        )
    _gradient(loss, name, logits, torch.full_like(mask, IGNORE), f"a mask in which every pixel is ignored ({IGNORE})")


def _gradient(loss: nn.Module, name: str, logits: Tensor, mask: Tensor, what: str) -> Tensor:
    """Return the gradient of the loss (B, K, H, W) after checking the returned value."""
    given, truth = logits.clone().requires_grad_(), mask.clone()
    do = "Divide by a number of pixels that is at least 1, as in total / valid.sum().clamp_min(1)"
    try:
        found = loss(given, truth)
    except Exception as error:
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"
        raise _broken(
            name,
            f"fails on {what}: {reason}",
            "forward(logits, mask) takes raw logits (B, K, H, W) and int64 classes (B, H, W)",
            f"Class {IGNORE} is none: leave such pixels out, as ignore_index={IGNORE} does"
            if IGNORE in mask
            else f"Try it on torch.randn{tuple(logits.shape)}",
        ) from error
    if not isinstance(found, Tensor) or found.ndim:
        shown = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise _broken(
            name, f"returns {shown}", "one number as a tensor without axes", "Return its mean, or the one entry that counts"
        )
    if not torch.equal(truth, mask):
        raise _broken(name, "changes the mask in place", "the mask untouched, which others use", "Change a copy: mask.clone()")
    if not found.isfinite():
        raise _broken(name, f"is {float(found.detach())} on {what}", "a finite number", do)
    if not found.requires_grad:
        hint = "Look for detach(), item(), argmax and comparisons; where no pixel counts, return logits.sum() * 0"
        raise _broken(name, f"has no gradient on {what}", "a number that can be differentiated", hint)
    found.backward()  # type: ignore[no-untyped-call]
    slope = torch.zeros_like(logits) if given.grad is None else given.grad
    if not slope.isfinite().all():
        raise _broken(name, f"has a gradient that is not finite on {what}", "finite slopes, or the weights become NaN", do)
    return slope


def _broken(name: str, found: str, expected: str, do: str) -> ConfigError:
    return ConfigError(f"The loss {name} {found}", f"Expected {expected}", do)
