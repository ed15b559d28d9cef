"""Networks whose explanation is known."""

from fixtures.explainability import known, learned, segmenter  # noqa: F401
