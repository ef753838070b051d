"""Elsewhere: each pair of calls is what its outcome says, run from the page as it is printed."""

import ast
import importlib.util
import re
from html import unescape

import numpy as np
import pytest
import torch

from lossbook.book import peers
from lossbook.book.pages import elsewhere
from lossbook.book.runs.chapters import DOCS, Chapter, ChapterError
from lossbook.book.runs.run import Result, Run


def printed(page):
    """Yield what a reader sees: loss, inputs, lossbook's call, and each call beside it.

    Everything is taken from the text of the page: a call is not known from elsewhere.
    """
    section = page.split("\n## By loss\n")[1]
    parts = (
        r"^### `(\w+)`",
        r"^```py\n(.*?)\n```$",
        r"<tr><td>(.*?)</td><td><code>(.*?)</code></td><td>(.*?)</td></tr>",
    )
    loss = inputs = ours = None
    for name, code, library, call, outcome in re.findall("|".join(parts), section, re.M | re.S):
        if name:
            loss, inputs, ours = name, None, None
        elif code:
            inputs, ours = code, None
        elif library == "lossbook":
            ours = unescape(call)
        else:
            yield loss, inputs, ours, unescape(call), re.sub("<.*?>", "", unescape(outcome))


def preamble(page):
    return re.search(r"```py\n(.*?)```", page, re.S)[1]


def holds(page, inputs, ours, call, outcome):
    """Run one pair below the printed lines, and say what came of it, in the words of the page."""
    names = {}
    exec(f"{preamble(page)}\n{inputs}", names)
    with torch.random.fork_rng(devices=[]):
        mine = eval(ours, names).detach().double().numpy()
    given = {n: v for n, v in names.items() if isinstance(v, torch.Tensor) or n in defined(inputs)}
    theirs = peers._evaluate(call, given)
    theirs, mine = np.broadcast_arrays(theirs, mine.mean() if theirs.size == 1 else mine)
    if bound := re.match(r"equal within (1e-\d+)", outcome):
        gap = np.abs(theirs - mine).max() / np.abs(mine).max()
        assert gap <= float(bound[1]), f"{call} is off {ours} by {gap:.2g}"
        return bound[0]
    unlike = ~(np.abs(theirs - mine) <= 0.01 * np.abs(mine))
    assert unlike.any(), f"{call} is {ours}"
    first = np.argmax(unlike)
    return f"not equal: {theirs.flat[first]:.4g}, not {mine.flat[first]:.4g}"


