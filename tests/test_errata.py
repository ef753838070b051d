"""The errata: every wrong snippet is still wrong, every right one right, every number computed."""

import ast
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.special import huber, log_softmax, rel_entr, softmax

from lossbook.book.pages import errata
from lossbook.book.pages.errata import Erratum, ErratumError, evaluate, load, page

PATH = Path(__file__).parents[1] / "docs/errata/errata.yaml"
ENTRIES = {erratum.id: erratum for erratum in load(PATH)}


def focal_gradients():
    """By the logit 4 of the first of two examples, whose class has p = sigmoid(logit)."""
    p, q = 1 / (1 + np.exp([-4.0, 2.0]))
    easy, mean = -np.log(p), -np.log(p * q) / 2
    miss = -np.expm1(-mean)
    wrong = -(1 - p) / 2 * (2 * miss * (1 - miss) * mean + miss**2)
    return wrong, -((1 - p) ** 2) * (2 * p * easy + 1 - p) / 2


def weighted_focal():
    p = 1 / (1 + np.exp(-1.3))
    return (1 - p**5) ** 2 * -5 * np.log(p), (1 - p) ** 2 * -5 * np.log(p)


def smoothing():
    log_p, one_hot = log_softmax([2.0, 0, 0, 0, 0]), np.eye(5)[0]
    return -(0.9 * one_hot + 0.2) @ log_p, -(0.9 * one_hot + 0.02) @ log_p


def distillation():
    difference = softmax([0.1, 0, 0])[0] - softmax([0.3, 0.1, 0])[0]
    return difference / 10, difference * 10


def accumulation():
    losses = np.log1p(np.exp([0, -2, -2, -2]))
    return (losses[0] + losses[1:].mean()) / 2, losses.mean()


def divergences():
    student, teacher = np.full(3, 1 / 3), softmax([1.0, 0, 0])
    mixture = 1e-3 * teacher + (1 - 1e-3) * student
    parts = (rel_entr(x, mixture).sum() for x in (teacher, student))
    return rel_entr(teacher, student).sum(), np.dot([1e-3, 1 - 1e-3], list(parts))


def fine_tuning():
    p = softmax([-1.0, 1, -1])[0]
    return -(1 + np.log(p)) * p * (1 - p), -p * (1 - p)


P, Q = np.array([0.7, 0.2, 0.1]), np.array([0.16, 0.12, 0.72])
GRID = np.subtract.outer(np.arange(4.0), np.arange(4.0))
RATES, COUNTS = np.array([2, 0.5, 3]), np.array([1, 0, 4])

# (wrong, right) of every entry, from the mathematics: no torch, no lossbook.
VALUES = {
    "base-10-logarithm": (0.79588, math.log(6.25)),
    "hinge-embedding-as-hinge": (0.85 / 4, (4 + 1 + 0.15 + 0) / 4),
    "softmax-before-cross-entropy": (
        -log_softmax(softmax([8.0, 0, 0]))[0],
        math.log1p(2 * math.exp(-8)),
    ),
    "focal-of-the-mean": focal_gradients(),
    "weighted-focal-probability": weighted_focal(),
    "kl-mean-over-elements": (rel_entr(P, Q).mean(), rel_entr(P, Q).sum()),
    "kl-of-probabilities": ((P * (np.log(P) - Q)).sum(), rel_entr(P, Q).sum()),
    "column-against-row": (huber(1, GRID).mean(), 0),
    "half-a-binary-cross-entropy": (0, math.log1p(math.exp(4.59512))),
    "sigmoid-then-cross-entropy": (0, 1),
    "smoothed-to-more-than-one": smoothing(),
    "distillation-without-temperature-squared": distillation(),
    "logits-as-probabilities": (0, 2 * (softmax([-0.5, 1, 1.5])[0] - softmax([1.5, 0.5, -0.5])[0])),
    "huber-as-smooth-l1": (5 - 0.05, huber(0.1, 5)),
    "root-of-a-perfect-fit": (math.nan, 0),
    "mean-of-means": accumulation(),
    "rate-as-log-rate": (
        (np.exp(RATES) - COUNTS * RATES).mean(),
        (RATES - COUNTS * np.log(RATES)).mean(),
    ),
    "triplet-not-squared": (math.sqrt(0.8) - math.sqrt(1.04) + 0.2, 0),
    "dice-smooth-below-only": (1, 0),
    "both-branches-of-where": (math.nan, 1),
    "entropy-of-a-ruled-out-token": (math.nan, math.log(2)),
    "clipped-weight-alive": (0, -1.2),
    "balance-of-all-layers": (1, 2),
    "unlikelihood-clamped": (0, 1),
    "ratio-before-the-minimum": (math.nan, 0),
    "third-estimator-cancels": (0, 3e-4**2 / 2),
    "divergence-that-jumps": divergences(),
    "exponential-of-a-reward": (math.nan, -1),
    "beta-of-another-loss": (math.log1p(math.exp(0.46)), math.log1p(math.exp(-0.3))),
    "fine-tuning-with-a-live-weight": fine_tuning(),
}


def test_every_entry_has_an_independent_value():
    assert VALUES.keys() == ENTRIES.keys()


@pytest.mark.parametrize("name", ENTRIES)
def test_right_is_right(name):
    assert evaluate(ENTRIES[name])[1] == pytest.approx(VALUES[name][1], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ENTRIES)
