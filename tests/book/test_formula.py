"""Formulas are read from their LaTeX and say what the code does; a wrong one is found out."""

import re
from dataclasses import replace

import numpy as np
import pytest

from lossbook.book.pages import card
from lossbook.book.runs import chapters, formula
from lossbook.book.runs.chapters import ROOT, ChapterError
from lossbook.book.runs.latex import FormulaError, Scope, parse, symbols

TYPICAL = chapters.read(ROOT / "tests/book/formulas.md")
TEXTS = formula.texts(TYPICAL)
IN_SHORT = [c for c in chapters.load()[0] if c.losses and "\n## In short\n" in c.text]

# Chapters, or one loss as "family/stem: loss", whose formulas cannot be checked -> why.
EXEMPT: dict[str, str] = {
    "generative/wasserstein_gan: gradient_penalty": "its first input is a critic, a function",
}


def compared(text):
    return formula.compared(text, formula.case_of(text.loss), TYPICAL.path)


@np.errstate(all="ignore")
def value(tex, **values):
    (statement,) = parse(tex).children
    return Scope(values).evaluate(statement.children[0], {})


# Chapters


@pytest.mark.parametrize("chapter", IN_SHORT, ids=[c.name for c in IN_SHORT])
def test_formulas_of_the_chapter(chapter):
    if chapter.name in EXEMPT:
        with pytest.raises(ChapterError):  # An exemption ends when the formulas can be checked.
            assert wanting(chapter, formula.check(chapter)) == []
        return
    assert wanting(chapter, formula.check(chapter)) == []


def wanting(chapter, results):
    """List what a chapter must have and has not."""
    found = {(r.loss, "loss" if r.kind == "loss" else "gradient") for r in results}
    wanted = [n for n in chapter.losses if n in card.losses() and differentiable(n)]
    return [
        f"{name}: {kind}"
        for name in wanted
        for kind in ("loss", "gradient")
        if (name, kind) not in found and f"{chapter.name}: {name}" not in EXEMPT
    ]


def differentiable(name):
    case = formula.case_of(name)
    return bool(case.gets_gradient(case.forms[0](np.random.default_rng(0))))


def test_a_missing_formula_is_reported():
    meta = {"title": "Focal", "losses": ["focal_loss", "sigmoid_focal_loss"]}
    assert wanting(
        replace(TYPICAL, path=chapters.DOCS / "classification/focal.md", meta=meta), []
    ) == [f"{name}: {kind}" for name in meta["losses"] for kind in ("loss", "gradient")]


def test_at_most_eight_chapters_are_exempt():
    assert len({name.split(":")[0] for name in EXEMPT}) <= 8
    assert all(EXEMPT.values())
    assert {name.split(":")[0] for name in EXEMPT} <= {c.name for c in IN_SHORT}


# Typical formulas


@pytest.mark.parametrize("text", TEXTS, ids=[f"{t.loss}-{t.line}" for t in TEXTS])
def test_typical_formula_and_gradient_agree_with_the_code(text):
    results = compared(text)
    assert {r.kind == "loss" for r in results} == {True, False}
    assert all(r.compared for r in results)


def flips(text):
    """Give the text once for each sign of its displays, with that one turned round."""
    for k, (line, tex) in enumerate(text.displays):
        for match in re.finditer(r"[+-](?!\})", tex):
            if tex[: match.start()].endswith("_"):  # [x]_+
                continue
            other = "-" if match[0] == "+" else "+"
            changed = tex[: match.start()] + other + tex[match.end() :]
            displays = [*text.displays[:k], (line, changed), *text.displays[k + 1 :]]
            yield changed, replace(text, displays=displays)


@pytest.mark.parametrize("text", TEXTS, ids=[f"{t.loss}-{t.line}" for t in TEXTS])
def test_every_flipped_sign_is_caught(text):
    flipped = list(flips(text))
    missed = []
    for changed, wrong in flipped:
        try:
            compared(wrong)
        except ChapterError:
            continue
        missed.append(changed)
    assert missed == []


# Planted errors

FOCAL = r"""---
title: Focal
---

## In short

<!-- formula focal_loss: z_j = logits, t = labels, \gamma = gamma, \alpha_j = alpha or 1 -->

$$
\ell = -\alpha_t (1 - p_t)^\gamma \log p_t, \qquad p = \mathrm{softmax}(z)
$$

$$
\frac{\partial \ell}{\partial z_j}
= \alpha_t (1 - p_t)^{\gamma - 1} (\gamma\, p_t \log p_t + p_t - 1) (\delta_{jt} - p_j) .
$$

## The idea

$$ \ell = \text{not read} $$
"""


