"""P6, P8 and P9 in made-up worlds: the verdict follows the truth, and what is not known is not decided."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from epochwise.experiments import canvas as on
from epochwise.experiments.protocols import p6, p8, p9
from tests.experiments import made_up

WIDE = on.large(made_up.study())


def test_the_canvas_is_as_written_down():
    """42 x 42 with 225 places, of which 176 have no pixel in common with the corner and 56 none with the centre."""
    assert (WIDE.side, len(WIDE.places), WIDE.centre) == (42, 225, (12, 12))
    assert (WIDE.disjoint(WIDE.corner).sum(), WIDE.disjoint(WIDE.centre).sum()) == (176, 56)
    narrow = on.small(made_up.study())
    assert (narrow.side, len(narrow.places)) == (28, 225)


@pytest.mark.parametrize("length", [8, 20, 28, 32, 64, 96, 224])
def test_images_of_any_size_have_a_canvas(length):
    """Three times the object and 2 above a multiple of 4, with about 15 places a side, the centre among them."""
    study = made_up.study()
    study = dataclasses.replace(study, data=dataclasses.replace(study.data, shape=(length, length, 3)))
    for canvas in (on.large(study), on.small(study)):
        assert max(canvas.offsets) + max(canvas.size) <= canvas.side
        assert len(canvas.offsets) <= 28
        assert set(canvas.centre) <= set(canvas.offsets)
        assert canvas.disjoint(canvas.corner).any()
    assert on.large(study).side % 4 == 2
    assert on.large(study).disjoint(on.large(study).centre).any()


def test_places_are_spread_evenly():
    """The same distance between neighbours, and as much before the first as behind the last."""
    assert WIDE.spread(1) == [(12, 12)]
    for per_side, chosen in ((2, [6, 22]), (4, [2, 10, 18, 26]), (8, list(range(0, 29, 4))), (15, list(WIDE.offsets))):
        assert WIDE.spread(per_side) == [(down, right) for down in chosen for right in chosen]


def test_cells_that_see_the_object_are_those_whose_field_meets_it():
    """Each of 9 x 9 cells sees 10 x 10 pixels, 4 apart; counted here pixel by pixel."""
    from epochwise.experiments.protocols.p6_checks import lit_cells

    for place in ((0, 0), (12, 12), (28, 6)):
        image = np.zeros((42, 42), bool)
        image[place[0] : place[0] + 14, place[1] : place[1] + 14] = True
        seen = np.array([[image[4 * i : 4 * i + 10, 4 * j : 4 * j + 10].any() for j in range(9)] for i in range(9)])
        assert np.array_equal(lit_cells(WIDE, place), seen)


def moved(reach):
    """A world in which each model's accuracy falls to chance beyond so many pixels from where it was trained."""

    def numbers(arguments, generator):
        name = arguments["model"]["name"]
        trained = np.array(arguments["data"]["view"]["offsets"])
        accuracies = None
        if arguments["positions"] is not None:
            places = np.array(arguments["positions"]["offsets"])
            away = np.abs(places[:, None] - trained[None]).max(axis=-1).min(axis=1)
            accuracies = np.where(away <= reach[name], 0.8, 0.1) + generator.normal(0, 0.001)
        return {
            "validation": made_up.rated(arguments, best=0.3),
            "test": {"steps": [arguments["steps"]], "accuracy": [0.8], "images": 50},
            "positions": None if accuracies is None else accuracies.tolist(),
        }

    return numbers


@pytest.fixture(scope="module")
def answered():
    """Only the pooled head finds the object everywhere; the convolution loses it after 5 pixels, the dense one after 1."""
    world = moved({"dense": 1, "conv": 5, "cnn_16_64_gmp": 99})
    return made_up.judged(p6, made_up.study(users=True), world)


