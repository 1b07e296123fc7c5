"""Evaluation metrics: average precision of tags and detections, intersection over union."""
