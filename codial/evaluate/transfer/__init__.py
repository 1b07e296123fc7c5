"""What a trunk is worth on PASCAL VOC: classification by frozen features, and networks fine-tuned from it."""

from codial.evaluate.transfer.classification import ClassificationConfig, Classified, classify
from codial.evaluate.transfer.detection import Detection, DetectionConfig, detect
from codial.evaluate.transfer.report import TransferReport
from codial.evaluate.transfer.segmentation import Segmentation, SegmentationConfig, segment
from codial.evaluate.transfer.table import transfer_table

__all__ = [
    "ClassificationConfig",
    "Classified",
    "Detection",
    "DetectionConfig",
    "Segmentation",
    "SegmentationConfig",
    "TransferReport",
    "classify",
    "detect",
    "segment",
    "transfer_table",
]
