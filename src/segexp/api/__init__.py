"""The Python API: one function per command."""
