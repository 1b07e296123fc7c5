"""The command line `codial COMMAND`: one module per command, each a thin layer over functions of the package.

Modules here import torch, matplotlib and other heavy packages inside functions, so that help, listings and usage errors
are immediate.
"""
