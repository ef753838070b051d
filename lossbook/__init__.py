"""lossbook: the loss functions of deep learning, derived, run and vetted.

Book: https://lossbook.example/
"""

from lossbook.classification.bi_tempered import bi_tempered_loss, tempered_softmax
from lossbook.classification.binary_cross_entropy import binary_cross_entropy
from lossbook.classification.cross_entropy import cross_entropy
from lossbook.classification.focal import focal_loss, sigmoid_focal_loss
from lossbook.classification.hinge import (
    crammer_singer_loss,
    hinge_loss,
    squared_hinge_loss,
    weston_watkins_loss,
)
from lossbook.classification.poly import poly1_cross_entropy, poly1_focal_loss, poly_loss
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
    "bi_tempered_loss",
    "binary_cross_entropy",
    "crammer_singer_loss",
    "cross_entropy",
    "distillation_loss",
    "earth_mover_distance",
    "examine",
    "focal_loss",
    "hinge_loss",
    "huber_loss",
    "kl_divergence",
    "margin_ranking_loss",
    "poisson_nll",
    "poly1_cross_entropy",
    "poly1_focal_loss",
    "poly_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "squared_emd_loss",
    "squared_error",
    "squared_hinge_loss",
    "tempered_softmax",
    "weston_watkins_loss",
]
