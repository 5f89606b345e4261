"""Renders the content of a report as one HTML page that is readable offline, on paper, and without scripts."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import orjson

KINDS = {"run": "Run report", "load": "Load report"}
OUTCOMES = {"good": ("✓", "Good"), "attention": ("!", "Needs attention"), "stopped": ("■", "Stopped")}
GROUP_FIGURES = ("total", "applied", "not_applied")
GUARDRAIL_HEAD = ("guardrail", "figures", "outcome")

# The same word has the same colour everywhere on the page.
STATUS_TONES = {"applied": 0, "unchanged": 2, "superseded": 4, "rejected": 1, "failed": 5, "unknown": 3, "pending": 7}
TONES = 8
TABLE_ROWS = 60
LONG_WORD = 24
LEAST_SHARE = 0.1
EXACT = 2**53  # up to which a whole number is the same in JSON and in the browser

# Control characters, and those that reorder text, could make a name look like another; their codes are shown instead.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NUMERIC = re.compile(r"[-–—]?|[<>≤≥~]?\s?[-+−]?\d[\d,.\u2009\u202f ]*(e[+-]\d+)?\s?(%|[nµm]?s|min|h|[kKMG]?i?B)?")


def render(content: Mapping[str, Any]) -> str:
    """The whole page; `content` is plain text and figures, and nothing in it is treated as markup."""
    sign, word = OUTCOMES[content["outcome"]]
    style = _asset("vendor/uPlot.min.css") + _asset("page.css") + _bar_rules(content["counts"])
    scripts = [f"/*\n{_asset('vendor/LICENSE')}\n*/\n{_asset('vendor/uPlot.iife.min.js')}", _asset("page.js")]
    return Template(_asset("page.html")).substitute(
        policy=_policy(style, scripts),
        title=text(content["title"]),
        style=style,
        kind=KINDS[content["kind"]],
        outcome=content["outcome"],
        sign=sign,
        word=word,
        sentence=text(content["sentence"]),
        sections="\n".join(filter(None, _sections(content))),
        made=text(content["made"]),
        data=_chart_data(content["charts"]),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def text(value: object) -> str:
    """Any value as text for an element or a quoted attribute."""
    return escape(_visible(value))


def _visible(value: object) -> str:
    return CONTROLS.sub(lambda found: f"[U+{ord(found[0]):04X}]", str(value))


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8").strip()


def _policy(style: str, scripts: Sequence[str]) -> str:
    """Permits exactly this page's own style and scripts, so that nothing injected could load or run."""
    styled, *run = [f"'sha256-{b64encode(sha256(source.encode()).digest()).decode()}'" for source in (style, *scripts)]
    return f"default-src 'none'; style-src {styled}; script-src {' '.join(run)}; base-uri 'none'; form-action 'none'"


def _sections(content: Mapping[str, Any]) -> list[str]:
    groups = [[each["group"], *(f"{each[key]:,}" for key in GROUP_FIGURES)] for each in content["groups"]]
    guardrails = [[each[key] for key in GUARDRAIL_HEAD] for each in content["guardrails"]]
    return [
        _counts(content),
        _next(content["next"]),
        _charts(content["charts"]),
        *(_listed(each["title"], each["head"], each["rows"], each["note"]) for each in content["tables"]),
        _failures(content["failures"], content["more_failures"]),
        _listed("Largest groups", ["group", "changes", "applied", "not applied"], groups),
        _listed("Guardrails", GUARDRAIL_HEAD, guardrails),
        _pairs("Facts", "facts", content["facts"]),
        _pairs("Settings", "settings", content["settings"]),
    ]


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{text(heading)}</h2>\n{body}</section>" if body else ""


def _tones(names: Sequence[str]) -> list[int]:
    """A colour for each name: a status has its own; other names get colours that no status among the names has."""
    taken = {STATUS_TONES[name] for name in names if name in STATUS_TONES}
    free = [tone for tone in range(TONES) if tone not in taken] or [0]
    others = [name for name in names if name not in STATUS_TONES]
    given = {name: free[at % len(free)] for at, name in enumerate(others)} | STATUS_TONES
    return [given[name] for name in names]