def defined(inputs):
    return {f.name for f in ast.parse(inputs).body if isinstance(f, ast.FunctionDef)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # In the other libraries.
def test_each_pair_is_what_its_outcome_says_run_as_it_is_printed(book, capsys):
    page = (book.folder / "docs/elsewhere.md").read_text()
    left, ran = [], 0
    for loss, inputs, ours, call, outcome in printed(page):
        assert loss in ours or loss in inputs, f"{loss} is not in {ours}"
        if missing := re.match(r"not run in this build: (\w+) is not installed", outcome):
            assert importlib.util.find_spec(missing[1]) is None, f"{missing[1]} is installed"
            assert re.match(rf"[-\d(*+ .]*(\w+\()?{missing[1]}\.", call), f"{call}: no library"
            left.append(missing[1])
        else:
            said = holds(page, inputs, ours, call, outcome)
            assert outcome.startswith(said), f"{loss}: {call}: {said}, and the page: {outcome}"
            ran += 1
    with capsys.disabled():
        print(f"\nelsewhere: {ran} calls run, {len(left)} not, of {', '.join(sorted(set(left)))}")
    assert ran > 4 * len(left)


def test_each_loss_has_one_heading_and_each_link_leads_to_one(book):
    page = (book.folder / "docs/elsewhere.md").read_text()
    anchors = re.findall(r"^### .*\{ #([\w-]+) \}$", page, re.M)
    assert len(anchors) == len(set(anchors))
    assert {loss for loss, *_ in printed(page)} <= set(anchors)
    assert set(re.findall(r'(?:\(|href=")#([\w-]+)', page)) <= set(anchors)


def test_each_call_of_a_library_is_found_from_the_library(book):
    page = (book.folder / "docs/elsewhere.md").read_text()
    keras = page.split("### I come from Keras")[1].split("### I come from")[0]
    table = {
        function: [set(re.findall(r"#(\w+)", cell)) for cell in cells]
        for function, *cells in re.findall(
            r"^\| `(.*?)` \| (.*?) \| (.*?) \| (.*?) \|$", keras, re.M
        )
    }
    assert table["keras.losses.Hinge"] == [{"hinge_loss"}, set(), set()]
    assert table["keras.losses.CosineSimilarity"] == [set(), *2 * [{"cosine_distance"}]]
    assert table["keras.losses.get('huber')"] == [set(), set(), {"huber_loss"}]
    assert "bi_tempered_loss" in table["keras.losses.SparseCategoricalCrossentropy"][0]
    assert "[`bi_tempered_loss(t1=1.0, t2=1.0)`](#bi_tempered_loss)" in keras
    for _, _, _, call, _ in printed(page):
        for function in re.findall(r"keras\.losses\.\w+", call):
            assert any(name.startswith(function) for name in table), function


def test_a_cross_entropy_of_probabilities_says_what_keras_does_by_default(book):
    page = (book.folder / "docs/elsewhere.md").read_text()
    rows = [(call, outcome) for *_, call, outcome in printed(page) if "Crossentropy(" in call]
    said = {call: "on TensorFlow" in outcome for call, outcome in rows}
    assert said == {call: "from_logits=True" not in call for call, _ in rows}
    assert set(said.values()) == {True, False}


# Small chapters ----------------------------------------------------------------------------------


def chapter(*cells, rows=(("PyTorch", "F.l1_loss(p, y)", True, "equal within 1e-5"),), loss="f"):
    """A chapter of cells, of which each that compares has these rows as its output."""
    rows = [dict(zip(("library", "call", "equal", "outcome"), row, strict=True)) for row in rows]
    output = {elsewhere.PEERS: {"loss": loss, "rows": rows}, "text/html": "<table>"}
    results = [
        Result("python", 10 * i, cell, [output] if "compare" in cell else [], None)
        for i, cell in enumerate(cells, 1)
    ]
    return Chapter(DOCS / "family/stem.md", "", {"title": "T"}), Run(
        "family/stem", results, 0.0, {}
    )


def inputs_of(*cells, **output):
    return [(one.inputs, one.ours) for one in elsewhere.comparisons(*chapter(*cells, **output))]


DRAW = "draw = experiments.rng(5)"
CALL = "peers.compare('f', f(p, y), equal={}, p=p, y=y)"


@pytest.mark.parametrize(
    ("cells", "inputs"),
    [
        (["p = one()\ny = two()", CALL], "p = one()\ny = two()"),
        (["p, q = 1, 2", "p = 3\ny = p", CALL], "p = 3\ny = p"),
        (["p = 1\nz = 2\ny = z", "z = 5", CALL], "p = 1\nz = 2\ny = z"),
        (["p = y = zeros(3)\ny[0, 1] = 5\nq = 7", CALL], "p = y = zeros(3)\ny[0, 1] = 5"),
        (["y = 4", "p = [y for y in range(3)]", CALL], "y = 4\np = [y for y in range(3)]"),
        (
            ["import p\ndef y(a):\n    b = a\n    return b", CALL],
            "def y(a):\n    b = a\n    return b",
        ),
        (["y = 1\nif y:\n    p = 2", CALL], "y = 1\nif y:\n    p = 2"),
        (
            [f"{DRAW}\np = a(draw)", "q = b(draw)\ny = c(draw)", CALL],
            f"{DRAW}\np = a(draw)\nq = b(draw)\ny = c(draw)",
        ),
        (
            ["p = y = 2", CALL.replace("(p, y)", "(p)").replace("y=y", "y=y + 1")],
            "p = y = 2\ny = y + 1",
        ),
        (
            ["z = 1", CALL.replace("p=p, y=y", "**{'p': -z, 'y': z}").replace("(p, y)", "(z)")],
            "z = 1\np = -z\ny = z",
        ),
        (["p, y = 1, 2\nunused = 3", CALL.replace("y=y", "y=y, unused=unused")], "p, y = 1, 2"),
    ],
)
def test_the_inputs_are_the_assignments_that_the_calls_need(cells, inputs):
    ((found, _),) = inputs_of(*cells)
    assert found == inputs


def test_the_call_is_the_one_of_the_chapter_with_its_settings():
    ((_, ours),) = inputs_of("p = y = 1", CALL.replace("f(p, y)", "f(p,\n  y, t=1.0)"))
    assert ours == "f(p,\n  y, t=1.0)"
    page = elsewhere.page(*([x] for x in chapter("p = y = 1", CALL.replace("y)", "y, t=1.0)", 1))))
    assert "| `F.l1_loss` | [`f(t=1.0)`](#f) |  |  |" in page
    assert "<tr><td>lossbook</td><td><code>f(p, y, t=1.0)</code></td><td></td></tr>" in page


def test_a_name_of_two_values_is_an_error_of_its_line():
    with pytest.raises(ChapterError, match=r"stem\.md:21: expected names .* got y = y \+ 1"):
        inputs_of("p = y = 1", CALL.replace("y=y", "y=y + 1"))


def test_a_comparison_that_no_cell_ends_in_is_an_error_of_its_line():
    with pytest.raises(ChapterError, match=r"stem\.md:12: .* got x = peers\.compare\("):
        inputs_of(f"p = 1\nx = {CALL}")


@pytest.mark.parametrize(
    ("call", "functions", "alone"),
    [
        ("keras.losses.Hinge(reduction=None)(y[:, None], p)", ["keras.losses.Hinge"], True),
        ("monai.losses.DiceLoss()(p, y)[..., 0, 0].sum(1)", ["monai.losses.DiceLoss"], True),
        ("F.cross_entropy(5 * F.normalize(p) @ y.T, y)", ["F.cross_entropy"], True),
        ("1 + keras.losses.CosineSimilarity()(y, p)", ["keras.losses.CosineSimilarity"], False),
        ("-F.logsigmoid(p - y)", ["F.logsigmoid"], False),
        ("F.relu(p) * F.gelu(y) + F.relu(y)", ["F.relu", "F.gelu"], False),
        ("np.array([ot.emd2(u, v) for u, v in zip(p, y)])", ["ot.emd2"], True),
        ("np.array([ot.emd2(u.T, v) ** 2 for u, v in zip(p, y)])", ["ot.emd2"], False),
        ("np.mean(p * scipy.ndimage.sobel(y))", ["scipy.ndimage.sobel"], False),
        ("sklearn.metrics.log_loss(y, scipy.special.expit(p))", ["sklearn.metrics.log_loss"], True),
        ("keras.losses.get('mae')(y, p)", ["keras.losses.get('mae')"], True),
        ("torch.logsumexp(p, 1)", ["torch.logsumexp"], True),
        ("y - p.abs()", [], False),
    ],
)
def test_what_a_call_takes_from_its_library(call, functions, alone):
    assert elsewhere._functions(call, "p = y = 1") == (functions, alone)


def test_calls_on_the_same_inputs_stand_in_one_table_and_are_not_run_where_they_were_not():
    rows = [
        ("PyTorch", "F.l1_loss(p, y)", True, "equal within 1e-5"),
        ("entmax, ours", "entmax.loss(p)", True, "not run in this build: entmax is not installed"),
        ("PyTorch ", "F.mse_loss(p, y)", False, "not equal: 1, not 2"),
    ]
    page = elsewhere.page(*([x] for x in chapter("p = y = 1", CALL, CALL, rows=rows)))
    assert page.count("p = y = 1") == 1
    assert page.count("<table") == 1
    assert page.count("<td>lossbook</td>") == 2
    assert "### I come from entmax { #entmax }" in page
    assert "| `entmax.loss` | [`f`](#f) (not run) |  |  |" in page
    assert "| `F.mse_loss` |  |  | [`f`](#f) |" in page
    assert page.count("\n### `f` { #f }\n") == 1
