import inspect

import lossbook.criterion
from tests.mutants import Mutant

SOURCE = inspect.getsource(lossbook.criterion)


def edited(name, right, wrong, *, killed_by):
    """Make a Criterion in whose source one piece of text is another."""
    assert SOURCE.count(right) == 1, f"expected one {right!r} in criterion.py"
    namespace = {"__name__": "lossbook.criterion"}
    exec(SOURCE.replace(right, wrong), namespace)
    return Mutant("Criterion", name, killed_by, namespace["Criterion"])


MUTANTS = [
    edited(
        "the weighted mean divides by the count",
        "if weights is None else weights.sum()",
        "",
        killed_by="test_class_weights_equal_torchs_weighted_mean",
    ),
    edited(
        "nan times 0",
        "weights * values.where(weights != 0, 0)",
        "weights * values",
        killed_by="test_zero_weight_removes_nan_and_inf",
    ),
    edited(
        "nan_to_num hides a diverged loss",
        "weights * values.where(weights != 0, 0)",
        "weights * values.nan_to_num()",
        killed_by="test_nan_with_weight_is_not_hidden",
    ),
    edited(
        "0 / 0 when nothing is left",
        "divisor.where(count != 0, 1)",
        "divisor",
        killed_by="test_nothing_left_is_zero_with_zero_gradient",
    ),
    edited(
        "weights that cancel divide by 1",
        "mean = mean.where(count != 0, 0)",
        "mean = mean * 1",
        killed_by="test_weights_that_cancel_leave_nothing",
    ),
    edited(
        "weights cut to the dtype of the loss",
        "wide = torch.promote_types(wide, weights.dtype)",
        "wide = wide",
        killed_by="test_small_weights_keep_their_mean",
    ),
    edited(
        "a normalizer that nobody reads is refused",
        'if self.reduction != "mean":',
        "if False:",
        killed_by="test_sum_and_none_ignore_the_normalizer",
    ),
    edited(
        "an epsilon in the denominator",
        "divisor.where(count != 0, 1)",
        "(divisor + 1e-3)",
        killed_by="test_mean_without_weights_is_the_mean",
    ),
    edited(
        "the denominator at least 1",
        "divisor.where(count != 0, 1)",
        "divisor.clamp_min(1)",
        killed_by="test_small_weights_keep_their_mean",
    ),
    edited(
        "ignored positions in the denominator",
        "weights = kept.to(wide) if weights is None else weights.to(wide).where(kept, 0)",
        "losses = losses.where(kept, 0)",
        killed_by="test_ignore_index_equals_torchs_mean",
    ),
    edited(
        "weights forget the ignored positions",
        "weights.to(wide).where(kept, 0)",
        "weights.to(wide)",
        killed_by="test_class_weights_and_ignore_index_multiply",
    ),
    edited(
        "the loss sees the ignored label",
        "labels.where(kept, 0)",
        "labels",
        killed_by="test_ignore_index_works_for_focal_loss_and_dense_labels",
    ),
    edited(
        "weights broadcast",
        "given.shape != losses.shape",
        "given.dim() > losses.dim()",
        killed_by="test_weights_of_another_shape_raise",
    ),
    edited(
        "sums in half precision",
        "wide = torch.promote_types(losses.dtype, torch.float32)",
        "wide = losses.dtype",
        killed_by="test_half_precision_is_summed_in_float32",
    ),
    edited(
        "float32 comes back from half precision",
        "return mean.to(losses.dtype)",
        "return mean",
        killed_by="test_dtype_is_that_of_the_loss",
    ),
    edited(
        "the local count for the global one",
        "count if normalizer is None else torch.as_tensor(normalizer).to(count).reshape(())",
        "count",
        killed_by="test_accumulated_gradient_is_that_of_the_whole_batch",
    ),
    edited(
        "the normalizer divides the sum of the weights, too",
        "torch.as_tensor(normalizer).to(count).reshape(())",
        "count * normalizer",
        killed_by="test_normalizer_takes_the_place_of_the_sum_of_weights",
    ),
    edited(
        "a normalizer of shape (1,) makes a loss of shape (1,)",
        ".to(count).reshape(())",
        ".to(count)",
        killed_by="test_normalizer_takes_the_place_of_the_sum_of_weights",
    ),
    edited(
        "a normalizer of 0 accepted",
        "not normalizer > 0",
        "normalizer < 0",
        killed_by="test_normalizer_must_be_one_positive_number",
    ),
    edited(
        "class weights left behind on the old device",
        "isinstance(value, Tensor):\n                self",
        "False:\n                self",
        killed_by="test_tensor_settings_move_with_the_module",
    ),
    edited(
        "an unknown reduction is a mean",
        'not in ("mean", "sum", "none")',
        "is None",
        killed_by="test_unknown_reduction_and_setting_raise",
    ),
]
