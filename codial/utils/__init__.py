"""Small utilities without knowledge of runs, data or models: atomic files, JSON, devices, processes."""