def _bar_rules(counts: Sequence[Mapping[str, Any]]) -> str:
    """The widths of the bar's parts; in the style sheet, as the policy permits no style attributes."""
    return "".join(f"\n.part-{at}{{flex-grow:{int(each['count'])}}}" for at, each in enumerate(counts))


def _counts(content: Mapping[str, Any]) -> str:
    counts, total, name = content["counts"], content["total"]["count"], content["total"]["name"]
    if not counts:
        return ""
    tones = _tones([each["name"] for each in counts])
    parts = "".join(
        f'<span class="part-{at} tone-{tone}"></span>' for at, tone in enumerate(tones) if counts[at]["count"]
    )
    rows = [
        f'<tr><th scope="row"><span class="swatch tone-{tone}" aria-hidden="true"></span>{text(each["name"])}'
        f' <span class="meaning">{text(each["meaning"])}</span></th>{_counted(each["count"], total)}</tr>'
        for each, tone in zip(counts, tones, strict=True)
    ]
    heads = (
        f'<th scope="col">result</th><th scope="col" class="n">{text(name)}</th><th scope="col" class="n">share</th>'
    )
    return _section(
        f"Outcome of the {name}",
        f'<div class="bar" aria-hidden="true">{parts}</div>\n<table class="counts"><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody>\n"
        f'<tfoot><tr><th scope="row">all {text(name)}</th>{_counted(total, total)}</tr></tfoot></table>',
    )


def _counted(count: int, total: int) -> str:
    return f'<td class="n">{count:,}</td><td class="n">{_share(count, total)}</td>'


def _share(count: int, total: int) -> str:
    """Never rounded to 0 % or 100 % if it is neither."""
    if count in {0, total}:
        return f"{100 * bool(count)} %"
    percent = 100 * count / total
    if percent < LEAST_SHARE:
        return f"&lt; {LEAST_SHARE} %"
    most = 100 - LEAST_SHARE
    return f"&gt; {most} %" if percent > most else f"{percent:.1f} %"


def _next(following: Mapping[str, str] | None) -> str:
    if following is None:
        return ""
    return _section(
        "Next",
        f'<p>{text(following["text"])}</p>\n<div class="command"><pre><code id="command">{text(following["command"])}'
        '</code></pre><button type="button" id="copy" hidden>Copy</button></div>'
        '<p id="copied" class="note" role="status"></p>',
    )


def _charts(charts: Sequence[Mapping[str, Any]]) -> str:
    if not charts:
        return ""
    figures = "\n".join(_figure(at, chart) for at, chart in enumerate(charts))
    return _section(
        "Charts",
        '<p class="note" id="how" hidden>Point at a chart, or focus it and use the arrow keys, to read its figures.</p>'
        f'<p class="unseen" id="reading" role="status"></p>\n<div class="charts">{figures}</div>',
    )


def _figure(at: int, chart: Mapping[str, Any]) -> str:
    return (
        f'<figure><figcaption><h3 id="chart-{at}">{text(chart["title"])}</h3>'
        f'<p id="summary-{at}">{text(chart["summary"])}</p></figcaption>\n'
        f'<div class="plot" role="img" aria-labelledby="chart-{at} summary-{at}"></div>\n'
        f"{_chart_figures(chart)}</figure>"
    )


def _chart_figures(chart: Mapping[str, Any]) -> str:
    """The chart as a table, thinned evenly: for those who cannot see or draw it."""
    x, series = chart["x"], chart["series"]
    shown = _thinned(len(x["values"]))
    rows = [
        [_position(x["kind"], x["values"][at]), *(_figure_text(each["values"][at]) for each in series)] for at in shown
    ]
    head = [f"{x['label']}, UTC" if x["kind"] == "time" else x["label"], *(each["label"] for each in series)]
    points = len(x["values"])
    of = f"{len(shown)} of {points:,} points" if len(shown) < points else f"{points:,} points"
    unit = f'<p class="note">{text(chart["y"]["label"])}</p>'
    table = _table(f"{chart['title']}: figures", head, rows)
    return f"<details><summary>The figures ({of})</summary>{unit}{table}</details>"


def _thinned(points: int) -> list[int]:
    """At most `TABLE_ROWS` positions, evenly spread, the first and the last among them."""
    rows = min(points, TABLE_ROWS)
    return [round(at * (points - 1) / max(rows - 1, 1)) for at in range(rows)]


