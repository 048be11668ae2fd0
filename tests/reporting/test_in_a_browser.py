"""Pages in headless Chromium: no page is wider than its window, from a phone to a desk, whatever names it holds."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from epochwise.reporting.html import page
from tests.reporting import evidence_samples, samples

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--dump-dom",
]
MEASURE = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]


@pytest.mark.parametrize("name", ["deep", "hostile", "demo", "counts", "several", "evidence_small", "evidence_hostile"])
def test_no_page_is_wider_than_its_window(name, tmp_path):
    """Wide tables scroll inside the page."""
    counted = {"counts": lambda: samples.deep().models[0].counts, "several": samples.several}
    record = {**samples.COMPARISONS, "demo": samples.demo, **counted, **evidence_samples.PAGES}[name]()
    file = tmp_path / "page.html"
    file.write_text(page(record).replace("<details>", "<details open>").replace("</body>", MEASURE))
    for width in (390, 1200):
        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path / str(width)}", f"--window-size={width},2000", file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        taken, window = map(int, re.search(r"<title>(\d+) of (\d+)</title>", done.stdout).groups())
        assert taken <= window, f"{name} takes {taken} of {window} pixels"
