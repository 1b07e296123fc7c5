"""Benchmarks against alternative libraries and recipes; `make bench` runs all of them."""
