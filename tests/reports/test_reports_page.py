from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demur.errors import RunError
from demur.records import Measure
from demur.reports import render_audit, write_audit
from demur.reports.profile import join

HEADINGS = ["h1", "h2", "h3", "h4", "h5"]


@pytest.fixture
def page(info, measures, samples) -> str:
    return render_audit(info, measures, samples)


def tables(tree):
    return {node.by_id(next(c.attributes["id"] for c in node.all("caption"))).words: node for node in tree.all("table")}


def rows(table) -> list[list[str]]:
    return [[cell.words for cell in row.walk() if cell.tag in {"th", "td"}] for row in table.all("tr")]


def test_the_page_is_well_formed_and_its_references_resolve(page, read_page):
    tree = read_page(page)
    ids = [node.attributes["id"] for node in tree.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in tree.walk():
        for name in (node.attributes.get("aria-labelledby") or "").split():
            assert name in ids
        if (node.attributes.get("href") or "").startswith("#"):
            assert node.attributes["href"][1:] in ids


def test_landmarks_headings_and_table_semantics(page, read_page):
    tree = read_page(page)
    (html,) = tree.all("html")
    assert html.attributes["lang"] == "en"
    for landmark in ("h1", "main", "header", "nav", "footer"):
        assert len(tree.all(landmark)) == 1
    assert [n.words for n in tree.all("head")[0].all("title")] == ["Refusal audit of openai/some-model"]
    levels = [HEADINGS.index(node.tag) for node in tree.walk() if node.tag in HEADINGS]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for table in tree.all("table"):
        assert len(table.all("caption")) == 1
        assert all(th.attributes.get("scope") for th in table.all("th"))
    for svg in tree.all("svg"):
        assert svg.attributes["role"] == "img"
        assert all(len(svg.all(tag)) >= 1 for tag in ("title", "desc"))
    for scroll in tree.classed("scroll"):
        assert scroll.attributes["tabindex"] == "0"


def test_nothing_is_loaded_and_nothing_runs(page, read_page):
    tree = read_page(page)
    allowed_href = re.compile(r"#[\w-]+|data:,")
    for node in tree.walk():
        assert node.tag not in {"script", "iframe", "img", "object", "embed", "form", "base", "video", "audio"}
        assert not {"src", "srcset", "action", "background", "poster", "data"} & set(node.attributes)
        assert not [name for name in node.attributes if name.startswith("on")]
        assert allowed_href.fullmatch(node.attributes.get("href") or "#x")
        assert "url(" not in (node.attributes.get("style") or "")
    (style,) = tree.all("style")
    assert not re.search(r"url\(|@import|@font-face|expression|//", style.text)


def test_the_order_is_the_one_a_reader_needs(page):
    places = [
        page.index(f'id="{name}"')
        for name in ("result", "categories", "kinds", "facets", "examples", "settings", "reading")
    ]
    assert places == sorted(places)
    assert page.index('class="verdict"') < places[0]


def test_the_headlines_are_the_overall_measures(page, read_page):
    tree = read_page(page)
    over, under = tree.classed("headline")
    assert over.classed("figure")[0].words == "12.0%"
    assert under.classed("figure")[0].words == "6.9%"
    assert "n = 200 judged" in over.words
    assert "Not judged, not in n: 2 filtered, 1 empty, 0 unscored." in over.words
    assert "Not judged, not in n: 3 filtered, 0 empty, 4 unscored." in under.words


def test_the_table_holds_the_measures_and_nothing_else(page, measures, read_page):
    tree = read_page(page)
    (table,) = [t for caption, t in tables(tree).items() if caption.startswith("The numbers behind the figure")]
    found: dict[tuple[str, str], list[str]] = {}
    label = ""
    for cells in rows(table)[2:]:
        if cells[0] not in {"over", "under"}:
            label = cells.pop(0)
        found[label, cells[0]] = cells[1:]
    wanted = {}
    for m in measures:
        if m.task != "refusal_profile" or m.name not in {"over_refusal", "under_refusal"}:
            continue
        if m.group is not None and not m.group.startswith("category="):
            continue
        left = [str(m.excluded.get(kind, 0)) for kind in ("filtered", "empty", "unscored")]
        # written out independently of the package's own formatting
        rate = "0%" if m.value == 0 else None if m.value is None else f"{m.value * 100:.1f}%"
        low = None if m.low is None else "0%" if m.low == 0 else f"{m.low * 100:.1f}%"
        numbers = [f"n too small (n={m.n})"] if rate is None else [rate, f"{low} to {m.high * 100:.1f}%", ""]
        name = "Overall" if m.group is None else m.group.removeprefix("category=")
        wanted[name, m.name.removesuffix("_refusal")] = [*numbers, str(m.n), *left]
    wanted["plain", "under"] = ["no such requests"]
    assert found == wanted


def test_no_rate_under_thirty_whatever_the_measures_carry(info, samples):
    """Values that a faulty producer filled in must not reach any part of the page."""
    value, low, high = 0.3719, 0.3218, 0.4277
    small = [
        Measure(task=task, name=name, group=group, value=value, low=low, high=high, n=29, unit=unit, method="x")
        for task in ("refusal_profile", "other")
        for name, group, unit in [
            ("over_refusal", None, "rate"), ("under_refusal", None, "rate"),
            ("over_refusal", "category=a", "rate"), ("under_refusal", "category=a", "rate"),
            ("over_refusal", "category=b", "rate"), ("under_refusal", "wrapper=w", "rate"),
            ("kind_share", "expect=comply,kind=refuse", "rate"), ("anything", "else=x", "rate"),
            ("shift", None, "difference"),
        ]
    ]  # fmt: skip
    page = render_audit(info, small, samples)
    assert not re.search(r"\b(0?\.37|0?\.32|0?\.42|37|32\.2|42\.8|43)(\.\d+)?\s?(%|of 100|in 100|points)", page)
    assert 'style="' not in page
    assert page.count("n too small (n=29)") > 10
    assert 'class="mark' not in page


def test_kinds_are_shown_by_expectation(page, read_page):
    tree = read_page(page)
    (table,) = [t for caption, t in tables(tree).items() if caption.startswith("Share of each kind")]
    by_kind = {cells[0].split()[0]: cells[1:] for cells in rows(table)[2:]}
    assert by_kind["comply"][0] == "88.0%"
    assert by_kind["comply"][3] == "6.9%"
    assert by_kind["refuse"][3] == "69.0%"
    assert by_kind["filtered"] == ["2 not in n", "2 not in n"]


def test_masked_texts_are_nowhere_in_the_page(page):
    for kind in ("comply", "partial", "filtered", "empty", "unscored"):
        assert f"PROMPT-decline-{kind}" not in page
        assert f"PROMPT-comply-{kind}" in page
    assert "PROMPT-decline-refuse" in page
    assert "characters, text masked" in page


def test_show_text_shows_them_and_says_so(info, measures, samples):
    page = render_audit(info, measures, samples, show_text=True)
    assert "PROMPT-decline-comply" in page
    assert "mind who reads it" in page
    assert "text masked" not in page


def test_users_own_prompts_are_masked_and_named_for_what_they_are(info, measures, samples):
    info["settings"]["prompts"] = "mine.jsonl"
    page = render_audit(info, measures, samples)
    assert "PROMPT-" not in page
    assert "HTTP 500 from the server" not in page
    assert "requests that it should answer" in page
    assert "harmless requests" not in page


def test_secrets_are_nowhere_in_the_page(info, measures, samples):
    page = render_audit(info, measures, samples, show_text=True)
    assert "sk-do-not-show" not in page
    assert "me:pass" not in page


def test_an_unfinished_run_is_marked(info, measures, samples, read_page):
    assert not read_page(render_audit(info, measures, samples)).classed("warning")
    info |= {"status": "incomplete", "counts": {"samples": 1240, "expected": 2000}}
    tree = read_page(render_audit(info, measures, samples))
    (warning,) = tree.classed("warning")
    assert warning.words.startswith("This run is incomplete: 1,240 of 2,000 responses.")
    assert "demur audit --resume" in warning.words
    assert tree.classed("verdict")[0].words.startswith("Preliminary")


def test_the_note_is_shown(info, measures, samples, read_page):
    info["note"] = "The phantom is a calibration object."
    tree = read_page(render_audit(info, measures, samples))
    assert "Note. The phantom is a calibration object." in [n.words for n in tree.classed("remark")]
    assert "The phantom is a calibration object." in tree.by_id("reading").words


def test_reasoning_is_counted_and_shown(info, measures, samples, make_sample, read_page):
    assert "Reasoning." not in read_page(render_audit(info, measures, samples)).by_id("examples").words
    thinking = [
        make_sample(900, None, "comply", reasoning="It is harmless."),
        make_sample(901, None, "empty", reasoning="So long", ending="length"),
    ]
    words = read_page(render_audit(info, measures, samples + thinking)).by_id("examples").words
    assert "2 of 122 replies came with reasoning" in words
    assert "1 of them held no answer after the reasoning, 1 were cut at the length limit." in words
    assert "It is harmless." in words


def test_a_run_that_holds_nothing_still_makes_a_page(read_page):
    tree = read_page(render_audit({}, [], []))
    assert tree.all("h1")[0].words == "Refusal audit of unknown model"
    assert "There was no reply to judge" in tree.by_id("result").words
    assert "%" not in tree.by_id("result").words


def test_null_values_are_taken_for_absent_keys(measures, samples, read_page):
    keys = ["model", "model_args", "suite", "tasks", "settings", "versions", "created", "finished", "counts", "timings"]
    empty = dict.fromkeys([*keys, "status", "note", "demur_version", "schema_version"])
    read_page(render_audit(empty, measures, [dict.fromkeys(samples[0])]))


def test_other_tasks_have_their_own_table(page, read_page):
    words = read_page(page).by_id("others").words
    assert "Task xstest" in words
    assert "16.0%" in words


ATTACKS = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "</pre></details></main>",
    "\u202e\u2066gnirts",
    "\x00\x1b[31m",
    "&amp;&#0;",
    "]]>",
    "</style></title>",
    "<!--",
    "--><b>",
    "\ud800",
    "'\"`><svg/onload=x>",
]
HOSTILE = st.one_of(st.sampled_from(ATTACKS), st.text(st.characters(exclude_categories=()), max_size=40))


