"""Pictures of images, masks and errors: arrays in, 8-bit RGB arrays out. Nothing here writes a file."""

from segexp.visualization.figures import confusion_figure
from segexp.visualization.grids import GAP, Row, contact_sheet, dice_text, panel, triptych
from segexp.visualization.heatmaps import OUTLINE, Explained, colour_bar, explanation, heat, heat_map, heat_over, heat_view
from segexp.visualization.images import INK, PAPER, Array, Colour, Palette, to_display
from segexp.visualization.masks import CORRECT, FALSE_ALARM, IGNORED, MISSED, WRONG_CLASS, colour_mask, errors, layered, overlay

__all__ = [
    "CORRECT",
    "FALSE_ALARM",
    "GAP",
    "IGNORED",
    "INK",
    "MISSED",
    "OUTLINE",
    "PAPER",
    "WRONG_CLASS",
    "Array",
    "Colour",
    "Explained",
    "Palette",
    "Row",
    "colour_bar",
    "colour_mask",
    "confusion_figure",
    "contact_sheet",
    "dice_text",
    "errors",
    "explanation",
    "heat",
    "heat_map",
    "heat_over",
    "heat_view",
    "layered",
    "overlay",
    "panel",
    "to_display",
    "triptych",
]