def checked(tmp_path, text):
    path = tmp_path / "focal.md"
    path.write_text(text)
    return formula.check(chapters.read(path))


def test_focal_as_the_docstring_shows_it(tmp_path):
    assert [r.kind for r in checked(tmp_path, FOCAL)] == ["loss", "slope by z_j"]


@pytest.mark.parametrize(
    ("right", "wrong", "line", "message"),
    [
        (r"= -\alpha", r"= \alpha", 10, r"at item \[0\] the formula gives -\d.*focal_loss \d"),
        (r"\delta_{jt} - p_j", r"\delta_{jt} + p_j", 15, r"at item \[0\], j = 1 the formula"),
        (r"\delta_{jt} - p_j", r"\delta_{jt} - p_t", 15, "the formula gives"),
        (r"\gamma\, p_t", "p_t", 15, "the formula gives"),
        (r"\log p_t, ", r"\log \pi_t, ", 10, "has 0 indices, got 1"),
        (r"\log p_t, ", r"\log u_t, ", 10, "u has no value"),
        (r"\log p_t, ", r"\log p_t ), ", 10, r"cannot read '\),' here\n"),
        (r"\log p_t, ", r"\log |p_t|, ", 10, r"cannot read '\|p_t\|,' here \(write"),
        (r"\log p_t, ", r"\log p_t \le 3, ", 10, r"cannot read '\\\\le' here"),
        (r"p_t - 1) (\delta_{jt} - p_j) .", "p_t - ", 15, "expected more, got the end"),
        (r"p_t - 1) (\delta_{jt} - p_j) .", r"p_t - 1) \foo .", 15, r"cannot read '\\\\foo'"),
        ("z_j = logits", "z_j = scores", 9, "z: the loss has no argument scores"),
        (r", \qquad p = ", r", \qquad t = ", 10, "t has two meanings"),
        (r"\mathrm{softmax}(z)", "p", 10, "p is defined by itself"),
        (r"\partial z_j", r"\partial t", 13, "t: labels gets no gradient"),
        (r"(\delta_{jt} - p_j)", r"\gamma(\delta_{jt} - p_j)", 15, "the formula gives"),
        (r"\gamma = gamma", r"\sigma = gamma", 10, r"\\gamma has no value"),
        (r"focal_loss: z_j", "focal: z_j", 7, "lossbook has no focal"),
        (r"focal_loss: z_j", "focal_loss [deep]: z_j", 9, r"expected forms of \['dense', 'flat'\]"),
        ("<!-- formula", "<!-- formulas", 9, "expected <!-- formula LOSS: symbol = argument"),
        (r"\ell = -", r"\ell -", 10, "expected an equation"),
    ],
)
def test_planted_error_is_found_with_its_line(tmp_path, right, wrong, line, message):
    assert right in FOCAL
    with pytest.raises(ChapterError, match=message) as caught:
        checked(tmp_path, FOCAL.replace(right, wrong, 1))
    assert f"focal.md:{line}: " in str(caught.value)


@pytest.mark.parametrize(
    ("right", "wrong", "line", "message"),
    [
        (r"\ell = -\alpha_t", r"\ell = -1.00001 \alpha_t", 10, "the formula gives"),
        (r"= \alpha_t", r"= 1.00001 \alpha_t", 15, "the formula gives"),
        (r"\log p_t, ", r"\log (-p_t), ", 10, "the formula gives nan"),
        (r"\log p_t, ", r"\log p_t = -\alpha_t \log p_t, ", 10, "the formula gives"),
        (r"\log p_t, ", r"\log p, ", 10, r"the formula has the shape \(3,\)"),
        (r"focal_loss: z_j", "focal_loss [gamma=7]: z_j", 9, "no draw of the tests fits"),
        (r"= \alpha_t", r"= (1 - [j = 3] / 2) \alpha_t", 15, r"at item \[0\], j = 3 the formula"),
    ],
)
def test_an_error_that_is_small_or_stands_aside_is_found(tmp_path, right, wrong, line, message):
    test_planted_error_is_found_with_its_line(tmp_path, right, wrong, line, message)


def test_one_wrong_number_of_a_vector_is_found():
    (text,) = [text for text in TEXTS if text.loss == "contrastive_loss"]
    # The first is right, and so are those below it.
    wrong = "(a - b + [a - a_1]_+)"
    displays = [(line, tex.replace("(a - b)", wrong)) for line, tex in text.displays]
    assert displays != text.displays
    with pytest.raises(ChapterError, match=r"the formula gives \["):
        compared(replace(text, displays=displays))


