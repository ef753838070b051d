"""The page of the benchmark: what `make bench` measured last, on which machine, against whom."""

import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from lossbook.book.runs.chapters import BUILD, ROOT

MEASURED = BUILD / "bench"
RECORDED = ROOT / "tests" / "bench" / "recorded.json"

OURS, COMPILED, FORMULA = "lossbook", "lossbook, compiled", "the formula"
KINDS = (COMPILED, "torch", "other libraries on torch", "Optax, compiled by XLA", FORMULA)
TICKS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]

INTRODUCTION = """# Speed

How long one forward and backward pass of the mean takes, in float32, through `Criterion(...)`,
beside every library that computes the same number. All calls of a row run in turns, A B C A B C,
in one process; a ratio is their time over that of lossbook run eagerly in the same turn, so 1 is
as fast as lossbook, 2 takes twice as long. A call is timed only after its value and its gradient
were found equal to ours. *The formula* is the equation typed straight in PyTorch.

Ratios carry over to other machines; milliseconds do not. Where a kernel of torch fuses all of a
loss (squared error, Huber), no eager file that shows its formula keeps up: `torch.compile` makes
such a kernel of the file, and its bar shows what is left. `make bench` measures all of it again,
`make bench LOSS=focal_loss` one loss.
"""


def results() -> list[dict[str, Any]]:
    """Give what was measured here last, else what is recorded in the repository."""
    files = sorted(MEASURED.glob("*.json"))
    if files:
        return [json.loads(path.read_text()) for path in files]
    return list(json.loads(RECORDED.read_text())) if RECORDED.exists() else []


def record() -> int:
    """Keep what was measured last in the repository; rows that were not measured stay."""

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["loss"], row["size"], str(row["settings"]), row["threads"], row["device"]

    known = {key(r): r for r in json.loads(RECORDED.read_text())} if RECORDED.exists() else {}
    new = {key(r): r for r in map(json.loads, (p.read_text() for p in MEASURED.glob("*.json")))}
    rows = [row for _, row in sorted((known | new).items(), key=lambda item: str(item[0]))]
    lines = ",\n".join(json.dumps(_rounded(row)) for row in rows)
    RECORDED.write_text(f"[\n{lines}\n]\n")
    print(f"{len(new)} rows recorded, {len(rows)} in all.")
    return 0


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


def page(files: Mapping[str, str]) -> str:
    """Write the page.

    Args:
        files: For each loss, the file that holds it, in the order of the page.
    """
    from lossbook.book.runs import charts

    found = [row for row in results() if row["loss"] in files]
    if not found:
        return f"{INTRODUCTION}\nNothing has been measured yet.\n"
    order = list(files)
    found.sort(key=lambda row: (order.index(row["loss"]), row["size"], str(row["settings"])))
    places = {
        device: "on one thread" if device == "cpu" else "on the GPU"
        for device in sorted({r["device"] for r in found}, key=lambda d: d != "cpu")
    }
    machines = {(r["machine"], r["torch"], r["device"]): r["date"][:10] for r in found}
    text = INTRODUCTION + "\n"
    for (machine, torch, device), date in machines.items():
        text += f"Measured on {date}: {machine}, {device}, torch {torch}. "
    text += "Drawn is one thread, and the GPU; the tables have two threads, spread and memory.\n"
    families = {
        family: rows
        for family in dict.fromkeys(file.split("/")[1] for file in files.values())
        if (rows := [r for r in found if files[r["loss"]].split("/")[1] == family])
    }
    for device, where in places.items():
        glance = {
            family: [r for r in rows if r["threads"] == 1 and r["device"] == device]
            for family, rows in families.items()
        }
        if any(glance.values()):
            drawn = charts.draw(_glance(glance), f"glance-{where.replace(' ', '-')}")
            text += "\n" + charts.figure(drawn, f"Every loss at every size, {where}.")
    for family, rows in families.items():
        text += f"\n## {family.capitalize()}\n\n"
        for device, where in places.items():
            one = [r for r in rows if r["threads"] == 1 and r["device"] == device]
            if one:
                bars = charts.draw(_bars(one), f"speed-{family}-{where.replace(' ', '-')}")
                told = f"{where[0].upper()}{where[1:]}: right of the line is slower."
                text += charts.figure(bars, told)
            for row in (r for r in one if r.get("sweep") and device == "cpu"):
                growth = charts.draw(_growth(row), f"growth-{row['loss'].replace('_', '-')}")
                text += charts.figure(growth, f"{row['loss']} as N grows, through {row['size']}.")
        text += f'\n??? note "The numbers of {family}"\n\n'
        table = _table(rows, files)
        table = f"<div data-search-exclude markdown='1'>\n\n{table}\n\n</div>"
        text += "".join(f"    {line}\n" for line in table.splitlines())
    return text + _slower(found)


