"""Render images, masks, errors and heat maps: arrays in, 8-bit RGB arrays out."""

from segexp.visualization.figures import confusion_figure
from segexp.visualization.grids import GAP, Row, contact_sheet, dice_text, panel, triptych
from segexp.visualization.heatmaps import (
    OUTLINE,
    ExplainedCase,
    colour_bar,
    colour_heat,
    explanation_sheet,
    heat_map,
    overlay_explanation,
    overlay_heat,
)
from segexp.visualization.images import INK, PAPER, Array, Colour, Palette, to_display
from segexp.visualization.masks import (
    CORRECT,
    FALSE_ALARM,
    IGNORED,
    MISSED,
    WRONG_CLASS,
    error_kinds,
    error_map,
    layer_mask,
    overlay,
    overlay_bits,
)

__all__ = ["INK", "PAPER", "Array", "Colour", "Palette", "confusion_figure", "to_display"]
__all__ += ["GAP", "Row", "contact_sheet", "dice_text", "panel", "triptych"]
__all__ += ["OUTLINE", "ExplainedCase", "colour_bar", "colour_heat", "explanation_sheet", "heat_map"]
__all__ += ["overlay_explanation", "overlay_heat"]
__all__ += ["CORRECT", "FALSE_ALARM", "IGNORED", "MISSED", "WRONG_CLASS"]
__all__ += ["error_kinds", "error_map", "layer_mask", "overlay", "overlay_bits"]
