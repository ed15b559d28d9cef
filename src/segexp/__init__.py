"""segexp: train, compare and deploy image segmentation networks from the command line."""

__version__ = "0.1.0"
