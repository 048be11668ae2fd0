"""Records of experiments: in the terminal, in charts, as pictures. All figures here are made up."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html import unescape

import numpy as np
import pytest
from msgspec.structs import replace

from epochwise.errors import OutputExistsError, UsageError
from epochwise.experiments import kept as keeping_place
from epochwise.experiments.kept import kept
from epochwise.experiments.record import Chart, Finding, Line, Table
from epochwise.reporting.drawing import drawn as drawing_of
from epochwise.reporting.evidence import agreement_text, figure_texts, kept_view, trusted
from epochwise.reporting.evidence_charts import drawing, figures_of, looks
from epochwise.reporting.evidence_heat_maps import heat_maps
from epochwise.reporting.evidence_help import chart_help
from epochwise.reporting.evidence_labels import Spot, placed
from epochwise.reporting.evidence_maps import characters, rows_of
from epochwise.reporting.evidence_page import svg_of
from epochwise.reporting.evidence_pictures import Picture, pictures, write_pictures
from epochwise.reporting.evidence_plan import plan_view, status_view
from epochwise.reporting.html import page
from epochwise.reporting.palette import PALETTE, SERIES
from tests.reporting import evidence_samples as samples
from tests.reporting import samples as other_samples
from tests.reporting.keeping import assert_as_kept, drawn


@pytest.mark.parametrize("name", samples.RECORDS)
def test_as_kept(name):
    """Verdicts first, then each experiment, within 80 columns."""
    text = drawn(drawing_of(samples.RECORDS[name]()))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert_as_kept(name, text)


def test_plan_and_status_as_kept():
    """How many trainings, how many are there, how long the rest takes, what is left out and why; within 80 columns."""
    text = drawn(plan_view(samples.PLAN)) + "\n" + drawn(status_view(samples.PLAN))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert_as_kept("evidence_plan", text)
    assert "nothing is left to train" in drawn(status_view(replace(samples.PLAN, done=58, seconds=0.0)))
    assert "on the cluster" in drawn(plan_view(replace(samples.PLAN, workers=None)))


def test_wide_tables_keep_words_and_intervals_whole():
    """Intervals go below their figures first; nothing is cut off as long as the longest pieces have room side by side."""
    columns = ("model", "learning rate", "mean [95 % interval]", "over seeds and images", "P(second > first)")
    row = ("difference", "0.01", "-2.18 [-3.53, -0.84]", "-2.18 [-2.84, -1.47]", "0.00 [0.00, 0.71]")
    record = replace(samples.harness(), tables=(Table(title="t", columns=columns, rows=(row,)),))
    text = drawn(drawing_of(replace(samples.evidence(), experiments=(record,))))
    for piece in (*row[0:2], "[-3.53, -0.84]", "[-2.84, -1.47]", "[0.00, 0.71]", "images"):
        assert piece in text
    many = Table(
        title="t", columns=("model", *(f"{n} px" for n in range(12))), rows=(("MLP", *(f"0.{n}1 [0, 1]" for n in range(12))),)
    )
    text = drawn(drawing_of(replace(samples.evidence(), experiments=(replace(record, tables=(many,)),))))
    assert all(f"{n} px" in text and f"0.{n}1" in text for n in range(12))
    assert text.count("\n  MLP  ") > 1
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((0.35, -0.2, 0.9), ("0.35", "-0.20 to 0.90")),
        ((9.3, 8.1, 10.9), ("9.3", "8.1 to 10.9")),
        ((1234.5, 1100.0, 1400.0), ("1,234", "1,100 to 1,400")),
        ((0.5, 0.5, 0.5), ("0.50", "0.50 to 0.50")),
        ((0.54, None, None), ("0.54", "")),
        ((2.0, 1.5, None), ("2.00", "1.50 to unknown")),
        ((None, None, None), ("", "")),
        ((2.0, float("nan"), float("inf")), ("2.00", "unknown to unknown")),
    ],
)
def test_figures_have_the_places_that_their_interval_allows(figures, expected):
    """Two digits of half the interval; what is not known is said, and never nought."""
    estimate, low, high = figures
    found = Finding(id="P1", claim="c", falsified_if="f", verdict="undecided", estimate=estimate, low=low, high=high)
    assert figure_texts(found) == expected


def test_a_control_that_did_not_pass_is_told_before_any_verdict():
    """On the terminal and on the page; so is a check that does not hold."""
    record = samples.untrusted()
    assert not trusted(record)
    assert trusted(samples.evidence())
    text = " ".join(drawn(drawing_of(record)).split())
    assert "Verdicts the control did not pass" in text
    assert "the same seed gives the same bits does not hold" in text
    shown = page(record)
    assert "The control (P0) did not pass, so no verdict can be given" in shown
    assert "does not hold:" in shown


def test_the_agreement_in_points():
    """Differences of accuracies as points, and how many times as long Keras took."""
    text = agreement_text(samples.evidence().agreement)
    assert "by 0.31 points at most, by -0.02 on average" in text
    assert "15.3 times as long" in text


def test_maps_in_characters():
    """Two offsets a line, the best of all maps is the full block, and the place of training is marked where it is."""
    found = samples.position_map("arm", (4, 2), range(0, 10, 2), None, 0.5)
    found = replace(found, accuracy=tuple(tuple(0.1 if right < 2 else 0.9 for right in range(5)) for _ in range(5)))
    assert characters(found, 0.9) == ["  ███", " ×███", "  ███"]


def test_maps_stand_in_rows_by_their_place_of_training():
    """Those trained everywhere stand with the row before."""
    maps = samples.upper_left().maps
    assert [[found.trained_at for found in row] for row in rows_of(maps)] == [[(0, 0)] * 4, [(12, 12)] * 4 + [None]]


@pytest.mark.parametrize("width", [950, 340])
def test_pictures_that_are_put_together_here_are_vega_lite(width):
    """Altair, which did not put them together, accepts each against the schema, its layers and titles included."""
    altair = pytest.importorskip("altair")
    record = samples.evidence()
    found = [heat_maps(each.maps, width) for each in record.experiments if each.maps]
    found += [drawing(group, width, looks(record)) for each in record.experiments for group in figures_of(each.charts)]
    assert len(found) > 8
    for each in found:
        altair.Chart.from_dict(each, validate=True)
    with pytest.raises(pytest.importorskip("jsonschema").ValidationError):
        altair.Chart.from_dict({**found[0], "spacing": "much"}, validate=True)


def test_heat_maps_have_one_scale_and_frame_the_place_of_training():
    """Every cell is drawn; equal accuracies have one colour in all maps; a frame for each map with a place of training."""
    maps = samples.small().experiments[-1].maps
    flat = [replace(found, accuracy=tuple((0.4,) * len(found.offsets) for _ in found.offsets)) for found in maps]
    chart = heat_maps(flat, 950)
    scales = re.findall(r"'domain': \[0, ([\d.]+)\]", str(chart))
    assert len(set(scales)) == 1
    text = svg_of(heat_maps(maps, 950))
    cells = re.findall(r'fill="rgb\([^"]*\)"', text)
    assert len(cells) >= 225 * len(maps)
    assert text.count('stroke="#d1004b"') == sum(found.trained_at is not None for found in maps)


def test_charts_that_are_alike_stand_side_by_side():
    """The three kinds of cost together; charts of different axes apart; empty ones not at all."""
    assert [len(group) for group in figures_of(samples.matched().charts)] == [3]
    assert [len(group) for group in figures_of(samples.equal_epochs().charts)] == [1, 1]
    assert [len(group) for group in figures_of(samples.sample_efficiency().charts)] == [2]
    assert figures_of((Chart(id="e", kind="curves", title="e", x="x", y="y", lines=()),)) == []


def test_an_arm_has_one_look_in_the_whole_record():
    """The first two arms have the colours of the two models; no two arms of a chart look alike, however many there are."""
    record = samples.evidence()
    places = looks(record)
    assert list(places)[:2] == [samples.MLP, samples.CNN]
    assert "CNN minus MLP" not in places
    many = tuple(Line(name=f"arm {number}", x=(1.0, 2.0), y=(0.1, number / 10)) for number in range(8))
    chart = Chart(id="m", kind="curves", title="many", x="x", y="y", lines=many)
    text = svg_of(drawing([chart], 600, {line.name: 3 for line in many}))
    for name in SERIES:
        assert f'stroke="{PALETTE[name].light}"' in text


@pytest.mark.parametrize("width", [350, 950])
def test_every_chart_is_well_formed_with_its_texts(width):
    """Titles, axes and names of points are text in it; nothing is loaded; logarithmic axes leave out what they cannot show."""
    record = samples.evidence()
    places = looks(record)
    for experiment in record.experiments:
        for group in figures_of(experiment.charts):
            text = svg_of(drawing(group, width, places))
            shown = " ".join(ET.fromstring(text).itertext())
            for chart in group:
                assert chart.y in shown
                assert all(label in shown for line in chart.lines for label in line.labels)
            assert "href" not in text
    nought = Line(name="a", x=(0.0, 1.0, 10.0), y=(1.0, 2.0, 3.0))
    chart = Chart(id="n", kind="points", title="n", x="x", y="y", logarithmic="x", lines=(nought,))
    assert "NaN" not in svg_of(drawing([chart], width, {}))


def test_what_bands_are_is_told_once():
    """Where the title says what they are, the help does not say otherwise."""
    chart = samples.equal_cost().charts[0]
    assert "95 % intervals" in chart_help(chart)
    assert "logarithmic" in chart_help(chart)
    assert "95 % intervals" not in chart_help(replace(chart, title="Seconds (bands: quickest and slowest seed)"))


def test_names_of_points_do_not_cover_each_other():
    """As long as there is room; all of them are inside of the panel."""
    spots = [Spot(x, y, "network") for x, y in ((50, 50), (58, 52), (54, 60), (295, 20), (5, 110))]
    labels = placed(spots, 300, 120, 11)
    boxes = []
    for label in labels:
        width = len(label.text) * 11 * 0.56
        left = label.x - {"left": 0, "center": width / 2, "right": width}[label.align]
        boxes.append((left, label.y - 5.5, left + width, label.y + 5.5))
    for place, one in enumerate(boxes):
        assert one[0] >= 0
        assert one[2] <= 300
        for other in boxes[:place]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


SEEN_BY = {
    "all three kinds of cones": np.eye(3),
    "no red cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""What linear RGB looks like (Machado, Oliveira and Fernandes 2009, severity 1)."""


