"""What a library's network needs to train here: no weights that nothing uses, and norms that take a single value.

Shapes: B batch, C channels, H W pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segexp.models.blocks import GroupNorm


def drop_unused(network: nn.Module, image: Tensor) -> Tensor:
    """Take the layers out of a network that its output does not depend on, found by one pass forth and back.

    An encoder that is read at three of its five levels still carries the deeper ones: for PSPNet on ResNet-34 that is nine
    tenths of its weights, and parameters without a gradient stop a training on several GPUs.

    Args:
        network: changed in place; parameters that are without effect in a layer that is used are frozen.
        image: (B, C, H, W) of a size that the network takes.

    Returns:
        What the network gives for the image, detached.
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
    """Let every batch norm take a map with one value per channel in training: a batch of 1, pooled to a single pixel.

    torch refuses it, since one value has no variance. Such a map is normalised by the running statistics, as in evaluation,
    and leaves them as they are; all other maps are normalised as ever. So nothing about the network changes where torch
    would not have stopped, its state dict least of all. Hooks and not a class of its own, because timm's batch norm does
    the activation too. Group norm, which torch refuses a single value per group in evaluation as well, becomes our own.
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
