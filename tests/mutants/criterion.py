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
        "divisor = weights.sum()",
        "divisor = total.new_full((), losses.numel())",
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
        "divisor.where(left.any(), 1)",
        "divisor",
        killed_by="test_nothing_left_is_zero_with_zero_gradient",
    ),
    edited(
        "weights that cancel divide by 1",
        "divisor.where(left.any(), 1)",
        "divisor.where((left if weights is None else weights).sum() != 0, 1)",
        killed_by="test_a_normalizer_of_0_is_1_only_where_nothing_is_left",
    ),
    edited(
        "weights that cancel ignore the normalizer",
        "return total / normalizer",
        "return total / (normalizer if weights is None or weights.sum() else 1)",
        killed_by="test_weights_that_cancel_are_divided_by_the_normalizer",
    ),
    edited(
        "a number as normalizer becomes a float32",
        "return total / normalizer",
        "return total / torch.as_tensor(normalizer)",
        killed_by="test_a_number_as_normalizer_keeps_its_digits",
    ),
    edited(
        "the mean in the dtype of the loss",
        "return total / divisor.where(left.any(), 1)",
        "return (total / divisor.where(left.any(), 1)).to(losses.dtype)",
        killed_by="test_mean_and_sum_are_float32_or_wider_and_none_is_the_losses",
    ),
    edited(
        "the sum in the dtype of the loss",
        "return total\n",
        "return total.to(losses.dtype)\n",
        killed_by="test_half_precision_is_summed_in_float32",
    ),
    edited(
        "a Parameter among the settings is a buffer",
        " and not isinstance(value, nn.Parameter)",
        "",
        killed_by="test_a_parameter_among_the_settings_is_learned",
    ),
    edited(
        "ignored rows are still compared",
        "first in _ROWS",
        "first is None",
        killed_by="test_rows_that_are_compared_cannot_be_ignored",
    ),
    edited(
        "the user's own function of embeddings is refused",
        " and _is_ours(loss)",
        "",
        killed_by="test_other_callables_may_ignore",
    ),
    edited(
        "a function written in C has to have a signature",
        "except ValueError:",
        "except KeyError:",
        killed_by="test_a_callable_without_a_signature",
    ),
    edited(
        "labels by name are not ignored",
        "named[self.second] = labels",
        "pass",
        killed_by="test_inputs_by_name",
    ),
    edited(
        "a thousand weights in the description",
        "{type(value).__name__}{tuple(value.shape)}",
        "{value!r}",
        killed_by="test_description_prints_no_thousand_weights",
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
        "divisor.where(left.any(), 1)",
        "(divisor + 1e-3)",
        killed_by="test_class_weights_equal_torchs_weighted_mean",
    ),
    edited(
        "the denominator at least 1",
        "divisor.where(left.any(), 1)",
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
        "labels = labels.where(kept, 0)",
        "pass",
        killed_by="test_ignore_index_works_for_focal_loss_and_dense_labels",
    ),
    edited(
        "weights broadcast",
        "mask.shape != losses.shape",
        "mask.dim() > losses.dim()",
        killed_by="test_weights_of_another_shape_raise",
    ),
    edited(
        "sums in half precision",
        "wide = torch.promote_types(losses.dtype, torch.float32)",
        "wide = losses.dtype",
        killed_by="test_half_precision_is_summed_in_float32",
    ),
    edited(
        "float32 comes back unreduced from half precision",
        "values.to(losses.dtype) if losses.is_floating_point() else values",
        "values",
        killed_by="test_mean_and_sum_are_float32_or_wider_and_none_is_the_losses",
    ),
    edited(
        "the local count for the global one",
        "divisor = normalizer.to(total).reshape(())",
        "divisor = weights.sum()",
        killed_by="test_accumulated_gradient_is_that_of_the_whole_batch",
    ),
    edited(
        "the normalizer divides the sum of the weights, too",
        "divisor = normalizer.to(total).reshape(())",
        "divisor = (normalizer * (losses.numel() if weights is None else weights.sum())).sum()",
        killed_by="test_normalizer_takes_the_place_of_the_sum_of_weights",
    ),
    edited(
        "a normalizer of shape (1,) makes a loss of shape (1,)",
        ".to(total).reshape(())",
        ".to(total)",
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
        "isinstance(value, Tensor) and not isinstance(value, nn.Parameter):\n                self",
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
