"""Sweeps by name: the methods that a table or a figure of the paper compares."""

SWEEPS = {
    "table1": ("rotnet", "decouple", "globstat", "codial"),
    "table2": ("codial-cr", "codial-cr-bl", "codial", "codial-cr-bl-co", "random", "codial-cls", "codial-mi"),
    "figure3": (*(f"codial-pairs{count}" for count in range(1, 10)), "codial"),
    "figure4": ("supervised", "globstat", "codial"),
}
