"""Adaptation of library networks for training: removal of unused weights, and norms that accept a single value.

Shapes: B batch, C channels, H W pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segexp.models.blocks import GroupNorm


def drop_unused(network: nn.Module, image: Tensor) -> Tensor:
    """Remove the layers that do not affect the output, found by one forward and backward pass.

    An encoder used at three of five levels still contains the deeper ones: nine tenths of the weights for PSPNet on ResNet-34;
    and parameters without gradients fail with several GPUs.

    Args:
        network: modified in place; ineffective parameters of used layers are frozen.
        image: (B, C, H, W) of a supported size.

    Returns:
        The detached output for the image.
    """
    called: set[int] = set()
    hooks = [layer.register_forward_hook(lambda this, *_: called.add(id(this))) for layer in network.modules()]
    training = network.training
    try:
        with torch.enable_grad():
            out: Tensor = network.eval()(image)
            parameters = list(network.parameters())
            gradients = torch.autograd.grad(out.sum(), parameters, allow_unused=True)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    reached = {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    _drop(network, called, reached)
    for parameter in network.parameters():
        if id(parameter) not in reached:
            parameter.requires_grad_(False)
    return out.detach()


def _drop(parent: nn.Module, called: set[int], reached: set[int]) -> None:
    for name, child in parent.named_children():
        own = [id(p) for p in child.parameters()]
        if own and not reached & set(own) and not any(id(layer) in called for layer in child.modules()):
            setattr(parent, name, nn.Identity())
        else:
            _drop(child, called, reached)


def accept_single_values(network: nn.Module) -> None:
    """Let every batch norm accept a single value per channel in training: a batch of 1, pooled to a single pixel.

    torch rejects it, since one value has no variance. Such a map is normalised by the running statistics, which are not
    updated; everything else, including the state dict, is unchanged. Hooks are used instead of a subclass, because timm's
    batch norm includes the activation. Group norms, which torch rejects in evaluation as well, are replaced.
    """
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.GroupNorm:
                setattr(parent, name, _own(child))
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.register_forward_pre_hook(_before)
            layer.register_forward_hook(_after, always_call=True)


def _own(norm: nn.GroupNorm) -> GroupNorm:
    made = GroupNorm(norm.num_groups, norm.num_channels, norm.eps, norm.affine)
    made.load_state_dict(norm.state_dict())
    return made.train(norm.training)


def _before(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    image = inputs[0]
    if layer.training and layer.running_mean is not None and image.numel() == image.shape[1]:
        layer.training = False
        layer.__dict__["lone"] = True


def _after(layer: nn.Module, *_: object) -> None:
    if layer.__dict__.pop("lone", False):
        layer.training = True
