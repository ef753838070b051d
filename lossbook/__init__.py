"""lossbook: the loss functions of deep learning, derived, run and vetted.

Book: https://lossbook.example/
"""

from lossbook.classification.cross_entropy import cross_entropy
from lossbook.classification.focal import focal_loss, sigmoid_focal_loss
from lossbook.criterion import Criterion
from lossbook.examine import examine
from lossbook.regression.huber import huber_loss, smooth_l1_loss

__version__ = "0.1.0"

__all__ = [
    "Criterion",
    "cross_entropy",
    "examine",
    "focal_loss",
    "huber_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
]
