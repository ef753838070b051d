from tests.mutants.machine import bugs

ROWS = "test_the_rows_of_all_stand_in_the_order_of_the_ranks"
SLOPE = "test_the_gradient_of_own_rows_is_summed_over_all"
SHAPES = "test_other_shapes_raise_on_every_process"
BUGS = bugs(
    "lossbook.gathering",
    "tests/test_gathered.py",
    [
        (
            "own rows first",
            "return torch.cat(parts)",
            "return torch.cat([x, *parts[::2]])",
            ROWS,
        ),
        ("own rows alone", "return torch.cat(parts)", "return x", ROWS),
        ("rows beside each other", "return torch.cat(parts)", "return torch.cat(parts, 1)", ROWS),
        ("a view is sent", "x = x.contiguous()", "x = x.detach()", ROWS),
        ("without a group it waits", "dist.is_available() and ", "", ROWS),
        ("the gradient of this process alone", "        dist.all_reduce(total)\n", "", SLOPE),
        ("the gradient averaged, too", "return total.chunk(", "return (total / 3).chunk(", SLOPE),
        ("the gradient of the first rows", "[dist.get_rank()]", "[0]", SLOPE),
        (
            "the gradient of all is overwritten",
            "total = gradient.clone(memory_format=torch.contiguous_format)",
            "total = gradient.contiguous()",
            SLOPE,
        ),
        (
            "an expanded gradient is sent",
            "gradient.clone(memory_format=torch.contiguous_format)",
            "gradient.detach() if gradient.stride() == (0, 0) else gradient.clone()",
            SLOPE,
        ),
        ("no gradient comes home", "_Gather.apply(x)", "_Gather.apply(x.detach())", SLOPE),
        ("uneven batches pass", "if len(set(kinds)) > 1:", "if len(set(kinds)) > 2:", SHAPES),
        (
            "one neighbor is asked",
            "if len(set(kinds)) > 1:",
            "if kinds[0] != kinds[1]:",
            SHAPES,
        ),
        (
            "only those whose rows are few raise",
            "if len(set(kinds)) > 1:",
            "if max(kinds)[0] != tuple(x.shape):",
            SHAPES,
        ),
    ],
)
