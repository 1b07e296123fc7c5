"""Sweeps over configurations, and the CIFAR-10 study."""
