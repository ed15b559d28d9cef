"""Small segmenters, and what an export is measured with."""

from fixtures.deployment import hasty, material, segmenter, written  # noqa: F401
