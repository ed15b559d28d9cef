"""Losses: called as loss(logits, mask), they return a float32 scalar. They import torch and numpy only."""

from segexp.losses.base import Loss
from segexp.losses.combine import WeightedSum, scales_loss
from segexp.losses.overlap import Dice
from segexp.losses.pixelwise import BCE, CrossEntropy, Focal

__all__ = ["BCE", "CrossEntropy", "Dice", "Focal", "Loss", "WeightedSum", "scales_loss"]
