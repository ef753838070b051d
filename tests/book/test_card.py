"""The vetting card: a pass is a pass, a failure a failure, and what is stale is not shown."""

import json
import math
import random
import re

import pytest

from lossbook.book.pages import card
from tests import contract

FILE, TEST = "lossbook/regression/near.py", "tests/regression/test_near.py"


def check(status="passed", *, error=None, reason="", cases=7, **parts):
    return {"status": status, "error": error, "reason": reason, "cases": cases, "parts": parts}


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A loss whose contract ran on the code as it stands: the folder of the repository."""
    monkeypatch.setattr(card, "ROOT", tmp_path)
    monkeypatch.setattr(card, "VETTING", tmp_path / "vetting")
    for file in (FILE, TEST, "tests/contract.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    (tmp_path / "vetting").mkdir()
    found = {
        "file": FILE,
        "source_sha256": contract.sha256(tmp_path / FILE),
        "contract_sha256": contract.sha256(tmp_path / "tests/contract.py", tmp_path / TEST),
        "checks": {"value": check()},
    }
    (tmp_path / "vetting/near_loss.json").write_text(json.dumps(found))
    card._sha256.cache_clear()
    yield tmp_path
    card._sha256.cache_clear()


def test_what_was_recorded_of_this_code_is_shown(recorded):
    assert card.results("near_loss")["checks"] == {"value": check()}
    assert card.results("far_loss") is None
    assert recorded.is_dir()


@pytest.mark.parametrize("file", [FILE, TEST, "tests/contract.py"])
def test_what_was_recorded_of_other_code_is_not(recorded, file):
    (recorded / file).write_text("changed")
    assert card.results("near_loss") is None


def test_a_loss_is_stale_without_results(monkeypatch):
    monkeypatch.setattr(card, "results", lambda name: {} if name == "huber_loss" else None)
    assert card.stale() == [name for name in card.losses() if name != "huber_loss"]


def test_helpers_are_no_losses():
    assert card.helper("Map.\n\nHelper of `boundary_loss`.\n")
    assert card.helper("    Helper of `boundary_loss`.")
    assert not card.helper("Is no Helper of `boundary_loss`.")
    assert not card.helper("Helper of `boundary_loss`. It is a loss, too.")
    names = card.losses()
    assert {"huber_loss", "focal_loss"} <= set(names)
    assert not {"examine", "Criterion", "signed_distance_map"} & set(names)
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("check", "word"),
    [
        *((name, f"error in {name}") for name in ("float32", "bfloat16", "float16")),
        *(("value", "equals the equation"), ("peers", "other libraries"), ("device", "CUDA")),
        *(("gradient", "closed form"), ("second gradient", "of the gradient"), ("errors", "raise")),
        *(("vmap", "torch.vmap"), ("compile", "torch.compile"), ("inductor", "by inductor")),
        *(("export", "torch.export"), ("alone", "only torch"), ("autocast", "under autocast")),
        *(("settings", "setting"), ("extremes", "finite"), ("shapes", "every rank")),
        *(("dtypes", "dtypes"), ("infinite", "infinite"), ("layout", "strided")),
        *(("inputs unchanged", "left as they were"), ("relations", "relations"), ("facts", "true")),
    ],
)
def test_a_line_of_the_card_is_of_its_check(check, word):
    assert word in card.CHECKS[check]


@pytest.mark.parametrize(
    ("result", "cell"),
    [
        (check(), '<td class="passed">✓ 7 cases</td>'),
        (check(error=3e-7), '<td class="passed">✓ within 5e-7, 7 cases</td>'),
        (check(error=0.0), '<td class="passed">✓ within 0, 7 cases</td>'),
        (
            check(error=1e-3, reason="dim < 0", cases=1),
            '<td class="passed">✓ within 1e-3, 1 cases; not run: dim &lt; 0</td>',
        ),
        (
            check("failed", reason="3 < 4", error=1e-9),
            '<td class="failed">failed: 3 &lt; 4</td>',
        ),
        (check("stopped", reason="killed"), '<td class="failed">failed: killed</td>'),
        (
            check("not run", reason="no <GPU>"),
            '<td class="not-run">not run: no &lt;GPU&gt;</td>',
        ),
        (None, '<td class="not-run">not run</td>'),
    ],
)
def test_only_a_pass_looks_like_one(result, cell):
    assert card._cell(result) == cell


@pytest.mark.parametrize(
    ("error", "written"),
    [
        *((0, "0"), (1e-7, "1e-7"), (1.01e-7, "2e-7"), (2e-7, "2e-7"), (2.01e-7, "5e-7")),
        *((5e-7, "5e-7"), (5.01e-7, "1e-6"), (9.9e-7, "1e-6"), (0.3, "5e-1"), (0.6, "1e0")),
        *((1.0, "1e0"), (70.0, "1e2"), (2e-7 * (1 + 1e-12), "2e-7"), (2e-7 * (1 + 1e-6), "5e-7")),
    ],
)
def test_a_bound_is_the_next_of_1_2_5(error, written):
    assert card.bound(error) == written


def test_a_bound_is_never_below_the_error_nor_far_above():
    rng = random.Random(0)
    for _ in range(1000):
        error = 10 ** rng.uniform(-18, 3)
        assert error * (1 - 1e-8) <= float(card.bound(error)) <= 2.5 * error * (1 + 1e-8)
    assert all(math.isclose(float(card.bound(10.0**k)), 10.0**k) for k in range(-18, 4))


@pytest.mark.parametrize(
    ("found", "cell"),
    [
        ({"range": {"status": "passed", "note": "0 < x"}}, "<td>0 &lt; x</td>"),
        ({"range": {"status": "failed", "note": "0"}}, '<td class="not-run">not stated</td>'),
        ({"range": {"status": "not run", "note": "0"}}, '<td class="not-run">not stated</td>'),
        ({"chance": {"status": "passed", "note": "0"}}, '<td class="not-run">not stated</td>'),
    ],
)
def test_a_fact_is_stated_only_if_the_contract_proved_it(found, cell):
    assert card.fact({"checks": {"facts": check(**found)}}, "range") == cell
    assert "not stated" in card.fact({"checks": {"facts": {"parts": None}}}, "range")
    assert "not stated" in card.fact(None, "range")


RAN = {
    "date": "2026-11-26T10:00:00",
    "commit": "0123456789",
    "torch": "2.13 <cpu>",
    "python": "3.11",
    "platform": "Linux",
}
NOTES = {
    "range": "0 to 1",
    "perfect": "0",
    "chance": "0.69",
    "empty": "nan",
    "convex": "not convex",
    "passes": "2 forward, 3 backward",
}
NEAR = RAN | {
    "checks": {
        "value": check(error=3e-7),
        "peers": check("failed", reason="a | b\n< c"),
        "device": check("not run", reason="no GPU"),
        "facts": check(**{n: {"status": "passed", "note": note} for n, note in NOTES.items()}),
    }
}
FAR = RAN | {"checks": {"value": check(cases=9), "gradient": check()}, "torch": "2.12"}


@pytest.fixture
def _two(monkeypatch):
    monkeypatch.setattr(card, "results", {"near_loss": NEAR, "far_loss": FAR}.get)


def table(page):
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.S)
    return [re.findall(r"<t[hd][^>]*>.*?</t[hd]>", row, re.S) for row in rows]


@pytest.mark.usefixtures("_two")
def test_the_card_has_a_row_a_check_and_a_column_a_loss():
    page = card.card(["near_loss", "far_loss", "new_loss"])
    head, *rows = table(page)
    heads = ("", *(f"<code>{n}</code>" for n in ("near_loss", "far_loss", "new_loss")))
    assert head == [f'<th scope="col">{name}</th>' for name in heads]
    unstated = ['<td class="not-run">not stated</td>'] * 2
    stated = [[card.FACTS[name], f"<td>{note}</td>", *unstated] for name, note in NOTES.items()]
    checked = [
        [label, *(card._cell(f["checks"].get(name)) for f in (NEAR, FAR)), card._cell(None)]
        for name, label in card.CHECKS.items()
    ]
    expected = [[f'<th scope="row">{label}</th>', *cells] for label, *cells in stated + checked]
    assert rows == expected
    assert (
        "<caption>Measured on 2026-11-26, commit 0123456, with torch 2.13 &lt;cpu&gt;, "
        "Python 3.11, Linux. Errors are relative.</caption>"
    ) in page
    assert "✓" not in "".join(row[3] for row in rows)


def test_a_card_of_what_never_ran_says_so(monkeypatch):
    monkeypatch.setattr(card, "results", lambda _: None)
    page = card.card(["new_loss"])
    assert "<caption>The contract has not run on this code.</caption>" in page
    assert len(table(page)) == 1 + len(card.CHECKS)
    assert page.count('class="not-run"') == len(card.CHECKS)
    monkeypatch.setattr(card, "results", lambda _: FAR | {"commit": None})
    assert "Measured on 2026-11-26, commit unknown, with" in card.card(["far_loss"])


@pytest.mark.usefixtures("_two")
def test_the_matrix_has_each_result_s_mark_with_its_reason():
    names = {"near_loss": "regression/near", "far_loss": "ranking/far", "new_loss": "image/new"}
    page = card.matrix(names)
    lines = [line.strip("|").split(" | ") for line in page.splitlines() if line[:1] == "|"]
    assert [cell.strip() for cell in lines[0]] == ["loss", *card.CHECKS]
    assert lines[1] == [" ---", *["---"] * (len(card.CHECKS) - 1), "--- "]
    assert len(lines) == 5
    columns, passed = list(card.CHECKS), 0
    for (name, file), line in zip(names.items(), lines[2:], strict=True):
        assert line[0].strip() == f"[`{name}`]({file}.md#vetting-card)"
        checks = (card.results(name) or {"checks": {}})["checks"]
        assert len(line) == 1 + len(columns)
        for column, cell in zip(columns, line[1:], strict=True):
            status = checks[column]["status"] if column in checks else "not run"
            mark = {"passed": "✓", "failed": "✗", "not run": "–"}[status]
            passed += mark == "✓"
            assert f">{mark}</span>" in cell
            assert f'class="{status.replace(" ", "-")}" role="img" aria-label="{status}"' in cell
    assert passed == 4
    rest = 3 * len(columns) - passed - 1
    assert f"✓ passed (4), ✗ failed (1), – not run ({rest})" in page
    assert 'title="a &#124; b &lt; c">✗' in page
    assert 'title="no GPU">–' in page
    assert 'title="passed">✓' in page
    assert page.count('title="never run on this code">–') == rest - 1
    assert f"`value`\n:   {card.CHECKS['value']}\n\n" in page