@pytest.mark.parametrize("who", SEEN_BY)
@pytest.mark.parametrize("ground", ["light", "dark"])
def test_colours_of_arms_are_told_apart_by_everybody(who, ground):
    """At least 15 units of CIELAB apart (a just noticeable difference is about 2), on both grounds."""
    colours = [lab(getattr(PALETTE[name], ground), np.array(SEEN_BY[who])) for name in SERIES]
    for place, one in enumerate(colours):
        assert all(np.linalg.norm(one - other) > 15 for other in colours[:place])


def lab(colour, seen):
    """CIELAB of a colour as somebody sees it."""
    value = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.clip(seen @ np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4), 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    share = (to_xyz @ linear) / (to_xyz @ np.ones(3))
    x, y, z = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_page_has_every_part():
    """Verdicts with links to their experiments, findings, charts, maps, tables, checks, notes, words explained."""
    record = samples.small()
    text = unescape(page(record))
    for experiment in record.experiments:
        assert f'id="{experiment.id}"' in text
        for finding in (experiment, *experiment.further):
            assert finding.claim in text
            assert finding.falsified_if in text
    for part in (
        'href="#P6">P6.pooled',
        "2 of 2 checks passed",
        "half lost after, px",
        "Notes",
        samples.MADE_UP,
        "95 % interval",
    ):
        assert part in text
    assert text.count('<figure class="picture"') == sum(len(figures_of(item.charts)) for item in record.experiments) + 1


