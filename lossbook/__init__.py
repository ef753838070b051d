"""lossbook: the loss functions of deep learning, derived, run and vetted.

Book: https://lossbook.example/
"""

import ast
import importlib
import pkgutil
import sys
from typing import TYPE_CHECKING

__version__ = "0.2.0"

# All that is public, a line a name: type checkers read imports, Python the table that `_homes`
# makes of them. So a name is loaded, and torch with it, when it is first asked for.
if TYPE_CHECKING:
    from lossbook.classification.bi_tempered import bi_tempered_loss as bi_tempered_loss
    from lossbook.classification.bi_tempered import tempered_softmax as tempered_softmax
    from lossbook.classification.binary_cross_entropy import (
        binary_cross_entropy as binary_cross_entropy,
    )
    from lossbook.classification.cross_entropy import cross_entropy as cross_entropy
    from lossbook.classification.focal import focal_loss as focal_loss
    from lossbook.classification.focal import sigmoid_focal_loss as sigmoid_focal_loss
    from lossbook.classification.hinge import crammer_singer_loss as crammer_singer_loss
    from lossbook.classification.hinge import hinge_loss as hinge_loss
    from lossbook.classification.hinge import squared_hinge_loss as squared_hinge_loss
    from lossbook.classification.hinge import weston_watkins_loss as weston_watkins_loss
    from lossbook.classification.poly import poly1_cross_entropy as poly1_cross_entropy
    from lossbook.classification.poly import poly1_focal_loss as poly1_focal_loss
    from lossbook.classification.poly import poly_loss as poly_loss
    from lossbook.criterion import Criterion as Criterion
    from lossbook.detection.iou_balanced import (
        iou_balanced_classification_loss as iou_balanced_classification_loss,
    )
    from lossbook.detection.iou_balanced import (
        iou_balanced_localization_loss as iou_balanced_localization_loss,
    )
    from lossbook.detection.multibox import decode_boxes as decode_boxes
    from lossbook.detection.multibox import encode_boxes as encode_boxes
    from lossbook.detection.multibox import match_priors as match_priors
    from lossbook.detection.multibox import multibox_loss as multibox_loss
    from lossbook.distribution.distillation import distillation_loss as distillation_loss
    from lossbook.distribution.earth_mover import earth_mover_distance as earth_mover_distance
    from lossbook.distribution.earth_mover import squared_emd_loss as squared_emd_loss
    from lossbook.distribution.jensen_shannon import generalized_jsd as generalized_jsd
    from lossbook.distribution.jensen_shannon import (
        total_variation_distance as total_variation_distance,
    )
    from lossbook.distribution.kl_divergence import kl_divergence as kl_divergence
    from lossbook.embedding.arcface import arcface_loss as arcface_loss
    from lossbook.embedding.arcface import sphereface_loss as sphereface_loss
    from lossbook.embedding.center import center_loss as center_loss
    from lossbook.embedding.center import update_centers as update_centers
    from lossbook.embedding.contrastive import contrastive_loss as contrastive_loss
    from lossbook.embedding.cosine import cosine_distance as cosine_distance
    from lossbook.embedding.cosine import cosine_embedding_loss as cosine_embedding_loss
    from lossbook.embedding.ge2e import ge2e_contrast_loss as ge2e_contrast_loss
    from lossbook.embedding.ge2e import ge2e_softmax_loss as ge2e_softmax_loss
    from lossbook.embedding.info_nce import info_nce as info_nce
    from lossbook.embedding.info_nce import nt_xent as nt_xent
    from lossbook.embedding.multiple_negatives_ranking import (
        multiple_negatives_ranking_loss as multiple_negatives_ranking_loss,
    )
    from lossbook.embedding.triplet import batch_hard_triplet_loss as batch_hard_triplet_loss
    from lossbook.embedding.triplet import triplet_loss as triplet_loss
    from lossbook.examination import examine as examine
    from lossbook.gathering import gathered as gathered
    from lossbook.generative.least_squares_gan import (
        least_squares_discriminator_loss as least_squares_discriminator_loss,
    )
    from lossbook.generative.least_squares_gan import (
        least_squares_generator_loss as least_squares_generator_loss,
    )
    from lossbook.generative.minimax_gan import (
        minimax_discriminator_loss as minimax_discriminator_loss,
    )
    from lossbook.generative.minimax_gan import minimax_generator_loss as minimax_generator_loss
    from lossbook.generative.minimax_gan import (
        non_saturating_generator_loss as non_saturating_generator_loss,
    )
    from lossbook.generative.wasserstein_gan import gradient_penalty as gradient_penalty
    from lossbook.generative.wasserstein_gan import (
        wasserstein_critic_loss as wasserstein_critic_loss,
    )
    from lossbook.generative.wasserstein_gan import (
        wasserstein_generator_loss as wasserstein_generator_loss,
    )
    from lossbook.image.perceptual import perceptual_loss as perceptual_loss
    from lossbook.image.perceptual import style_loss as style_loss
    from lossbook.image.total_variation import total_variation as total_variation
    from lossbook.language.auxiliary import load_balancing_loss as load_balancing_loss
    from lossbook.language.auxiliary import z_loss as z_loss
    from lossbook.language.linear_cross_entropy import linear_cross_entropy as linear_cross_entropy
    from lossbook.language.token_losses import dft_loss as dft_loss
    from lossbook.language.token_losses import unlikelihood_loss as unlikelihood_loss
    from lossbook.policy.grpo import cispo_loss as cispo_loss
    from lossbook.policy.grpo import group_advantages as group_advantages
    from lossbook.policy.grpo import gspo_loss as gspo_loss
    from lossbook.policy.grpo import kl_penalty as kl_penalty
    from lossbook.policy.grpo import leave_one_out_advantages as leave_one_out_advantages
    from lossbook.policy.ppo import clipped_value_loss as clipped_value_loss
    from lossbook.policy.ppo import negative_entropy as negative_entropy
    from lossbook.policy.ppo import ppo_clip_loss as ppo_clip_loss
    from lossbook.preference.bradley_terry import bradley_terry_loss as bradley_terry_loss
    from lossbook.preference.dpo import dpo_loss as dpo_loss
    from lossbook.preference.dpo import ipo_loss as ipo_loss
    from lossbook.preference.dpo import kto_loss as kto_loss
    from lossbook.preference.dpo import sequence_log_probs as sequence_log_probs
    from lossbook.preference.reference_free import orpo_loss as orpo_loss
    from lossbook.preference.reference_free import simpo_loss as simpo_loss
    from lossbook.ranking.margin_ranking import margin_ranking_loss as margin_ranking_loss
    from lossbook.regression.absolute_error import absolute_error as absolute_error
    from lossbook.regression.huber import huber_loss as huber_loss
    from lossbook.regression.huber import smooth_l1_loss as smooth_l1_loss
    from lossbook.regression.poisson_nll import poisson_nll as poisson_nll
    from lossbook.regression.squared_error import squared_error as squared_error
    from lossbook.segmentation.boundary import boundary_loss as boundary_loss
    from lossbook.segmentation.boundary import signed_distance_map as signed_distance_map
    from lossbook.segmentation.dice import dice_loss as dice_loss
    from lossbook.segmentation.gradient_consistency import (
        gradient_consistency_loss as gradient_consistency_loss,
    )
    from lossbook.segmentation.gradient_consistency import (
        image_gradient_loss as image_gradient_loss,
    )
    from lossbook.segmentation.jaccard import jaccard_loss as jaccard_loss
    from lossbook.sequence.ctc import ctc_loss as ctc_loss


def _homes(source: bytes) -> dict[str, str]:
    """Read the module of every public name from the text of this file."""
    return {
        alias.name: str(node.module)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lossbook.")
        for alias in node.names
    }


_HOMES = _homes(pkgutil.get_data(__name__, "__init__.py") or b"")

if not TYPE_CHECKING:  # So that type checkers refuse a name that is not in the list.
    __all__ = sorted(_HOMES)

    def __getattr__(name):
        if name not in _HOMES:
            why = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(why, name=name, obj=sys.modules[__name__])
        found = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
