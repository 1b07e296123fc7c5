"""Transfer to PASCAL VOC: classification on frozen features, fine-tuned detection and segmentation."""

from codial.evaluate.transfer.classification import ClassificationConfig, ClassificationResult, classify
from codial.evaluate.transfer.detection import DetectionConfig, DetectionResult, detect
from codial.evaluate.transfer.report import TransferReport
from codial.evaluate.transfer.segmentation import SegmentationConfig, SegmentationResult, segment

__all__ = [
    "ClassificationConfig",
    "ClassificationResult",
    "DetectionConfig",
    "DetectionResult",
    "SegmentationConfig",
    "SegmentationResult",
    "TransferReport",
    "classify",
    "detect",
    "segment",
]