def _position(kind: str, value: float) -> str:
    if kind == "time":
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"
    return f"p{value:.10g}" if kind == "percentile" else _figure_text(value)


def _rounded(value: float | None) -> float | None:
    """To four significant digits, whole numbers without a point; NaN and infinity count as not measured."""
    if value is None or not math.isfinite(value):
        return None
    near = float(f"{value:.4g}")
    return int(near) if near.is_integer() and abs(near) < EXACT else near


def _figure_text(value: float | None) -> str:
    near = _rounded(value)
    if near is None:
        return "–"
    return f"{near:,}" if isinstance(near, int) else f"{near:.4g}"


def _chart_data(charts: Sequence[Mapping[str, Any]]) -> str:
    """The data that the script draws, as JSON that cannot end the element around it."""
    plain = orjson.dumps([_drawn(chart) for chart in charts]).decode()
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", plain)


def _drawn(chart: Mapping[str, Any]) -> dict[str, Any]:
    x, series = chart["x"], chart["series"]
    tones = _tones([each["label"] for each in series])
    return {
        "style": chart["style"],
        "kind": x["kind"],
        "xLabel": _visible(x["label"]),
        "yLabel": _visible(chart["y"]["label"]),
        # With four digits, neighbouring seconds would coincide.
        "x": [int(value) if float(value).is_integer() else round(float(value), 6) for value in x["values"]],
        "series": [
            {"label": _visible(each["label"]), "tone": tone, "values": [_rounded(value) for value in each["values"]]}
            for each, tone in zip(series, tones, strict=True)
        ],
    }


def _listed(heading: str, head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    if not rows:
        return ""
    return _section(heading, _table(heading, head, rows) + (f'<p class="note">{text(note)}</p>' if note else ""))


def _table(name: str, head: Sequence[object], rows: Sequence[Sequence[object]], figures_from: int = 1) -> str:
    """A table in a box of its own that scrolls when it is wide; the columns before `figures_from` are names."""
    figures = [at >= figures_from and all(NUMERIC.fullmatch(str(row[at])) for row in rows) for at in range(len(head))]
    body = "\n".join(_row("td", row, figures) for row in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(name)}"><table>'
        f"<thead>{_row('th', head, figures)}</thead>\n<tbody>{body}</tbody></table></div>"
    )


def _row(tag: str, cells: Sequence[object], figures: Sequence[bool]) -> str:
    return f"<tr>{''.join(_cell(tag, *each) for each in zip(cells, figures, strict=True))}</tr>"


def _cell(tag: str, value: object, figure: bool) -> str:  # noqa: FBT001
    """Words are broken only in a cell with a very long one, so that a narrow screen does not break them everywhere."""
    long = any(len(word) > LONG_WORD for word in str(value).split())
    kind = ' class="long"' if long else ' class="n"' if figure else ""
    return f"<{tag}{kind}>{text(value)}</{tag}>"


def _failures(failures: Sequence[Mapping[str, Any]], more: int) -> str:
    reasons = "\n".join(map(_failure, failures))
    rest = f'<p class="note">and {_changes(more)} with other reasons.</p>' if more else ""
    return _section("What failed, by reason", reasons + rest)


def _failure(failure: Mapping[str, Any]) -> str:
    count, reason = failure["count"], failure["reason"]
    examples = [[each[key] for key in ("op", "user", "group", "where")] for each in failure["examples"]]
    head = ["operation", "user", "group", "where"]
    shown = _table(f"Examples: {reason}", head, examples, figures_from=len(head)) if examples else ""
    of = f"; {len(examples)} of them:" if 0 < len(examples) < count else ""
    return (
        f'<article><h3>{text(reason)}</h3><p class="note"><strong>{_changes(count)}</strong>'
        f" {text(failure['status'])}{of}</p>{shown}</article>"
    )


def _changes(count: int) -> str:
    return f"{count:,} change{'' if count == 1 else 's'}"


def _pairs(heading: str, kind: str, pairs: Sequence[Sequence[str]]) -> str:
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>\n" for name, value in pairs)
    return _section(heading, f'<dl class="{kind}">{rows}</dl>' if rows else "")