def _slower(found: Sequence[Mapping[str, Any]]) -> str:
    """List where torch, a library on it, or the formula is faster, with the reason."""
    rivals = ("torch", KINDS[2], FORMULA)
    faster: dict[str, dict[str, str]] = {}
    for row in (r for r in found if r["threads"] == 1):
        eager = [
            (result["ratio"][1], name)
            for name, result in _timed(row)
            if _kind(name) in rivals and result["ratio"][2] < 0.95
        ]
        if eager:
            middle, name = min(eager)
            cells = faster.setdefault(_name(row), {"why": row["slower"] or "not known"})
            cells[_place(row)] = f"{name} {middle:.2f}"
    places = [p for p in ("1 thread", "GPU") if any(p in cells for cells in faster.values())]
    if not places:
        return ""
    columns = [*places, "why"]
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, cells in faster.items():
        lines.append(f"| {name} | " + " | ".join(cells.get(c, "") for c in columns) + " |")
    return (
        "\n## Where lossbook is slower\n\n"
        "Than torch, a library on it, or the formula, all eager, by more than the spread of the "
        "run: the fastest of them, and its time over ours. On a GPU most of these sizes are small, "
        "and a ratio compares how many kernels are launched.\n\n" + "\n".join(lines) + "\n"
    )


def _name(row: Mapping[str, Any]) -> str:
    words = ", ".join(f"{k} {v}" for k, v in row["settings"].items())
    return f"{row['loss']} {row['size']}" + (f", {words}" if words else "")


def _place(row: Mapping[str, Any]) -> str:
    if row["device"] != "cpu":
        return "GPU"
    return "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"


