"""The page in a real browser; skipped where there is none."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from demur.reports import write_audit

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to look at the page")

PROBE = """
<!DOCTYPE html><meta charset="utf-8"><body>
<iframe id="phone" style="width:390px;height:844px;border:0" srcdoc="{page}"></iframe>
<iframe id="tiny" style="width:320px;height:600px;border:0" srcdoc="{page}"></iframe>
<iframe id="desk" style="width:1280px;height:900px;border:0" srcdoc="{page}"></iframe>
<pre id="found"></pre>
<script>
onload = () => {{
  const found = {{}};
  for (const frame of document.querySelectorAll("iframe")) {{
    const inner = frame.contentDocument, root = inner.documentElement;
    const closed = root.scrollWidth;
    inner.querySelectorAll("details").forEach(one => one.open = true);
    const seen = one => one.getBoundingClientRect().width > 0;
    const shown = kind => [...inner.querySelectorAll("svg." + kind)].filter(seen).length;
    found[frame.id] = {{closed, open: root.scrollWidth, wide: shown("wide"), narrow: shown("narrow"),
      details: inner.querySelectorAll("details").length, mode: inner.compatMode}};
  }}
  document.getElementById("found").textContent = JSON.stringify(found);
}};
</script>
"""


def chromium(profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
         "--force-device-scale-factor=1", f"--user-data-dir={profile}", *arguments],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip


@pytest.fixture
def report(tmp_path, info, measures, samples, make_sample) -> Path:
    wide = [
        make_sample(500, "comply", "clarify", prompt="x" * 3000, response="界" * 3000, category="y" * 300),
        make_sample(501, "comply", "rebut", prompt="a\n" * 500, id="i" * 500),
    ]
    info["model"] = "openai/" + "m" * 300
    info["settings"]["odd"] = "v" * 390
    return write_audit(tmp_path / "report.html", info, measures, samples + wide)


def test_no_sideways_scrolling_and_each_width_has_its_drawings(tmp_path, report):
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(page=html.escape(report.read_text(encoding="utf-8"))), encoding="utf-8")
    dumped = chromium(tmp_path / "profile", "--dump-dom", "--virtual-time-budget=2000", probe.as_uri()).stdout
    match = re.search(r'<pre id="found">(.+?)</pre>', dumped)
    assert match, "the probe did not run"
    found = json.loads(html.unescape(match[1]))
    for name, width in (("tiny", 320), ("phone", 390), ("desk", 1280)):
        assert found[name]["mode"] == "CSS1Compat"
        assert found[name]["details"] > 10
        assert found[name]["closed"] <= width
        assert found[name]["open"] <= width
        drawings = (found[name]["wide"], found[name]["narrow"])
        assert drawings == ((3, 0) if name == "desk" else (0, 3))


@pytest.mark.parametrize(("width", "scheme", "ground"), [(1280, "light", (255, 255, 255)), (390, "dark", (20, 23, 27))])
def test_the_page_is_painted_in_both_schemes(tmp_path, report, width, scheme, ground):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow to look at the picture")
    shot = tmp_path / "shot.png"
    dark = ["--force-dark-mode"] if scheme == "dark" else []
    chromium(tmp_path / "profile", *dark, f"--window-size={width},2400", f"--screenshot={shot}", report.as_uri())
    with image.open(shot) as picture:
        pixels = picture.convert("RGB")
    assert pixels.size == (width, 2400)
    assert pixels.getpixel((3, 3)) == ground
    colours = {colour for _, colour in pixels.getcolors(maxcolors=1 << 20)}
    # the fills of both directions' marks, as the style sheet has them
    marks = {"light": {(0, 114, 178), (213, 94, 0)}, "dark": {(86, 180, 233), (240, 138, 60)}}
    assert marks[scheme] <= colours