def test_wrong_is_wrong_as_it_ever_was(name):
    wrong, right = evaluate(ENTRIES[name])
    expected = VALUES[name][0]
    gap = abs(wrong - right)
    assert not gap <= 0.1 * max(abs(wrong), abs(right)), "the wrong one is no longer wrong"
    assert wrong == pytest.approx(expected, rel=1e-4, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_self_contained(name):
    erratum = ENTRIES[name]
    imported = set()
    for node in ast.walk(ast.parse("\n".join([erratum.setup, erratum.wrong, erratum.right]))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported <= {"lossbook", "math", "torch", "torch.nn", "torch.nn.functional"}
    assert not re.search(r"https?:|www\.|@", " ".join(map(str, vars(erratum).values())))


@pytest.mark.parametrize("name", ENTRIES)
def test_no_result_is_typed(name):
    erratum = ENTRIES[name]
    text = " ".join([erratum.title, erratum.where, erratum.why, erratum.symptom])
    assert not re.search(r"\d\.\d\d", text)
    used = set(re.findall(r"\{(\w+)", text))
    assert used >= erratum.numbers.keys(), "a number that no text shows"
    assert used, "a text without a number"


def test_no_printed_digit_is_on_a_rounding_boundary(monkeypatch):
    plain = errata._plain
    printed = page(ENTRIES.values())
    for factor in (1 - 3e-6, 1 + 3e-6):
        monkeypatch.setattr(errata, "_plain", lambda value, f=factor: plain(value) * f)
        assert page(ENTRIES.values()) == printed


def test_the_page_shows_each_entry_with_its_numbers():
    text = page(ENTRIES.values(), {"cross_entropy": "../classification/cross_entropy.md"})
    assert re.findall(r"^## (.*)$", text, re.M) == [e.title for e in ENTRIES.values()]
    assert "```python" not in text
    assert text.count("```py\n") == 3 * len(ENTRIES)
    assert not re.search(r"\{\w+(:[^}]*)?\}", re.sub(r"```py\n.*?```", "", text, flags=re.S))
    for erratum in ENTRIES.values():
        for code in (erratum.setup, erratum.wrong, erratum.right):
            assert f"```py\n{code.strip()}\n```" in text
    first = text.split("## ")[1]
    assert "[cross_entropy](../classification/cross_entropy.md), `binary_cross_entropy`" in first
    assert "**Wrong.** The value is 0.7959." in first
    assert "**Right.** The value is 1.8326." in first
    assert "smaller by the factor 2.3026" in first
    assert "The gradient of `prediction` is nan." in text
    assert "](" not in page(ENTRIES.values())


GOOD = {
    "id": "one",
    "title": "One",
    "losses": ["huber_loss"],
    "where": "a notebook",
    "setup": "x = 2.0",
    "wrong": "x",
    "right": "y = x\ny + 1",
    "compare": "value",
    "why": "It is {wrong:.1f}, not {right:.1f} or {half}.",
    "symptom": "None.",
    "numbers": {"half": "x / 2"},
}


def write(folder, entries):
    path = folder / "errata.yaml"
    path.write_text(entries if isinstance(entries, str) else yaml.safe_dump(entries))
    return path


def test_an_entry_is_read_as_it_is_written(tmp_path):
    assert load(write(tmp_path, [GOOD])) == [Erratum(**GOOD)]
    without = {key: value for key, value in GOOD.items() if key != "numbers"}
    assert load(write(tmp_path, [without]))[0].numbers == {}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{**GOOD, "why": None}], "one: expected why to be a str, got None"),
        ([{**GOOD, "title": ""}], "one: expected title to be a str"),
        ([{**GOOD, "losses": "huber_loss"}], "one: expected losses to be a list"),
        ([{**GOOD, "wrogn": "x"}], "one: unknown keys: wrogn"),
        ([{"id": "one"}], "one: missing keys: compare, losses, right, setup"),
        ([{"title": "One"}], "entry 1: missing keys: compare, id"),
        ([GOOD, GOOD], "one: this id is taken"),
        ([GOOD, "two"], "entry 2: expected keys and values, got 'two'"),
        ([{**GOOD, "id": "One Two"}], "One Two: expected an id of lower-case words"),
        ([{**GOOD, "compare": "gradient"}], "one: expected compare to be 'value' or 'gradient of"),
        ([{**GOOD, "setup": "x ="}], "one: setup: line 1: invalid syntax"),
        ([{**GOOD, "right": "y = x"}], "one: right: expected an expression on the last line"),
        ({"one": GOOD}, "expected a list, got dict"),
        ("- {", "errata.yaml: while parsing"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(tmp_path, entries, message):
    with pytest.raises(ErratumError, match=r"errata\.yaml") as caught:
        load(write(tmp_path, entries))
    assert message in str(caught.value)


def test_the_two_sides_do_not_meet():
    leaky = Erratum(**GOOD | {"setup": "seen = []", "wrong": "seen.append(1)\nlen(seen)"})
    assert evaluate(replace(leaky, right=leaky.wrong)) == (1, 1)


def test_a_gradient_may_have_several_entries():
    setup = "import torch\nx = torch.tensor([1.0, -2.0], requires_grad=True)"
    several = Erratum(
        **GOOD
        | {"setup": setup, "wrong": "x.sum()", "right": "x * x", "compare": "gradient of x"}
        | {"why": "", "numbers": {}}
    )
    assert evaluate(several) == ([1, 1], [2, -4])
    assert "The gradient of `x` is [2.0000, -4.0000]." in page([several])
