"""Pure functions from data to a matplotlib Figure: the only package that imports matplotlib."""