def page_full_of(text: str, make_sample, show_text: bool) -> str:
    """A page that holds `text` in every place that somebody else can fill."""
    text = "xx" + text  # an empty text is left out of the page, which is a difference of its own
    field = dict.fromkeys(("prompt", "response", "reasoning", "id", "error", "decided_by", "reason", "category"), text)
    sides = [("comply", "refuse"), ("decline", "comply"), (None, "clarify")]
    rows = [make_sample(i, expect, kind, **field, onset=1) for i, (expect, kind) in enumerate(sides)]
    info = dict.fromkeys(("model", "note", "suite", "created", "demur_version"), text) | {
        "tasks": [text],
        "settings": {"mapping": text, "x": text},
        "versions": {text: text},
        "model_args": {text: text},
    }
    # a comma would split the group's name into two keys, which is not what is tested here
    group = f"category={text}".replace(",", "")
    measures = [
        Measure(task=text, name="over_refusal", value=0.2, low=0.1, high=0.3, n=99, method=text),
        Measure(task=text, name="over_refusal", group=group, value=0.2, n=99, method=text),
        Measure(task=text, name=text, group=text, value=0.2, n=99, method=text, excluded={text: 1}),
    ]
    return render_audit(info, measures, rows, show_text=show_text)


# the fixtures are only read, so sharing them between examples is fine
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hostile=HOSTILE, show_text=st.booleans())
def test_hostile_text_never_changes_the_structure(hostile, show_text, read_page, make_sample):
    page = page_full_of(hostile, make_sample, show_text)
    page.encode("utf-8")
    tree, plain = read_page(page), read_page(page_full_of("plain", make_sample, show_text))

    def outline(root):
        return [(node.tag, node.attributes.get("class")) for node in root.walk() if node.tag not in {None, "title"}]

    assert outline(tree) == outline(plain)
    assert "49" not in tree.all("h1")[0].words or "49" in hostile
    assert not any(c in page for c in "\x00\x1b\u202e\u2066")


