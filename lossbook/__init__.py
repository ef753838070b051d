"""lossbook: the loss functions of deep learning, derived, run and vetted.

Book: https://lossbook.example/
"""

from lossbook.classification.cross_entropy import cross_entropy
from lossbook.classification.focal import focal_loss, sigmoid_focal_loss
from lossbook.criterion import Criterion
from lossbook.distribution.distillation import distillation_loss
from lossbook.distribution.earth_mover import earth_mover_distance, squared_emd_loss
from lossbook.distribution.kl_divergence import kl_divergence
from lossbook.examine import examine
from lossbook.ranking.margin_ranking import margin_ranking_loss
from lossbook.regression.absolute_error import absolute_error
from lossbook.regression.huber import huber_loss, smooth_l1_loss
from lossbook.regression.poisson_nll import poisson_nll
from lossbook.regression.squared_error import squared_error

__version__ = "0.1.0"

__all__ = [
    "Criterion",
    "absolute_error",
    "cross_entropy",
    "distillation_loss",
    "earth_mover_distance",
    "examine",
    "focal_loss",
    "huber_loss",
    "kl_divergence",
    "margin_ranking_loss",
    "poisson_nll",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "squared_emd_loss",
    "squared_error",
]
