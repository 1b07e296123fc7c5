"""Readers of data sets, one module each: `read(root, split, ...)` and `problems(root, split)`."""
