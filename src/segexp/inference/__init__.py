"""From a prepared image to class scores at the original image size: whole, or in windows when it is large. Pure torch."""

from segexp.inference.sliding_window import SMALLEST, Axis, Read, plan, segment, window_positions
from segexp.inference.tta import IDENTITY, VIEWS, View, views

__all__ = ["IDENTITY", "SMALLEST", "VIEWS", "Axis", "Read", "View", "plan", "segment", "views", "window_positions"]
