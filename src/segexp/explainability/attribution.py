"""Attribution methods: the contribution of each image location to a score of the network.

Grad-CAM, integrated gradients and occlusion use Captum, which is imported on first use. The score is a mean over a region (see
`segexp.explainability.explainer`), which turns Grad-CAM into Seg-Grad-CAM.

Shapes: B batch, C channels, h w pixels as the network sees the image; m n cells of a layer's map.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Score = Callable[[Tensor], Tensor]
"""Images (B, C, h, w) to a number for each, (B,)."""

OF_LAYER = ("gradcam", "gradcam++", "seg_gradcam")
WHOLE = ("gradcam", "gradcam++")
"""Methods whose score is the mean over all pixels, regardless of the region."""
SIGNED = ("integrated_gradients", "occlusion")
"""Pixel-level methods, whose maps also contain negative contributions."""
METHODS = (*OF_LAYER, *SIGNED)

AT_ONCE = 1 << 18
"""Pixels per pass of a method that needs many passes."""


def grad_cam(score: Score, image: Tensor, layer: nn.Module) -> Tensor:
    """Return Grad-CAM (Selvaraju et al., ICCV 2017), (m, n), non-negative.

    The rectified sum of the layer's channels, each weighted by its mean gradient. With a score over a region this is
    Seg-Grad-CAM (Vinogradova, Dibrov, Myers, AAAI 2020).

    Args:
        score: to explain.
        image: (1, C, h, w).
        layer: run once per pass, with a map (1, channels, m, n).
    """
    from captum.attr import LayerGradCam

    found: Tensor = LayerGradCam(score, layer).attribute(image.requires_grad_(), relu_attributions=True)
    return found[0, 0].detach()


def grad_cam_pp(score: Score, image: Tensor, layer: nn.Module) -> Tensor:
    """Return Grad-CAM++ (Chattopadhay, Sarkar, Howlader, Balasubramanian, WACV 2018), (m, n), non-negative.

    As Grad-CAM, but a channel's weight is the sum of its positive gradients, each multiplied by alpha = g^2 / (2 g^2 + g^3
    times the sum of the channel), so that objects count equally regardless of their size. As in the paper, derivatives are of
    exp(score); the common factor exp(score) is omitted.

    Args:
        score: to explain.
        image: (1, C, h, w).
        layer: run once per pass, with a map (1, channels, m, n).
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, given: Tensor) -> Tensor:
        kept.append(given)
        return given.clone()  # later layers may modify it in place

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
    """Return integrated gradients (Sundararajan, Taly, Yan, ICML 2017), (h, w), and the excess of their sum.

    The sum of the map minus the excess equals the score of the image minus that of the baseline; more steps reduce the
    excess.

    Args:
        score: to explain.
        image: (1, C, h, w).
        baseline: (1, C, h, w).
        steps: of the integration.
    """
    from captum.attr import IntegratedGradients

    batch = max(1, AT_ONCE // (image.shape[2] * image.shape[3]))
    found, missed = IntegratedGradients(score).attribute(
        image.requires_grad_(), baseline, n_steps=steps, internal_batch_size=batch, return_convergence_delta=True
    )
    return found[0].sum(dim=0).detach().float(), float(missed[0])


def occlusion(score: Score, image: Tensor, baseline: Tensor, window: int) -> Tensor:
    """Return occlusion (Zeiler and Fergus, ECCV 2014), (h, w): the fall of the score when a pixel's surroundings are hidden.

    A square moves over the image in steps of half its side; values are averaged over the squares that hide a pixel.

    Args:
        score: to explain.
        image: (1, C, h, w).
        baseline: (1, C, h, w), replaces the hidden pixels.
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
    return found[0].mean(dim=0).float()  # all channels are hidden together and have equal values
