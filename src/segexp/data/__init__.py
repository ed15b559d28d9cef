"""From pictures on disk to cases, arrays and splits."""
