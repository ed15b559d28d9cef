"""Losses: called as loss(logits, mask), they return a float32 scalar. They import torch, numpy and OpenCV only.

Losses based on segmentation_models_pytorch import it on construction.
"""

from segexp.losses.base import Loss
from segexp.losses.border import BorderCrossEntropy
from segexp.losses.boundary import Boundary, HausdorffDT
from segexp.losses.cldice import ClDice
from segexp.losses.combine import WeightedSum, scales_loss
from segexp.losses.library import MCC, Jaccard, Lovasz, Tversky
from segexp.losses.overlap import Dice, FocalTversky
from segexp.losses.pixelwise import BCE, OHEM, CrossEntropy, Focal
from segexp.losses.unified import UnifiedFocal

__all__ = [
    "BCE",
    "MCC",
    "OHEM",
    "BorderCrossEntropy",
    "Boundary",
    "ClDice",
    "CrossEntropy",
    "Dice",
    "Focal",
    "FocalTversky",
    "HausdorffDT",
    "Jaccard",
    "Loss",
    "Lovasz",
    "Tversky",
    "UnifiedFocal",
    "WeightedSum",
    "scales_loss",
]
