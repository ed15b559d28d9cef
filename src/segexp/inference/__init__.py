"""From a prepared image to logits at the original image size, in windows if it is large. Pure torch."""

from segexp.inference.sliding_window import SMALLEST, Axis, Read, plan, segment, window_positions
from segexp.inference.tta import IDENTITY, VIEWS, View, views

__all__ = ["IDENTITY", "SMALLEST", "VIEWS", "Axis", "Read", "View", "plan", "segment", "views", "window_positions"]
