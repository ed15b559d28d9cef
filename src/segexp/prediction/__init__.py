"""Folders of pictures in, folders of masks out: what to read, what to write, what to look at first."""
