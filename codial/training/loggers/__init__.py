"""Loggers, to which a run's settings, curves and images are sent besides its folder: `train.loggers`."""