def test_pictures_are_files_that_follow_light_and_dark(tmp_path):
    """One for each group of charts and for the maps; the SVG repaints itself; a PNG is one; none is replaced unasked."""
    record = replace(samples.small(), experiments=samples.small().experiments[2:][::-1])
    files = write_pictures(record, tmp_path, dark=True)
    names = ["evidence-p6-positions", "evidence-p3-accuracy-by-parameters"]
    assert [path.name for path in files] == [f"{name}{end}" for name in names for end in (".svg", ".png", "-dark.png")]
    for path in files:
        content = path.read_bytes()
        assert content.startswith(b"<svg" if path.suffix == ".svg" else b"\x89PNG")
    svg = (tmp_path / "evidence-p3-accuracy-by-parameters.svg").read_text()
    assert "prefers-color-scheme:dark" in svg
    shown = " ".join(ET.fromstring(svg).itertext())
    assert "P3: Matched parameters" in shown
    assert "MLP-233" in shown
    (tmp_path / "evidence-p6-positions.svg").unlink()
    with pytest.raises(OutputExistsError):
        write_pictures(record, tmp_path)
    assert not (tmp_path / "evidence-p6-positions.svg").exists()


def test_every_colour_of_a_picture_has_its_dark_one():
    """What is not of the palette would stay as it is; of heat maps the cells and the frames do."""
    fixed = {"#d1004b", "#fefefe"}
    for picture in pictures(samples.small()):
        found = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', picture.light)) - fixed
        assert found <= {colour.light for colour in PALETTE.values()}
        assert not found & set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', picture.dark))
        assert isinstance(picture, Picture)


