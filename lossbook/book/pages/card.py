"""The vetting card of a chapter: what the contract measured, and nothing else."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from typing import Any

from lossbook.book.runs.chapters import BUILD, ROOT

VETTING = BUILD / "vetting"

# What each check of tests/contract.py says, in the order of the card.
CHECKS = {
    "value": "equals the equation, typed naively in float64 and with hundreds of digits",
    "next to the optimum": "keeps its digits next to the best prediction, and is never negative",
    "settings": "any setting in its range, also one that is learned, with its gradient",
    "peers": "equals other libraries",
    "gradient": "equals the closed form and finite differences",
    "second gradient": "equals finite differences of the gradient",
    "extremes": "value and gradient are finite wherever the exact value fits",
    "float32": "error in float32",
    "bfloat16": "error in bfloat16",
    "float16": "error in float16",
    "autocast": "error under autocast to bfloat16",
    "infinite": "infinite inputs cost what they should; the gradients of logits stay finite",
    "dtypes": "integers are refused; mixed dtypes give the first one's, as precisely",
    "shapes": "two classes as well as many, at every rank and along every dimension",
    "relations": "limits and relations to other losses hold",
    "invariances": "permutations, shifts and scales change what they should",
    "vmap": "torch.vmap equals a loop",
    "compile": "torch.compile captures one graph, equal to eager",
    "inductor": "compiled by inductor, equal to eager",
    "export": "torch.export equals eager",
    "modes": "meta tensors, forward mode, torch.func, batched slopes, anomaly and inference mode",
    "layout": "strided, expanded and empty inputs work",
    "inputs unchanged": "inputs are left as they were",
    "errors": "wrong shapes and settings raise the documented errors",
    "alone": "the file runs in a fresh interpreter with only torch",
    "facts": "the facts above are true",
    "device": "CUDA equals the CPU",
}
FACTS = {
    "range": "range",
    "perfect": "at a perfect prediction",
    "chance": "at chance",
    "empty": "on empty input",
    "convex": "in its first input",
    "passes": "passes over memory, eager",
}


@cache
def _sha256(*names: str) -> str:
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()


def results(loss: str) -> dict[str, Any] | None:
    """Return what the contract recorded for a loss; None if it never ran on today's code."""
    path = VETTING / f"{loss}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    _, family, stem = found["file"].split("/")
    source, contract = found["source_sha256"], found["contract_sha256"]
    tests = ("tests/contract.py", f"tests/{family}/test_{stem}")
    fresh = (source, contract) == (_sha256(found["file"]), _sha256(*tests))
    return found if fresh else None


def helper(docstring: str) -> bool:
    """Tell whether a function is no loss, but says that it helps one: its own tests vet it."""
    return re.search(r"^ *Helper of `\w+`\.$", docstring, re.M) is not None


def losses() -> list[str]:
    """List the public losses, which the contract vets."""
    import lossbook

    public = [name for name, home in sorted(lossbook._HOMES.items()) if home.count(".") == 2]
    return [name for name in public if not helper(getattr(lossbook, name).__doc__)]


def stale() -> list[str]:
    """List the losses whose results are missing or older than the code."""
    return [name for name in losses() if results(name) is None]


def _cell(check: dict[str, Any] | None) -> str:
    """Show one result; only a recorded pass looks like one."""
    if check is None or check["status"] == "not run":
        reason = "not run" if check is None else f"not run: {check['reason']}"
        return f'<td class="not-run">{escape(reason)}</td>'
    if check["status"] != "passed":
        return f'<td class="failed">failed: {escape(check["reason"])}</td>'
    error = f"within {bound(check['error'])}, " if check["error"] is not None else ""
    but = f"; not run: {check['reason']}" if check["reason"] else ""  # Parts that are exempt.
    return f'<td class="passed">✓ {error}{check["cases"]} cases{escape(but)}</td>'


def bound(error: float) -> str:
    """Write an error as the next larger of 1, 2 or 5 times a power of ten."""
    if error == 0:
        return "0"
    exponent = math.floor(math.log10(error))
    for factor in (1, 2, 5, 10):
        if error <= factor * 10**exponent * (1 + 1e-9):
            break
    return f"{factor}e{exponent}" if factor < 10 else f"1e{exponent + 1}"


def fact(found: dict[str, Any] | None, fact: str) -> str:
    """Show one fact that the contract verified."""
    part = ((found or {}).get("checks", {}).get("facts", {}).get("parts") or {}).get(fact)
    if not part or part["status"] != "passed":
        return '<td class="not-run">not stated</td>'
    return f"<td>{escape(part['note'])}</td>"


def card(losses: Sequence[str]) -> str:
    """Draw the card of a page's losses, from the vetting files alone."""
    found = {name: results(name) for name in losses}
    head = "".join(f'<th scope="col"><code>{escape(n)}</code></th>' for n in found)
    rows = [f'<tr><th scope="col"></th>{head}</tr>']
    for name, label in FACTS.items():
        cells = [fact(f, name) for f in found.values()]
        if any("not-run" not in cell for cell in cells):
            rows.append(f'<tr><th scope="row">{label}</th>{"".join(cells)}</tr>')
    for check, label in CHECKS.items():
        cells = [_cell(f["checks"].get(check) if f else None) for f in found.values()]
        rows.append(f'<tr><th scope="row">{label}</th>{"".join(cells)}</tr>')
    runs = [f for f in found.values() if f]
    if runs:
        run = runs[0]
        when = f"{run['date'][:10]}, commit {(run['commit'] or 'unknown')[:7]}"
        with_ = f"torch {run['torch']}, Python {run['python']}, {run['platform']}"
        caption = f"Measured on {escape(when)}, with {escape(with_)}. Errors are relative."
    else:
        caption = "The contract has not run on this code."
    body = "".join(rows)
    return (
        f'<div class="card" role="region" aria-label="Vetting card" tabindex="0">'
        f'<table class="data"><caption>{caption}</caption>{body}</table></div>\n'
    )


def matrix(pages: Mapping[str, str]) -> str:
    """Write the page of all cards: loss by check; `pages` has the page of each loss."""
    marks = {"passed": "✓", "failed": "✗", "not run": "–"}
    rows = [["loss", *CHECKS], ["---"] * (len(CHECKS) + 1)]
    count = dict.fromkeys(marks, 0)
    for name, page in pages.items():
        found = results(name)
        cells = [f"[`{name}`]({page}.md#vetting-card)"]
        for check in CHECKS:
            entry = found["checks"].get(check) if found else None
            status = entry["status"] if entry else "not run"
            count[status] += 1
            why = (entry["reason"] if entry else "never run on this code") or status
            why = escape(" ".join(why.split())).replace("|", "&#124;")
            kind = f'class="{status.replace(" ", "-")}" role="img" aria-label="{status}"'
            cells.append(f'<span {kind} title="{why}">{marks[status]}</span>')
        rows.append(cells)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    region = 'class="card matrix" role="region" aria-label="Vetting" tabindex="0"'
    table = f'<div {region} markdown="1">\n\n{table}\n\n</div>'
    legend = "".join(f"`{check}`\n:   {label}\n\n" for check, label in CHECKS.items())
    return f"""# Vetting

Every loss goes through one battery of checks, `tests/contract.py`, which records what it measured.
The card in each chapter and this matrix are drawn from those records and from nothing else.

✓ passed ({count["passed"]}), ✗ failed ({count["failed"]}), – not run ({count["not run"]}): the
reason stands on the chapter's card. A check that did not run is never shown as a pass.

{table}

{legend}"""
