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
from lossbook.detection.iou_balanced import (
    iou_balanced_classification_loss,
    iou_balanced_localization_loss,
)
from lossbook.detection.multibox import decode_boxes, encode_boxes, match_priors, multibox_loss
from lossbook.distribution.distillation import distillation_loss
from lossbook.distribution.earth_mover import earth_mover_distance, squared_emd_loss
from lossbook.distribution.kl_divergence import kl_divergence
from lossbook.embedding.arcface import arcface_loss, sphereface_loss
from lossbook.embedding.center import center_loss, update_centers
from lossbook.embedding.contrastive import contrastive_loss
from lossbook.embedding.cosine import cosine_distance, cosine_embedding_loss
from lossbook.embedding.ge2e import ge2e_contrast_loss, ge2e_softmax_loss
from lossbook.embedding.info_nce import info_nce, nt_xent
from lossbook.embedding.multiple_negatives_ranking import multiple_negatives_ranking_loss
from lossbook.embedding.triplet import batch_hard_triplet_loss, triplet_loss
from lossbook.examine import examine
from lossbook.generative.least_squares_gan import (
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)
from lossbook.generative.minimax_gan import (
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
)
from lossbook.generative.wasserstein_gan import (
    gradient_penalty,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
)
from lossbook.image.perceptual import perceptual_loss, style_loss
from lossbook.image.total_variation import total_variation
from lossbook.ranking.margin_ranking import margin_ranking_loss
from lossbook.regression.absolute_error import absolute_error
from lossbook.regression.huber import huber_loss, smooth_l1_loss
from lossbook.regression.poisson_nll import poisson_nll
from lossbook.regression.squared_error import squared_error
from lossbook.segmentation.boundary import boundary_loss, signed_distance_map
from lossbook.segmentation.dice import dice_loss
from lossbook.segmentation.gradient_consistency import (
    gradient_consistency_loss,
    image_gradient_loss,
)
from lossbook.segmentation.jaccard import jaccard_loss
from lossbook.sequence.ctc import ctc_loss

__version__ = "0.2.0"

__all__ = [
    "Criterion",
    "absolute_error",
    "arcface_loss",
    "batch_hard_triplet_loss",
    "bi_tempered_loss",
    "binary_cross_entropy",
    "boundary_loss",
    "center_loss",
    "contrastive_loss",
    "cosine_distance",
    "cosine_embedding_loss",
    "crammer_singer_loss",
    "cross_entropy",
    "ctc_loss",
    "decode_boxes",
    "dice_loss",
    "distillation_loss",
    "earth_mover_distance",
    "encode_boxes",
    "examine",
    "focal_loss",
    "ge2e_contrast_loss",
    "ge2e_softmax_loss",
    "gradient_consistency_loss",
    "gradient_penalty",
    "hinge_loss",
    "huber_loss",
    "image_gradient_loss",
    "info_nce",
    "iou_balanced_classification_loss",
    "iou_balanced_localization_loss",
    "jaccard_loss",
    "kl_divergence",
    "least_squares_discriminator_loss",
    "least_squares_generator_loss",
    "margin_ranking_loss",
    "match_priors",
    "minimax_discriminator_loss",
    "minimax_generator_loss",
    "multibox_loss",
    "multiple_negatives_ranking_loss",
    "non_saturating_generator_loss",
    "nt_xent",
    "perceptual_loss",
    "poisson_nll",
    "poly1_cross_entropy",
    "poly1_focal_loss",
    "poly_loss",
    "sigmoid_focal_loss",
    "signed_distance_map",
    "smooth_l1_loss",
    "sphereface_loss",
    "squared_emd_loss",
    "squared_error",
    "squared_hinge_loss",
    "style_loss",
    "tempered_softmax",
    "total_variation",
    "triplet_loss",
    "update_centers",
    "wasserstein_critic_loss",
    "wasserstein_generator_loss",
    "weston_watkins_loss",
]
