"""From a prepared image to class scores at the image's own size: whole, or in windows when it is large. Pure torch."""

from segexp.inference.blend import Read, segment, softmax_, strips
from segexp.inference.tta import IDENTITY, VIEWS, View, views
from segexp.inference.windows import SMALLEST, Axis, lay, plan

__all__ = ["IDENTITY", "SMALLEST", "VIEWS", "Axis", "Read", "View", "lay", "plan", "segment", "softmax_", "strips", "views"]