def test_caret_stands_under_the_place(tmp_path):
    with pytest.raises(ChapterError) as caught:
        checked(tmp_path, FOCAL.replace(r"\log p_t, ", r"\log p_t ), "))
    _, shown, caret = str(caught.value).split("\n")
    assert shown[caret.index("^")] == ")"


# Reading

P = np.array([0.2, 0.3, 0.5])


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"\log x y", np.log(6)),
        (r"\log(x) y", 3 * np.log(2)),
        (r"\log(x)^2", np.log(2) ** 2),
        (r"\log^2 x", np.log(2) ** 2),
        (r"\log x^2", np.log(4)),
        (r"\log x \cdot y", 3 * np.log(2)),
        (r"\log x / y", np.log(2) / 3),
        (r"\log x \frac{1}{y}", np.log(2) / 3),
        (r"y \log x + 1", 3 * np.log(2) + 1),
        (r"1 / x y", 1.5),
        (r"\frac1x \tfrac12 \dfrac{y}{2}", 0.375),
        (r"2\, y(1 - y)^2", 24),
        (r"x^{-y} e^{-x}", np.exp(-2) / 8),
        (r"\sqrt[3]{8} \sqrt x \sqrt{2}", 4),
        (r"y!", 6),
        (r"\max(0, x - y) + \min\{x, y\}", 2),
        (r"[x - y]_+ + [y - x]_{+}^2", 1),
        (r"[x = 2] + \mathbb{1}[x > y] + \mathbf{1}\{x \le 2 < y\}", 2),
        (r"\sum_j p_j^2", 0.38),
        (r"\sum_{j=1}^{3} j\, p_j", 2.3),
        (r"\sum_{j=0}^{2} j\, p_j", 1.3),
        (r"\sum_{j=2}^{3} (p_j - p_{j-1})", 0.3),
        (r"\sum_j p_j - 1", 0),
        (r"\prod_j p_j", 0.03),
        (r"\max_{j \ne t} p_j", 0.3),
        (r"\arg\max_j p_j", 3),
        (r"\sum_{i < j} p_i p_j", 0.31),
        (r"\sum_{j: p_j > 0.25} p_j", 0.8),
        (r"\operatorname{mean}_j p_j", 1 / 3),
        (r"\sum_j p_j \delta_{jt}", 0.5),
        (r"p \cdot p + p^\top p + \langle p, p \rangle - 2 \lVert p \rVert^2", 0.38),
        (r"\lVert p \rVert_1 \lVert p \rVert_2^2 \lVert p \rVert_\infty", 0.19),
        (r"\lvert x - y \rvert \lfloor 2.5 \rfloor", 2),
        (r"\sum_j A_{1,j} p_j - (A p)_1", 0),
        (r"\lVert A A^\top \rVert_F", np.sqrt(14**2 + 2 * 32**2 + 77**2)),
        (r"\sigma(x) + \sigma(-x)", 1),
        (r"\Phi(0)", 0.5),
        (r"\mathrm{softmax}(p)_t", np.exp(0.5) / np.exp(P).sum()),
        (r"\begin{cases} x & \text{if } x > y, \\ -y & \text{otherwise} \end{cases}", -3),
        (r"\begin{aligned} x &{} + y \\ &+ 1 \end{aligned}", 6),
        (r"0 \log 0", 0),
    ],
)
def test_value(tex, expected):
    given = value(tex, x=2.0, y=3.0, p=P, t=np.int64(2), A=np.array([[1.0, 2, 3], [4, 5, 6]]))
    assert given == pytest.approx(expected)


@pytest.mark.parametrize(
    "tex",
    [r"p p", r"p_4", r"p_{12}", r"\sum_k x", r"p_t", r"p + A_1 + x_1", r"\operatorname{foo}(x)"],
)
def test_no_value(tex):
    with pytest.raises(FormulaError):
        value(tex, x=2.0, p=P, A=np.eye(2))


def test_symbols():
    tex = r"\ell = \hat{y}_i + \mathbf x \bar\mu' - \sigma(z_t) \log p, \quad x_{\mathrm{real}} = 1"
    assert symbols(tex) == {
        "i", "z", "t", "p", "x", "real", r"\ell", r"\hat y", r"\mathbf x", r"\bar \mu'", r"\sigma"
    }  # fmt: skip


def test_command_prints_what_was_compared(tmp_path, capsys):
    path = tmp_path / "focal.md"
    path.write_text(FOCAL)
    assert formula.main([str(path)]) == 0
    assert "focal_loss, loss: 96 numbers" in capsys.readouterr().out
    path.write_text(FOCAL.replace("= -", "= "))
    assert formula.main([str(path)]) == 1
