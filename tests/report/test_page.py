"""The page of a report: nothing in it is taken for markup, it asks for nothing, and it reads well without its script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from missing import without
from report import sample

from batcher.report.page import render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, the text of each, and what was never closed."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append((self.open[-1] if self.open else "", data))

    def tags(self):
        return [tag for tag, _ in self.elements]

    def text(self, *tags):
        return " ".join(data for tag, data in self.words if tag in tags or not tags)

    def data(self):
        return json.loads(next(data for tag, data in self.words if tag == "script"))


def headings(html):
    return re.findall(r"<h2>(.*?)</h2>", html)


def body_rows(html, table_class):
    table = re.search(rf'<table class="{table_class}">.*?</table>', html, re.DOTALL)[0]
    return [int(figure.replace(",", "")) for figure in re.findall(r'<td class="n">([\d,]+)</td>', table)]


@pytest.mark.parametrize("content", [sample.empty, sample.run, sample.load, sample.largest, sample.hostile])
def test_every_page_is_well_formed_and_refers_to_nothing_outside(content):
    page = Page(render(content()))
    assert page.open == []
    for tag, attributes in page.elements:
        assert "src" not in attributes
        assert attributes.get("href", "#main") == "#main"
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert tag not in {"link", "img", "iframe", "object", "base", "form"}
    styles = page.text("style")
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_policy_permits_only_this_page_s_own_style_and_scripts():
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', render(sample.run()))[1]
    assert policy.startswith("default-src 'none'; ")
    assert policy.count("sha256-") == 3
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_landmarks_and_headings_are_in_order():
    page = Page(render(sample.run()))
    tags = page.tags()
    assert [tags.count(each) for each in ("h1", "header", "main", "footer")] == [1, 1, 1, 1]
    assert ("html", {"lang": "en"}) in page.elements
    levels = [int(tag[1]) for tag in tags if tag in {"h1", "h2", "h3"}]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_sections_stand_in_their_order():
    assert headings(render(sample.run())) == [
        "Outcome of the changes", "Next", "Charts", "Requests", "What failed, by reason", "Largest groups", "Guardrails", "Facts", "Settings",
    ]  # fmt: skip


def test_what_has_no_content_is_left_out():
    assert headings(render(sample.empty())) == []
    assert headings(render(sample.empty() | {"more_failures": 3})) == ["What failed, by reason"]
    table = {"id": "none", "title": "None", "head": ["a"], "rows": [], "note": "never"}
    assert headings(render(sample.empty() | {"tables": [table]})) == []


@pytest.mark.parametrize("content", [sample.run, sample.load])
def test_the_counts_add_up_in_sight(content):
    *parts, total = body_rows(render(content()), "counts")
    assert sum(parts) == total == content()["total"]["count"]


@pytest.mark.parametrize(
    ("count", "share"),
    [(0, "0 %"), (1, "&lt; 0.1 %"), (500, "0.5 %"), (50_000, "50.0 %"), (99_999, "&gt; 99.9 %"), (100_000, "100 %")],
)
def test_a_share_is_never_rounded_to_nothing_or_everything(count, share):
    counts = [{"name": "applied", "count": count, "meaning": ""}]
    html = render(sample.empty() | {"counts": counts, "total": {"name": "changes", "count": 100_000}})
    assert f'<td class="n">{count:,}</td><td class="n">{share}</td>' in html


def test_everything_but_the_charts_is_there_without_the_script():
    shown = Page(render(sample.run())).text()
    for words in ("batcher retry run.ledger", "group 53 does not exist", "changes.csv, line 7", "61 % of group 53, at most 50 %",
                  "50/min", "Requests that were sent again count each time.", "4f2a91c07be3", "Needs attention",
                  "Never more than the 50 that are allowed.", "16 changes", "batcher 0.1.0"):  # fmt: skip
        assert words in shown


def test_numbers_stand_to_the_right_and_names_to_the_left():
    html = render(sample.run())
    assert '<td>200</td><td class="n">120</td><td class="n">82.2 %</td><td>settled</td>' in html
    assert "<td>add</td><td>5</td><td>53</td><td>changes.csv, line 7</td>" in html
    assert '<td>53</td><td class="n">3,000</td>' in html


def test_a_table_of_figures_is_thinned_with_its_first_and_last_point():
    html = render(sample.empty() | {"charts": sample.largest()["charts"][:1]})
    times = re.findall(r"<td>(2026-\S+ \S+)</td>", html)
    assert len(times) == 60
    assert (times[0], times[-1]) == ("2026-11-22 02:30:00", "2026-11-22 02:39:59")
    assert "60 of 600 points" in html


def test_figures_have_four_digits_and_times_all_of_theirs():
    values = [0, 123456.0, 0.000123456, None, float("nan"), float("inf"), 1e300]
    times = [1795314600 + at for at in range(len(values))]
    chart = sample.chart("c", "C", "s", "time", times, "u", [("a", values)], "line")
    html = render(sample.empty() | {"charts": [chart]})
    [drawn] = Page(html).data()
    assert drawn["x"] == times
    assert drawn["series"][0]["values"] == [0, 123500, 0.0001235, None, None, None, 1e300]
    for shown in ("123,500", "0.0001235", "–"):
        assert f'<td class="n">{shown}</td>' in html


def test_percentiles_keep_their_digits():
    chart = sample.chart(
        "c", "C", "s", "percentile", [50, 99.9, 99.9999999], "ms", [("a", [1, 2, 3])], "line", "percentile"
    )
    assert all(
        f"<td>{label}</td>" in render(sample.empty() | {"charts": [chart]}) for label in ("p50", "p99.9", "p99.9999999")
    )


def test_a_status_has_the_same_colour_everywhere_and_no_other_name_has_it():
    names = ["sent", "failed", "applied", "more"]
    chart = sample.chart("c", "C", "s", "number", [1], "u", [(name, [1]) for name in names], "line")
    [drawn] = Page(render(sample.empty() | {"charts": [chart]})).data()
    tones = [series["tone"] for series in drawn["series"]]
    assert len(set(tones)) == 4
    counts = [{"name": "failed", "count": 1, "meaning": ""}]
    assert (
        f"tone-{tones[1]}"
        in render(sample.empty() | {"counts": counts, "total": {"name": "changes", "count": 1}}).split("<body>")[1]
    )


def test_the_largest_page_is_below_a_megabyte():
    assert len(render(sample.largest()).encode()) < 1_000_000


def test_hostile_text_is_shown_and_nothing_else():
    html = render(sample.hostile())
    page = Page(html)
    assert page.tags() == Page(render(sample.hostile("harmless") | {"outcome": "stopped"})).tags()
    assert "[U+202E][U+2028][U+D800][U+0000]" in html
    assert not re.search("[\u2028-\u202e\ud800-\udfff\x00]", html)
    assert page.data()[0]["series"][0]["label"].startswith("</script><img src=x")


@given(
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=60)
    | st.text("<>/!-&\"'$ {}\u2028script=", min_size=1, max_size=40)
)
def test_no_text_changes_what_the_page_consists_of(text):
    html = render(sample.hostile(text))
    html.encode()
    page = Page(html)
    shape = [(tag, sorted(attributes.keys() - {"class"})) for tag, attributes in page.elements]
    plain = [(tag, sorted(attributes.keys() - {"class"})) for tag, attributes in PLAIN.elements]
    assert shape == plain
    assert len(page.data()) == 4


PLAIN = Page(render(sample.hostile("plain")))


def luminance(colour):
    def linear(part):
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_the_colours_can_be_told_from_the_paper(theme):
    css = files("batcher.report").joinpath("page.css").read_text("utf-8")
    block = re.findall(r":root[^{]*\{([^}]*--paper[^}]*)\}", css)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", block))
    for name in ("ink", "soft", "accent", "good", "attention", "stopped"):
        assert contrast(colours[name], colours["paper"]) >= 4.5
        assert contrast(colours[name], colours["sunk"]) >= 4.5
    for tone in range(8):
        assert contrast(colours[f"tone-{tone}"], colours["paper"]) >= 3


def browse(html, folder, *options):
    """What the browser made of the page, and what it had to say about it."""
    if CHROMIUM is None:
        without("chromium")
    page = folder / "report.html"
    page.write_text(html, "utf-8")
    quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    profile = f"--user-data-dir={folder / 'profile'}"
    log = ["--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000"]
    shown = subprocess.run(
        [CHROMIUM, *quiet, profile, *log, *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=folder,
    )
    return shown.stdout, [line for line in shown.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize(("content", "charts"), [(sample.run, 4), (sample.largest, 6), (sample.hostile, 4)])
def test_a_browser_draws_all_charts_and_has_nothing_to_complain_about(tmp_path, content, charts):
    dom, complaints = browse(render(content()), tmp_path, "--dump-dom")
    assert complaints == []
    assert f'data-charts="{charts}"' in dom
    assert dom.count('class="uplot') == charts
    assert 'id="copy">' in dom


def test_a_browser_shows_charts_without_figures_as_their_words(tmp_path):
    bare = sample.chart("c", "Bare", "There were none.", "time", [], "u", [("a", [])], "stacked")
    void = sample.chart("d", "Void", "Not measured.", "number", [1], "u", [("a", [None]), ("b", [None])], "bars")
    lone = sample.chart("e", "Lone", "One.", "percentile", [50], "u", [("a", [7])], "steps")
    dom, complaints = browse(render(sample.empty() | {"charts": [bare, void, lone]}), tmp_path, "--dump-dom")
    assert complaints == []
    assert 'data-charts="3"' in dom
    assert "There were none." in dom


def test_a_browser_refuses_what_the_policy_does_not_permit(tmp_path):
    smuggled = "<script>document.title='run'</script><img src='https://example.invalid/x.png'></main>"
    dom, complaints = browse(render(sample.load()).replace("</main>", smuggled), tmp_path, "--dump-dom")
    assert len(complaints) == 2
    assert "<title>run</title>" not in dom


def test_a_browser_takes_a_picture_in_the_dark(tmp_path):
    options = [
        "--blink-settings=preferredColorScheme=0",
        "--window-size=1200,900",
        f"--screenshot={tmp_path / 'page.png'}",
    ]
    _, complaints = browse(render(sample.load()), tmp_path, *options)
    assert complaints == []
    assert (tmp_path / "page.png").stat().st_size > 20_000