def _timed(row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, result in row["candidates"].items():
        if result["status"] == "timed" and name != OURS:
            yield name, result


def _kind(name: str) -> str:
    if name in (COMPILED, FORMULA):
        return name
    if name.partition(" ")[0] == "torch":  # A function of torch, or what its users write.
        return "torch"
    return KINDS[3] if name == "Optax" else KINDS[2]


def _glance(families: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Draw every ratio as a tick, a line a family and kind."""
    import altair as alt

    from lossbook.book.plots import INK

    data = [
        {"family": family, "kind": _kind(name), "ratio": round(result["ratio"][1], 3)}
        for family, rows in families.items()
        for row in rows
        for name, result in _timed(row)
    ]
    kinds = [kind for kind in KINDS if any(d["kind"] == kind for d in data)]
    counts = []
    for kind in kinds:
        given = [d["ratio"] for d in data if d["kind"] == kind]
        slower = sum(ratio > 1 for ratio in given)
        counts.append(f"{kind}: slower than lossbook in {slower} of {len(given)} rows")
    ticks = alt.Chart(alt.Data(values=data)).mark_tick(thickness=2)
    chart = ticks.encode(
        alt.X(
            "ratio:Q",
            title="time over that of lossbook, eager",
            scale=alt.Scale(type="log", nice=False),
            axis=alt.Axis(values=TICKS),
        ),
        alt.Y("family:N", sort=list(families), title=None),
        alt.YOffset("kind:N", sort=kinds),
        alt.Color(
            "kind:N",
            sort=kinds,
            scale=alt.Scale(domain=kinds),
            legend=alt.Legend(labelLimit=220),
        ),
    )
    line = alt.Chart(alt.Data(values=[{"x": 1}])).mark_rule(color=INK).encode(alt.X("x:Q"))
    drawn = (chart + line).properties(
        height=alt.Step(9),
        description="Time of other implementations over that of lossbook, log scale, by family. "
        + "; ".join(counts)
        + ".",
    )
    return dict(drawn.to_dict())


def _bars(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Draw the ratios of a family on a logarithmic axis that starts at 1."""
    import altair as alt

    from lossbook.book.plots import INK

    data = [
        {
            "row": _name(row),
            "kind": _kind(name),
            "ratio": round(result["ratio"][1], 3),
            "from": 1,
            "place": place,
        }
        for row in rows
        for place, (name, result) in enumerate(_timed(row))
    ]
    medians = []
    for kind in KINDS:
        given = [d["ratio"] for d in data if d["kind"] == kind]
        if given:
            medians.append(
                f"{kind}: {min(given):.2g} to {max(given):.3g} times, "
                f"median {statistics.median(given):.2g}, in {len(given)} bars"
            )
    bars = alt.Chart(alt.Data(values=data)).mark_bar(height=alt.RelativeBandSize(0.8))
    chart = bars.encode(
        alt.X(
            "ratio:Q",
            title="time over that of lossbook, eager",
            scale=alt.Scale(type="log", nice=False),
            axis=alt.Axis(values=TICKS),
        ),
        alt.X2("from:Q"),
        alt.Y("row:N", sort=[_name(r) for r in rows], title=None, axis=alt.Axis(labelLimit=360)),
        alt.YOffset("place:O"),
        alt.Color(
            "kind:N",
            sort=list(KINDS),
            scale=alt.Scale(domain=[k for k in KINDS if any(d["kind"] == k for d in data)]),
            legend=alt.Legend(labelLimit=220),
        ),
    )
    line = alt.Chart(alt.Data(values=[{"x": 1}])).mark_rule(color=INK).encode(alt.X("x:Q"))
    drawn = (chart + line).properties(
        height=alt.Step(9),
        description="Time of other implementations over that of lossbook, log scale. "
        + "; ".join(medians)
        + ".",
    )
    return dict(drawn.to_dict())


def _growth(row: Mapping[str, Any]) -> dict[str, Any]:
    """Draw time and memory against the size, both logarithmic."""
    import altair as alt

    from lossbook.book.plots import DASHES

    data = [
        {"n": int(n), "ms": ms, "MB": size / 1e6, "who": who}
        for who, sizes in row["sweep"].items()
        for n, (ms, size) in sizes.items()
    ]
    names = list(row["sweep"])
    sizes = sorted({d["n"] for d in data})
    last = {d["who"]: d for d in data}
    ends = "; ".join(
        f"{who} at {d['n']}: {d['ms']:.3g} ms, {d['MB']:.3g} MB" for who, d in last.items()
    )
    panels = [
        alt.Chart(alt.Data(values=data))
        .mark_line(point=True)
        .encode(
            alt.X(
                "n:Q",
                title="N",
                scale=alt.Scale(type="log", nice=False),
                axis=alt.Axis(values=sizes, format="d"),
            ),
            alt.Y(
                f"{field}:Q", title=title, scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=4)
            ),
            alt.Color("who:N", sort=names, scale=alt.Scale(domain=names)),
            alt.StrokeDash("who:N", sort=names, scale=alt.Scale(range=DASHES), legend=None),
        )
        for field, title in (("ms", "milliseconds"), ("MB", "peak memory, MB"))
    ]
    return dict(
        alt.concat(*panels, columns=2)
        .properties(description=f"{row['loss']}: time and memory against N, log scales. {ends}.")
        .to_dict()
    )


def _table(rows: Sequence[Mapping[str, Any]], files: Mapping[str, str]) -> str:
    """Write every number of a family: medians, quartiles, memory, and what did not run."""
    lines = [
        "| | on | | time, ms | ratio (quartiles) | peak memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"`{row['loss']}` {escape(_name(row).removeprefix(row['loss']).strip())}"
        source = (ROOT / files[row["loss"]]).read_bytes()
        if hashlib.sha256(source).hexdigest() != row["source"]:
            name += " (before the last change of its file)"
        for who, result in row["candidates"].items():
            cells = [name, _place(row), who]
            if result["status"] == "timed":
                low, middle, high = result["ratio"]
                ratio = "1" if who == OURS else f"{middle:.2f} ({low:.2f} to {high:.2f})"
                memory = result["memory"]
                size = "not measured" if memory is None else f"{memory / 1e6:.1f}"
                cells += [f"{result['ms']:.3g}", ratio, size]
            else:
                reason = escape(result["reason"][:160]).replace("|", "&#124;")
                cells += [f"*not run: {reason}*", "", ""]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
