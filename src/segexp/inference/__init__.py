"""From a prepared image to logits at the original image size, in windows if it is large. Pure torch."""

from segexp.inference.sliding_window import SMALLEST, Axis, Read, plan_windows, segment, window_positions
from segexp.inference.tta import IDENTITY, VIEWS, View, views

__all__ = ["IDENTITY", "SMALLEST", "VIEWS", "Axis", "Read", "View", "plan_windows", "segment", "views", "window_positions"]