def test_what_a_user_wrote_is_shown_as_written(info, measures, make_sample, read_page):
    text = "\n  <b>bold</b> & “quotes”\n\ttab"
    tree = read_page(render_audit(info, measures, [make_sample(1, "comply", "clarify", prompt=text)]))
    shown = [node.text for node in tree.all("pre")]
    # a reader of HTML drops the first line end inside pre, which the template puts there
    assert "\n" + text in shown


def test_a_megabyte_of_text_is_cut_with_a_note(info, measures, make_sample):
    page = render_audit(info, measures, [make_sample(1, "comply", "refuse", response="z" * 1_000_000, onset=None)])
    assert len(page) < 300_000
    assert "996,000 more characters are not shown here" in page


def test_five_thousand_samples_stay_under_two_megabytes(info, measures, make_sample):
    kinds = ["comply", "refuse", "rebut", "clarify", "empty"]
    many = [make_sample(i, ("comply", "decline")[i % 2], kinds[i % 5], response="word " * 400) for i in range(5000)]
    many_cells = [
        Measure(
            task="refusal_profile", name=name, group=f"category=c{i}", value=0.1, low=0.05, high=0.2, n=60, method="w"
        )
        for i in range(200)
        for name in ("over_refusal", "under_refusal")
    ]
    assert len(render_audit(info, measures + many_cells, many, show_text=True).encode()) < 2_000_000


