"""The methods: from one number that a network says of an image to how much each place of the image speaks for it.

Grad-CAM, integrated gradients and occlusion are Captum's, which is imported when the first one is asked for; Grad-CAM++ and
what makes them Seg-Grad-CAM (the number: a mean over a region, see `segexp.explainability.explainer`) are here.

Shapes: B batch, C channels, h w pixels as the network sees the image; m n cells of a layer's map.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Score = Callable[[Tensor], Tensor]
"""Images (B, C, h, w) to a number for each, (B,)."""

OF_LAYER = ("gradcam", "gradcam++", "seg_gradcam")
WHOLE = ("gradcam", "gradcam++")
"""Those whose score is the mean over all pixels, whatever the region."""
SIGNED = ("integrated_gradients", "occlusion")
"""Those of the pixels themselves, whose maps also say what speaks against the class."""
METHODS = (*OF_LAYER, *SIGNED)

AT_ONCE = 1 << 18
"""Pixels in one pass of a method that needs many."""


def grad_cam(score: Score, image: Tensor, layer: nn.Module) -> Tensor:
    """Return Grad-CAM (Selvaraju et al., ICCV 2017), (m, n), no value below 0.

    The channels of the layer's map, each weighted by the mean gradient of the score to it, summed; what is left above 0.
    With a score over a region this is Seg-Grad-CAM (Vinogradova, Dibrov, Myers, AAAI 2020).

    Args:
        score: what is explained.
        image: (1, C, h, w).
        layer: run once in a pass, with a map (1, channels, m, n).
    """
    from captum.attr import LayerGradCam

    found: Tensor = LayerGradCam(score, layer).attribute(image.requires_grad_(), relu_attributions=True)
    return found[0, 0].detach()


def grad_cam_pp(score: Score, image: Tensor, layer: nn.Module) -> Tensor:
    """Return Grad-CAM++ (Chattopadhay, Sarkar, Howlader, Balasubramanian, WACV 2018), (m, n), no value below 0.

    As Grad-CAM, but the weight of a channel is the sum of its positive gradients, each with the share alpha = g^2 / (2 g^2 +
    g^3 times the sum of the channel), so that several objects count alike however large they are. As in the paper the
    derivatives are those of exp(score), whose factor exp(score) is left out: it scales the map as a whole.

    Args:
        score: what is explained.
        image: (1, C, h, w).
        layer: run once in a pass, with a map (1, channels, m, n).
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, given: Tensor) -> Tensor:
        kept.append(given)
        return given.clone()  # what follows may change it in place

    hook = layer.register_forward_hook(keep)
    try:
        total = score(image.requires_grad_()).sum()
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(total, kept[0])
    with torch.no_grad():
        maps, square = kept[0], gradient**2
        below = 2 * square + square * gradient * maps.sum(dim=(2, 3), keepdim=True)
        alpha = square / torch.where(below != 0, below, torch.ones_like(below))
        weight = (alpha * gradient.relu()).sum(dim=(2, 3), keepdim=True)
        return (weight * maps).sum(dim=1)[0].relu()


def integrated_gradients(score: Score, image: Tensor, baseline: Tensor, steps: int) -> tuple[Tensor, float]:
    """Return integrated gradients (Sundararajan, Taly, Yan, ICML 2017), (h, w), and by how much their sum is too large.

    The gradients on the straight way from an image without content to the image, times their difference, summed over the
    channels. The values sum to the score of the image less that of the baseline and the second number, which more steps make
    smaller.

    Args:
        score: what is explained.
        image: (1, C, h, w).
        baseline: likewise.
        steps: points on the way.
    """
    from captum.attr import IntegratedGradients

    batch = max(1, AT_ONCE // (image.shape[2] * image.shape[3]))
    found, missed = IntegratedGradients(score).attribute(
        image.requires_grad_(), baseline, n_steps=steps, internal_batch_size=batch, return_convergence_delta=True
    )
    return found[0].sum(dim=0).detach().float(), float(missed[0])


def occlusion(score: Score, image: Tensor, baseline: Tensor, window: int) -> Tensor:
    """Return occlusion (Zeiler and Fergus, ECCV 2014), (h, w): how much the score falls when a pixel's surroundings are hidden.

    A square is moved over the image in steps of half its side; a pixel's value is the mean over the squares that hid it.

    Args:
        score: what is explained.
        image: (1, C, h, w).
        baseline: likewise: what a square is filled with.
        window: side of the square in pixels, at most that of the image.
    """
    from captum.attr import Occlusion

    channels, height, width = image.shape[1:]
    batch = max(1, AT_ONCE // (height * width))
    side = (channels, min(window, height), min(window, width))
    steps = (channels, *(max(1, length // 2) for length in side[1:]))
    with torch.no_grad():
        found: Tensor = Occlusion(score).attribute(
            image, sliding_window_shapes=side, strides=steps, baselines=baseline, perturbations_per_eval=batch
        )
    return found[0].mean(dim=0).float()  # every channel of a square is hidden at once, and has the same value