def test_the_upper_left_test_tells_the_heads_apart(answered):
    """Refuted for the flattened head, supported for the pooled one; and the dense one recognises it only where it was."""
    experiment, trials = answered
    verdicts = {each.id: each.verdict for each in (experiment, *experiment.further)}
    assert verdicts["P6"] == verdicts["P6.second-centre"] == "refuted"
    assert verdicts["P6.gmp"] == verdicts["P6.gmp-centre"] == "supported"
    assert verdicts["P6.first"] == verdicts["P6.first-own-size"] == "supported"
    assert experiment.estimate == pytest.approx(0.1 / 0.8, abs=0.01)
    final = [trial for trial in trials.values() if trial.arguments["positions"] is not None]
    assert {trial.arguments["learning_rate"] for trial in final} == {0.3}


def test_it_tells_where_half_is_lost(answered):
    """Midway between 4 and 6 pixels where the accuracy falls at once; a map per arm and place, and the ceiling."""
    experiment = answered[0]
    row = next(row for row in experiment.tables[0].rows if row[0] == "conv" and row[2] == "(12, 12)")
    assert row[-2].startswith("5.0 ")
    assert len(experiment.maps) == 9
    assert {each.trained_at for each in experiment.maps} == {(0, 0), (12, 12), None}
    assert np.array(experiment.maps[0].accuracy).shape == (15, 15)


def test_a_model_that_learnt_nothing_has_nothing_to_lose():
    """At chance everywhere the share left is 1, and means nothing."""

    def asleep(arguments, generator):
        found = moved({"dense": 1, "conv": 1, "cnn_16_64_gmp": 1})(arguments, generator)
        if arguments["model"]["name"] == "cnn_16_64_gmp" and found["positions"]:
            found["positions"] = [0.12] * len(found["positions"])
        return found

    experiment, _ = made_up.judged(p6, made_up.study(users=True), asleep)
    pooled = next(each for each in experiment.further if each.id == "P6.gmp")
    assert pooled.verdict == "not measured"
    assert pooled.estimate == pytest.approx(1.0)


def test_more_places_are_enough_or_not():
    """With 16 places on a grid of 8 pixels, a model that reaches 5 pixels is right everywhere; one that reaches 1 needs all."""
    world = moved({"dense": 1, "conv": 5, "cnn_16_64_gmp": 99})
    experiment, trials = made_up.judged(p8, made_up.study(users=True), world)
    fewest = {each.id: each.estimate for each in (experiment, *experiment.further)}
    assert fewest == {"P8": 225, "P8.second": 16, "P8.pooled": 1}
    assert experiment.verdict == "refuted"
    steps = {trial.arguments["steps"] for trial in trials.values()}
    assert len(steps) == 1


def test_no_number_of_places_is_said_to_be_enough_if_none_was():
    """There is no estimate, and the claim that it takes a CNN stands."""

    def never(arguments, generator):
        found = moved({"dense": 1, "conv": 5, "cnn_16_64_gmp": 99})(arguments, generator)
        if arguments["model"]["name"] == "dense" and len(arguments["data"]["view"]["offsets"]) > 1 and found["positions"]:
            found["positions"] = [0.5] * len(found["positions"])
        return found

    experiment, _ = made_up.judged(p8, made_up.study(users=True), never)
    assert experiment.estimate is None
    assert experiment.verdict == "supported"


def test_where_no_model_gets_there_nothing_is_said_of_cnns():
    """That the dense model fails is no evidence for convolutions that fail as well."""

    def nobody(arguments, generator):
        found = moved({"dense": 99, "conv": 99, "cnn_16_64_gmp": 99})(arguments, generator)
        if found["positions"]:
            found["positions"][-1] = 0.3
        return found

    experiment, _ = made_up.judged(p8, made_up.study(users=True), nobody)
    assert experiment.verdict == "undecided"
    assert [each.verdict for each in experiment.further] == ["refuted", "refuted"]


@pytest.mark.parametrize("asleep", ["dense", "conv"])
def test_no_place_is_enough_for_a_model_that_learnt_nothing(asleep):
    """One that guesses is as bad at its worst place as in the one it was shown, which is no success of augmentation."""

    def numbers(arguments, generator):
        found = moved({"dense": 1, "conv": 5, "cnn_16_64_gmp": 99})(arguments, generator)
        if arguments["model"]["name"] == asleep and found["positions"]:
            found["positions"] = [0.1] * len(found["positions"])
        return found

    experiment, _ = made_up.judged(p8, made_up.study(users=True), numbers)
    verdicts = {each.id: each.verdict for each in (experiment, *experiment.further)}
    awake = {"P8": "refuted", "P8.second": "supported", "P8.pooled": "supported"}
    assert verdicts == awake | {{"dense": "P8", "conv": "P8.second"}[asleep]: "not measured"}
    told = next(each for each in (experiment, *experiment.further) if each.verdict == "not measured")
    assert told.sentence.endswith(f"{asleep} did not learn enough for this to mean anything.")