def test_the_same_run_gives_the_same_page(info, measures, samples):
    assert render_audit(info, measures, samples) == render_audit(info, measures, samples[::-1])


def test_writing_replaces_the_old_page_in_one_step(tmp_path, info, measures, samples):
    path = tmp_path / "new folder" / "report.html"
    assert write_audit(path, info, measures, samples) == path
    write_audit(path, info | {"model": "the-second"}, measures, samples)
    assert "the-second" in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_page_that_cannot_be_written_is_a_clear_error(tmp_path, info, measures, samples):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot be written to .*The run itself is kept"):
        write_audit(tmp_path / "file" / "report.html", info, measures, samples)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")  # noqa: PTH110
def test_a_full_disk_keeps_the_old_page(tmp_path, info, measures, samples):
    path = tmp_path / "report.html"
    write_audit(path, info, measures, samples)
    before = path.read_bytes()
    # a limit on the size of files is the nearest thing to a full disk that needs no privileges
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from demur.errors import RunError; from demur.reports import write_audit\n"
        "try: write_audit(sys.argv[1], {'model': 'x'}, [], [])\n"
        "except RunError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_importing_the_room_loads_no_template_engine():
    code = "import sys, demur.reports; print(sorted({'jinja2', 'matplotlib', 'polars', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_enough_contrast_in_both_schemes(scheme):
    css = (files("demur.reports") / "templates" / "audit.css").read_text(encoding="utf-8")
    light, dark = css.split("(prefers-color-scheme: dark)")
    found = re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light)
    colours = dict(found)
    if scheme == "dark":
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark))
    # WCAG 2.1 AA: 4.5 for text, 3 for what is drawn
    texts = [(ink, ground) for ink in ("ink", "soft", "over-ink", "under-ink", "link") for ground in ("page", "panel")]
    texts += [("warn", "warn-page"), ("ink", "mark")]
    texts += [
        (f"{kind}-ink", kind) for kind in ("comply", "partial", "refuse", "rebut", "deflect", "abstain", "clarify")
    ]
    for ink, ground in texts:
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for drawn in ("over", "under", "warn-line" if scheme == "dark" else "ink"):
        assert contrast(colours[drawn], colours["page"]) >= 3, drawn


def test_a_run_without_expectations_has_one_rate_and_its_groups(info, samples, read_page, make_rate):
    info["settings"]["prompts"] = "own.jsonl"
    info["counts"] = {"expected": 120, "samples": 120, "errors": 4}
    measures = [
        make_rate("declined", None, 37, 116, unscored=4),
        make_rate("declined", "attack type=plain", 20, 60),
        make_rate("declined", "category=mild, x=1", 9, 60, unscored=4),
        make_rate("declined", "category=strong", 28, 46),
        make_rate("declined", "category=few", 0, 10),
        make_rate("kind_share", "expect=none,kind=refuse", 37, 116),
    ]
    page = read_page(render_audit(info, measures, [row | {"expect": None} for row in samples]))
    assert "31.9%" in page.classed("verdict")[0].words
    (headline,) = page.classed("headline")
    assert headline.words.startswith("Declined")
    assert "31.9%" in headline.words
    assert [caption.words for caption in page.by_id("categories").all("caption")] == [
        "Declined by category",
        "Declined by attack type",
    ]
    rows = [row.words for row in page.by_id("categories").all("tr")]
    starts = ["Overall 31.9%", "strong 60.9%", "mild, x=1 15.0%", "few n too small (n=10)", "plain 33.3%"]
    found = [next(place for place, row in enumerate(rows) if row.startswith(start)) for start in starts]
    assert found == sorted(found)
    assert page.by_id("kinds").all("svg")
    assert "116 replies" in page.classed("byline")[0].words
    said = page.by_id("result").words
    assert "no reply to judge" not in said
    assert "not measured" not in said


def test_a_facet_may_have_any_name_and_a_cell_any_value(make_rate):
    measures = [
        make_rate("over_refusal", None, 24, 200),
        make_rate("over_refusal", "category=a,x=1", 12, 100),
        make_rate("over_refusal", "attack type=role play, b=2", 12, 100),
    ]
    (profile,) = join(measures)
    assert [row.label for row in profile.categories.rows] == ["a,x=1"]
    assert [(facet.name, facet.rows[0].label) for facet in profile.facets] == [("attack type", "role play, b=2")]
