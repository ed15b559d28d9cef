"""Adaptive pooling that leaves torch at any size: the ONNX exporter ties torch's own to the size of its example.

Legend: B batch, C channels, H W pixels.
"""

import torch
from torch import Tensor, nn


class AdaptivePool(nn.Module):
    """What `nn.AdaptiveAvgPool2d` does, as a product with one matrix from each side."""

    def __init__(self, height: int | None, width: int | None) -> None:
        """Choose the output's size; None keeps that of the map."""
        super().__init__()
        self.height, self.width = height, width

    def forward(self, image: Tensor) -> Tensor:
        """Return the means (B, C, height, width) of a map (B, C, H, W)."""
        rows, columns = means(image, 2, self.height), means(image, 3, self.width)
        return torch.matmul(torch.matmul(rows, image), columns.transpose(0, 1))


def means(image: Tensor, axis: int, length: int | None) -> Tensor:
    """Return the matrix (length, n) whose row i is the mean of pixels floor(i n / length) up to ceil((i + 1) n / length)."""
    n = image.shape[axis]
    out = n if length is None else length
    to, of = torch.arange(out, device=image.device)[:, None], torch.arange(n, device=image.device)[None]
    count = torch.full_like(to, 1) * n
    start = torch.div(to * count, out, rounding_mode="floor")
    end = torch.div((to + 1) * count + out - 1, out, rounding_mode="floor")
    inside = ((of >= start) & (of < end)).to(image.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def exportable(network: nn.Module) -> nn.Module:
    """Replace the adaptive poolings inside a network, in place, where they give more than one pixel; return it."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = child.output_size if isinstance(child.output_size, tuple) else (child.output_size, child.output_size)
                if tuple(size) != (1, 1):
                    setattr(module, name, AdaptivePool(*size))
    return network
