from tests.mutants.machine import bugs


def found(mistake):
    return f"test_a_mistake_is_found[{mistake}]"


def right(mistake):
    return f"test_the_call_put_right_is_left_alone[{mistake}]"


BUGS = bugs(
    "lossbook.examination",
    "tests/test_examine.py",
    [
        (
            "the mildest finding first",
            'order = ("wrong", "suspicious", "note")',
            'order = ("note", "suspicious", "wrong")',
            "test_the_worst_finding_stands_first",
        ),
        (
            "findings in the order of the checks",
            "return Report(sorted(findings, key=lambda finding: order.index(finding.severity)))",
            "return Report(findings)",
            "test_the_worst_finding_stands_first",
        ),
        (
            "the last check is left out",
            "for check in _CHECKS for",
            "for check in _CHECKS[:-1] for",
            found("weights of 0"),
        ),
        (
            "an error is no finding",
            "error = raised\n",
            "pass\n",
            found("a setting of another shape"),
        ),
        (
            "the inputs are changed",
            "return value.detach().clone() if",
            "return value if",
            "test_the_call_leaves_no_trace",
        ),
        (
            "gradients are off",
            "torch.inference_mode(False), torch.enable_grad():",
            "torch.no_grad():",
            "test_it_works_where_gradients_are_off",
        ),
        (
            "ignored labels are labels",
            "kept = inputs[1] != ignore_index",
            "kept = None",
            right("void pixels"),
        ),
        (
            "torch's ignored labels are labels",
            "kept = labels != ignored",
            "pass",
            "test_what_is_masked_or_ignored_is_not_looked_at",
        ),
        (
            "the reader's module loses its reduction",
            "loss = copy.copy(loss)\n",
            "pass\n",
            "test_a_module_of_torch_keeps_its_reduction_and_its_ignored_labels_count_for_nothing",
        ),
        (
            "what is not known is passed over",
            'if call.home != "lossbook" and not _KNOWN & call.given.keys():',
            "if False:",
            "test_of_a_loss_that_it_does_not_know_it_says_so",
        ),
        (
            "torch's losses are not known",
            '_TORCH.get(_name(function), ()) if _home(function) == "torch" else ()',
            "()",
            "test_a_loss_of_torch_is_known_by_its_own_name",
        ),
        (
            "shapes that broadcast are fine",
            "if a and b and x.shape != y.shape:",
            "if a and b and x.numel() != y.numel():",
            found("a column against a row"),
        ),
        (
            "a label of C is a class",
            "outside = (labels < 0) | (labels >= count)",
            "outside = (labels < 0) | (labels > count)",
            found("labels that start at 1"),
        ),
        (
            "a label below 0 is a class",
            "outside = (labels < 0) | (labels >= count)",
            "outside = labels >= count",
            found("several labels below 0"),
        ),
        (
            "nan is a number",
            "bad = ~value.detach().isfinite() & call.shown(value)",
            "bad = value.detach().isinf() & call.shown(value)",
            found("nan in the input"),
        ),
        (
            "infinity is a number",
            "bad = ~value.detach().isfinite() & call.shown(value)",
            "bad = value.detach().isnan() & call.shown(value)",
            found("a target of infinity"),
        ),
        (
            "no class can be ruled out",
            "            bad &= ~value.isneginf()\n",
            "            pass\n",
            right("a true class ruled out"),
        ),
        (
            "a gradient of nan is one",
            "elif not call.gradient.isfinite().all():",
            "elif False:",
            found("a root at 0"),
        ),
        (
            "a cut graph is whole",
            "if first.is_floating_point() and name:\n",
            "if first.is_floating_point() and not name:\n",
            found("a graph cut inside the loss"),
        ),
        (
            "a sigmoid in the graph is not seen",
            "made_by = _history(value)[-1]\n        if made_by not in",
            "made_by = _history(value)[0][:0]\n        if made_by not in",
            found("a sigmoid in the graph"),
        ),
        (
            "softmax on the wrong axis",
            'int(self.given.get("dim", 1))',
            "1",
            "test_classes_are_where_dim_says",
        ),
        (
            "what is under the mask counts",
            "seen = value.detach()[call.shown(value)].double()",
            "seen = value.detach().double()",
            "test_what_is_masked_or_ignored_is_not_looked_at",
        ),
    ],
)
