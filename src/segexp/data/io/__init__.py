"""Pictures on disk: every common format, read without loss, written whole."""
