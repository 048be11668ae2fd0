"""Pages: all that was measured, nothing loaded, every text escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from epochwise.measuring.measurement import Interval
from epochwise.reporting.html import notebook, page
from tests.reporting import evidence_samples, samples

VOID = {"meta", "br", "img", "input", "link", "hr"}
LOADING = {"src", "href", "srcset", "data", "poster", "action", "background", "xlink:href"}
RECORDS = {
    **samples.COMPARISONS,
    "demo": samples.demo,
    "counts": samples.cnn,
    "nested": samples.nested,
    "counts_several": samples.several,
    "machine": lambda: samples.MACHINE,
}
RECORDS |= samples.FITS
RECORDS |= evidence_samples.PAGES
RECORDS |= {f"explain_{name}": record for name, record in samples.EXPLANATIONS.items()}
PAGES: dict[str, str] = {}


def drawn(name):
    """Each page is drawn once for all tests."""
    return PAGES.setdefault(name, page(RECORDS[name]()) if name not in PAGES else "")


class Reader(HTMLParser):
    """Elements in order, their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text.append(data)


@pytest.mark.parametrize("name", RECORDS)
def test_nothing_is_loaded(name):
    """No element and no style refers to anything outside, and the page is small."""
    text = drawn(name)
    found = Reader(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    loading = [attribute for attribute in found.attributes if attribute[1] in LOADING]
    assert not [attribute for attribute in loading if attribute[:2] != ("a", "href") or not attribute[2].startswith("#")]
    assert not re.search(r"@import|url\((?!#)", text)
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert len(text) < 1_000_000


@pytest.mark.parametrize("name", RECORDS)
def test_elements_are_closed(name):
    """In the order in which they were opened."""
    assert Reader(drawn(name)).open == []


def test_texts_are_escaped():
    """Names of models and layers, kinds, notes: none becomes an element or an attribute."""
    for name in ("hostile", "evidence_hostile"):
        text = drawn(name)
        found = Reader(text)
        assert "<script" not in text
        assert "<img" not in text
        assert not [attribute for attribute in found.attributes if attribute[1].startswith("on")]
        assert '<img src=x onerror="alert(2)">' in "".join(found.text)
    shown = "".join(Reader(drawn("hostile")).text)
    assert "</td><script>alert(1)</script>" in shown
    assert "<b>note</b> [red]& more" in shown


def test_a_comparison_has_all_its_parts():
    """Answer, factors, facts, causes, places, curves, counts, machine."""
    comparison = samples.question()
    shown = " ".join("".join(Reader(drawn("question")).text).split())
    assert " ".join(comparison.answer.split()) in shown
    for part in ("÷ 16.5", "× 89.3", "= 2.09", "618,864", "max_pooling2d", "unattributed", "per-step overhead", "4.0 % longer"):
        assert part in shown
    assert "How good they are" in shown
    assert "How good they are" not in drawn("without_profile")
    assert "unknown" in drawn("without_profile")


def test_counts_of_several_models_are_beside_each_other():
    """Totals with ratios, the sentences, each model's layers, the answer about memory."""
    shown = " ".join("".join(Reader(drawn("counts_several")).text).split())
    for part in ("mlp, cnn, transformer", "1/16.5", "5.40", "conv2d 676 times", "narrow", "fits into 1 GiB is 1,234"):
        assert part in shown


def test_nested_models_are_a_tree():
    """Indented by their level, with the whole path for who points at it."""
    text = drawn("nested")
    assert 'title="encoder/attention/query" style="padding-left:2.2em">query<' in text
    assert 'class="open"' in text


def test_bars_are_whole():
    """The parts of an epoch fill its bar, the causes do not leave it."""
    bars = re.findall(r'<div class="bar">(.*?)</div>', drawn("question"), flags=re.DOTALL)
    widths = [sum(float(width) for width in re.findall(r"width:([\d.]+)%", bar)) for bar in bars]
    assert len(widths) == 4
    assert widths[1] == pytest.approx(100, abs=0.01)
    assert widths[2:] == pytest.approx([100, 100], abs=0.02)
    assert widths[0] == pytest.approx(100 * 1.31 / 2.74, abs=0.02)


def test_headings_say_what_was_found():
    """Longer, shorter, or not to be told."""
    comparison = samples.question()
    assert "2.09 times</b> as long as one of mlp" in drawn("question")
    assert "1/2.00</b> of the time of one of mlp" in page(replace(comparison, ratio=Interval(0.5, 0.4, 0.6)))
    assert "No difference between" in page(replace(comparison, ratio=Interval(1.02, 0.9, 1.1)))


def test_a_demo_has_every_backend_and_answer():
    """Each backend's answer, the three paragraphs, what was left out."""
    demo = samples.demo()
    shown = " ".join("".join(Reader(drawn("demo")).text).split())
    for answer in (*(item.answer for item in demo.comparisons), demo.answer.why_slower, demo.answer.benefit):
        assert " ".join(answer.split()) in shown
    assert "No module named 'torch'" in shown
    assert "Nothing was measured" in page(replace(demo, comparisons=()))


def test_light_dark_and_phones():
    """The page follows the reader's settings."""
    text = drawn("question")
    assert "prefers-color-scheme:dark" in text
    assert 'name="viewport"' in text
    assert text.count('class="narrow"') == text.count('class="wide"') == 3


def test_in_a_notebook():
    """A frame that holds the page, and runs nothing."""
    text = samples.cnn()._repr_html_()
    assert text == notebook(samples.cnn())
    (srcdoc,) = [value for _, name, value in Reader(text).attributes if name == "srcdoc"]
    assert srcdoc == page(samples.cnn())
    assert " sandbox " in text
