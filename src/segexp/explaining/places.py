"""From the cells of a map to pixels of the image.

Legend: H W pixels of the image as the network sees it, h w cells of a map.
"""

from torch import Tensor, nn
from torch.nn import functional

from segexp.explaining.layers import Layer


def over_image(values: Tensor, layer: Layer, network: nn.Module, size: tuple[int, int]) -> Tensor:
    """Return a map (h, w) of a layer as (H, W), each cell over the pixels that it stands for, bilinear between them.

    Networks reflect an image at its borders until their halvings divide it, evenly on both sides, and the published U-Net
    mirrors it much further (`size_for` and `margin` of `segexp.models.UNetPaper`): a map reaches beyond the image, and what
    does is cut off. Where the number of cells does not follow the size of the image, or cells are no whole number of pixels,
    the map is stretched over all of it.
    """
    for axis in (0, 1):
        values = _along(values.transpose(0, axis), layer.pitch[axis], network, size[axis]).transpose(0, axis)
    return values.contiguous()


def _along(values: Tensor, pitch: float, network: nn.Module, length: int) -> Tensor:
    """Return (length, w) of (h, w)."""
    cells = values.shape[0]
    grown = cells * round(pitch)
    frame = getattr(network, "size_for", lambda given: given)(length)
    if pitch != round(pitch) or grown < length:
        grown = frame = length
    size = (grown, values.shape[1])
    wide = functional.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    start = (grown - frame) // 2
    return wide[start : start + length]