def test_nowhere_to_draw_and_nothing_to_draw(tmp_path):
    """Said, with what helps."""
    with pytest.raises(UsageError, match="There is no folder"):
        write_pictures(samples.evidence(), tmp_path / "none")
    with pytest.raises(UsageError, match="neither charts nor maps"):
        write_pictures(samples.untrusted(), tmp_path)


def test_the_record_that_ships_is_shown_with_the_demo(tmp_path, monkeypatch):
    """The newest by its day, with day and machine; without one, only how to run it is said, and a demo's page has none."""
    monkeypatch.setattr(keeping_place, "FOLDER", tmp_path)
    assert kept() is None
    assert "epochwise evidence --tier smoke" in " ".join(drawn(kept_view(kept())).split())
    nothing_measured = replace(other_samples.demo(), comparisons=())
    assert "What the extra time buys" not in page(nothing_measured)
    for day, machine in (("2026-02-01", "newer"), ("2025-12-31", "older")):
        (tmp_path / f"{day}-evidence.json").write_text(replace(samples.evidence(), machine=machine).to_json())
    (tmp_path / "notes.json").write_text("no record")
    found = kept()
    assert (found.day, found.record.machine) == ("2026-02-01", "newer")
    text = " ".join(drawn(kept_view(found)).split())
    assert "Measured on 2026-02-01, newer" in text
    assert "A CNN generalises to any place" in text
    shown = page(nothing_measured)
    assert "Measured on 2026-02-01, newer" in shown
    assert "A CNN generalises to any place" in shown


def test_a_record_that_ships_can_be_read_and_was_measured():
    """Whatever is in the package is of this version's form, and is not one of these made-up ones."""
    found = kept()
    if found is not None:
        assert found.record.trainings > 0
        assert samples.MADE_UP not in found.record.notes
