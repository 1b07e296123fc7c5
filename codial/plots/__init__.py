"""Functions that return matplotlib Figures; the only package that imports matplotlib."""