def learning(shift):
    """A world in which accuracy rises with the logarithm of the images, and each model is shifted along that axis."""

    def numbers(arguments, generator):
        name, images = arguments["model"]["name"], arguments["data"]["samples"]
        where = "centred" if arguments["data"]["view"] is None else "anywhere"
        accuracy = 0.2 * np.log10(images / shift[name, where]) + generator.normal(0, 0.002)
        return {
            "validation": made_up.rated(arguments, best=0.03),
            "best": {"step": 1, "validation": accuracy, "test": accuracy},
        }

    return numbers


def test_the_data_multiplier_is_found_per_task():
    """The dense model needs four times the images where the object may be anywhere, and half as many where it is centred."""
    world = learning({("dense", "centred"): 0.5, ("conv", "centred"): 1, ("dense", "anywhere"): 4, ("conv", "anywhere"): 1})
    experiment, _ = made_up.judged(p9, made_up.study(users=True), world)
    (centred,) = experiment.further
    assert (experiment.verdict, centred.verdict) == ("supported", "refuted")
    assert experiment.estimate == pytest.approx(4, rel=0.15)
    assert centred.estimate == pytest.approx(0.5, rel=0.15)
    assert experiment.low < 4 < experiment.high


def test_curves_without_a_common_accuracy_give_a_bound():
    """One model with the most images is below the other with the fewest: the multiplier is at least the ratio of these."""
    world = learning({("dense", "centred"): 1, ("conv", "centred"): 1, ("dense", "anywhere"): 1e4, ("conv", "anywhere"): 1})
    experiment, _ = made_up.judged(p9, made_up.study(users=True), world)
    assert experiment.verdict == "supported"
    assert experiment.estimate is None
    assert (experiment.low, experiment.high) == (10.0, None)


def test_too_small_a_set_is_left_out():
    """Fewer than five samples of the rarest class tell nothing."""
    study = made_up.study()
    rare = dataclasses.replace(study, data=dataclasses.replace(study.data, least_per_class=300))
    assert p9.sizes(study) == [300, 1000, 3000]
    assert p9.sizes(rare) == [1000, 3000]


def test_what_both_models_must_accept():
    """The canvas, and for the upper-left test images as large as those that were loaded."""
    study = made_up.study(users=True)
    assert p6.shapes(study) == [(42, 42, 1), (28, 28, 1)]
    assert p8.shapes(study) == p9.shapes(study) == [(42, 42, 1)]


@pytest.mark.parametrize(
    ("dense", "conv", "noise", "verdict"),
    [
        (0.10, 0.80, 0.001, "supported"),
        (0.80, 0.10, 0.001, "refuted"),
        (0.45, 0.50, 0.050, "undecided"),
        (0.10, 0.12, 0.001, "not measured"),
    ],
)
def test_curves_with_nothing_in_common_are_apart_only_if_that_is_sure(dense, conv, noise, verdict):
    """Accuracies that do not depend on the number of images: a bound, nothing where seeds differ more, nothing of guessing."""

    def flat(arguments, generator):
        end = {"dense": dense, "conv": conv}[arguments["model"]["name"]]
        accuracy = end + noise * (arguments["seed"] - 1) * (1 if end == conv else -1)
        return {
            "validation": made_up.rated(arguments, best=0.03),
            "best": {"step": 1, "validation": accuracy, "test": accuracy},
        }

    experiment, _ = made_up.judged(p9, made_up.study(users=True), flat)
    assert experiment.verdict == verdict
    if verdict == "supported":
        assert experiment.low == 10
        assert "dense is less accurate with any number up to 3,000 images than conv with 300" in experiment.sentence
