"""P1, P2, P3 and P5 in worlds whose truth is known, and what becomes of their verdicts."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from epochwise.experiments import evidence as whole
from epochwise.experiments.agreement import agreement, sampled
from epochwise.experiments.protocols import p0, p1, p2, p3, p4, p5, p6, p8, p9
from epochwise.experiments.record import Experiment, recorded
from epochwise.experiments.study import Study
from epochwise.experiments.verdicts import table
from tests.experiments import made_up

SECONDS = {"mlp": 0.001, "cnn": 0.003}


def judged(protocol, accuracy, source="fashion-mnist", noise=0.0003, **sizes):
    """Judge a protocol in a world where ``accuracy(arguments, epochs)`` is the truth, of single images as well."""
    of = made_up.study(**sizes)
    of = dataclasses.replace(of, data=dataclasses.replace(of.data, source=source))
    known = {}
    while missing := [trial for trial in protocol.plan(of) if trial.key not in known]:
        for trial in missing:
            known[trial.key] = _result(of, trial, accuracy, noise)
        of = dataclasses.replace(of, known=known)
    return recorded(protocol.judge(of, known)), of


def _result(of, trial, accuracy, noise):
    arguments = trial.arguments
    if "test_at" not in arguments:
        return made_up.result(trial, {"applies": True, "steps": 200, "largest": 1e-16}, {})
    noise = np.random.default_rng(int(trial.key[:12], 16)).normal(0, noise)
    every, images = arguments["validate_every"], 1000

    def at(steps):
        return [float(np.clip(accuracy(arguments, step / of.steps(1)) + noise, 0, 1)) for step in steps]

    validated = [*range(every, arguments["steps"], every), arguments["steps"]]
    tested = at(arguments["test_at"])
    right = np.stack([np.packbits(np.arange(images) < round(each * images)) for each in tested])
    return made_up.result(
        trial,
        {
            "validation": {"steps": validated, "accuracy": at(validated), "loss": [0.0] * len(validated)},
            "test": {"steps": list(arguments["test_at"]), "accuracy": tested, "images": images},
        },
        {"correct": right},
        {"seconds": [SECONDS.get(arguments["model"]["name"], 0.002) * step for step in validated], "train_seconds": 1.0},
    )


@pytest.mark.parametrize(
    ("best", "tier", "tried"),
    [
        (0.03, "standard", [0.003, 0.01, 0.03, 0.1]),
        (0.1, "standard", [0.003, 0.01, 0.03, 0.1, 0.3]),
        (1.0, "standard", [0.003, 0.01, 0.03, 0.1, 0.3, 1.0]),
        (1.0, "smoke", [0.003, 0.01, 0.03, 0.1]),
    ],
)
def test_larger_learning_rates_are_tried_while_the_largest_does_best(best, tier, tried):
    """One after another; a plan that supposes the most trains at least as many."""
    of = made_up.study(tier)
    most = len(p1.plan(dataclasses.replace(of, supposing=True)))
    known, rounds = {}, 0
    while missing := [trial for trial in p1.plan(of) if trial.key not in known]:
        rounds += 1
        for trial in missing:
            known[trial.key] = made_up.result(trial, {"validation": made_up.rated(trial.arguments, best)}, {})
        of = dataclasses.replace(of, known=known)
    trials = p1.plan(of)
    rates = {trial.arguments["learning_rate"] for trial in trials}
    assert sorted(rates) == tried
    chosen = min(best, max(tried))
    assert sum(trial.arguments["learning_rate"] == chosen for trial in trials) == 2 * len(of.seeds_of(of.sizes.baseline_seeds))
    assert len(trials) <= most
    assert rounds == 2 + len(tried) - 4


def rising(end, half=0.5):
    """An accuracy that comes near its end after some epochs."""
    return lambda epochs: end * epochs / (epochs + half)


def world(gap=0.0, *, of_rate=None, lost=0.0, by_name=None):
    """The CNN is so much better at the end; learning rates matter, or a permutation takes something from the CNN."""

    def accuracy(arguments, epochs):
        name = arguments["model"]["name"]
        end = 0.85 + (gap if name == "cnn" else 0.0) + (by_name or {}).get(name, 0.0)
        if of_rate is not None:
            end += of_rate(name, arguments["learning_rate"])
        if arguments["data"]["permutation"] and name == "cnn":
            end -= lost
        return rising(end, 0.05)(epochs)

    return accuracy


@pytest.mark.parametrize(
    ("gap", "noise", "verdict"),
    [
        (0.04, 0.0003, "supported"),
        (-0.04, 0.0003, "refuted"),
        (0.001, 0.0003, "refuted"),
        (0.004, 0.005, "undecided"),
    ],
)
def test_p1_judges_by_half_a_point_after_the_same_epochs(gap, noise, verdict):
    """A gain that is sure and larger supports; one that is surely smaller, or a loss, refutes."""
    found, _ = judged(p1, world(gap), noise=noise)
    assert found.verdict == verdict
    assert found.estimate == pytest.approx(100 * gap, abs=0.15 + 400 * noise)
    assert found.low < found.estimate < found.high


def test_p1_does_not_judge_what_depends_on_the_learning_rate():
    """Better at Keras's rate and worse at the best ones is neither supported nor refuted."""

    def of_rate(name, rate):
        return {"cnn": 0.03 if rate == 0.01 else 0.0, "mlp": 0.08 if rate == 0.1 else 0.0}[name]

    found, of = judged(p1, world(0.0, of_rate=of_rate))
    assert found.verdict == "undecided"
    assert found.estimate > 2
    assert next(each for each in found.further if each.id == "P1.best-rate").verdict == "refuted"
    assert p1.arms(of)[0].tuned(of).rate == 0.1
    assert p1.arms(of)[1].tuned(of).rate == 0.01


def test_p1_trains_no_seed_twice():
    """The rate that comes out best may be one that is there already."""
    of = made_up.study()
    assert len(p1.plan(of)) == 2 * (3 + 3)
    supposing = dataclasses.replace(of, supposing=True)
    assert len(p1.plan(supposing)) == 2 * (3 + 3 + 2)


def test_p2_costs_are_those_of_the_world():
    """Three times the seconds a step, and as many steps: ratios of 3, of the MACs, and of 1."""
    found, of = judged(p2, world(0.0))
    assert found.verdict == "refuted"
    ratios = of.facts(of.models[1]).training_macs / of.facts(of.models[0]).training_macs
    row = found.tables[0].rows[0]
    assert [float(cell.split()[0]) for cell in row[1:4]] == pytest.approx([3.0, ratios, 1.0], rel=0.01)
    assert found.low > 1


def test_p2_says_nothing_of_what_nobody_reached():
    """An open interval, and no verdict. On other data the thresholds are such as both reach."""
    found, _ = judged(p2, world(0.0, of_rate=lambda name, rate: -0.3))
    assert found.verdict == "undecided"
    assert found.estimate is None
    assert "0 per cent of the runs" in found.sentence
    assert judged(p2, world(0.0, of_rate=lambda name, rate: -0.3), source="mine.npz")[0].estimate > 1


def test_p2_supports_where_the_slower_step_is_repaid():
    """Where only the CNN gets to an accuracy, its seconds are repaid."""
    quick = {"mlp": rising(0.9, 3.0), "cnn": rising(0.9, 0.05)}
    found, _ = judged(p2, lambda arguments, epochs: quick[arguments["model"]["name"]](epochs), baseline_epochs=40)
    assert found.verdict == "supported"
    assert found.high < 1


@pytest.mark.parametrize(("apart", "verdict"), [(0.05, "refuted"), (0.0, "supported")])
def test_p3_judges_by_models_with_equal_parameters(apart, verdict):
    """If they differ, the number of parameters does not explain the accuracy."""
    found, _ = judged(p3, world(0.0, by_name={"mlp_4": -apart}))
    assert found.verdict == verdict
    assert {chart.id for chart in found.charts} == {"accuracy-by-parameters", "accuracy-by-macs", "accuracy-by-seconds"}


def test_p3_matches_the_questions_cnn_as_written_down():
    """3,190 parameters against 3,330, 239,291 MACs against 238,736."""
    of = made_up.study()
    cnn = of.facts(of.models[1])
    assert [p3.matched(of, cnn, kind)["name"] for kind in ("parameters", "MACs")] == ["mlp_4", "mlp_233"]


@pytest.mark.parametrize(("lost", "verdict"), [(0.08, "supported"), (0.0, "refuted"), (-0.02, "refuted")])
def test_p5_judges_by_what_another_order_of_pixels_takes(lost, verdict):
    """And the exact check is part of it."""
    found, _ = judged(p5, world(0.0, lost=lost))
    assert found.verdict == verdict
    assert found.estimate == pytest.approx(100 * lost, abs=0.3)
    assert [check.passed for check in found.checks] == [True]


def outcome(name, verdict, **changes):
    """An experiment with nothing in it but its verdict."""
    return Experiment(id=name, title=name, claim=name, falsified_if="", verdict=verdict, sentence=f"{name}.", **changes)


def test_nothing_is_concluded_without_the_control(monkeypatch):
    """Neither in the experiments nor in the table; what was counted stays."""
    monkeypatch.setattr(p0, "plan", lambda study: [])
    monkeypatch.setattr(p0, "judge", lambda study, results: outcome("P0", "refuted"))
    monkeypatch.setattr(p1, "plan", lambda study: [])
    monkeypatch.setattr(p1, "judge", lambda study, results: outcome("P1", "supported"))
    monkeypatch.setattr(p1, "p_value", lambda study, results: 0.001)
    of = made_up.study()
    control, first = whole._judged(of, [p0, p1], {}, {})
    assert (control.verdict, first.verdict) == ("refuted", "not measured")
    answers = table(of, [control, first], trusted=False)
    assert [answer.verdict for answer in answers] == ["supported", "not measured"]
    monkeypatch.setattr(p0, "judge", lambda study, results: outcome("P0", "supported"))
    assert whole._judged(of, [p0, p1], {}, {})[1].verdict == "supported"


def test_a_verdict_that_does_not_survive_the_number_of_hypotheses_is_undecided():
    """Holm: of p values 0.001 and 0.04 both stay; of 0.03 and 0.04 none."""
    pair = [outcome("P1", "supported"), outcome("P3", "refuted")]
    assert [each.verdict for each in whole._corrected(pair, {"P1": 0.001, "P3": 0.04})] == ["supported", "refuted"]
    undecided = whole._corrected(pair, {"P1": 0.03, "P3": 0.04})
    assert [each.verdict for each in undecided] == ["undecided", "undecided"]
    assert "0.06 after Holm's correction for 2 hypotheses" in undecided[0].notes[0]


def test_trials_without_a_result_leave_their_protocol_out(monkeypatch):
    """By name, with the error, and the others are judged."""
    monkeypatch.setattr(p0, "plan", lambda study: [])
    monkeypatch.setattr(p0, "judge", lambda study, results: outcome("P0", "supported"))
    of = made_up.study()
    control, first = whole._judged(of, [p0, p1], {}, {p1.plan(of)[0].key: "out of memory"})
    assert (control.verdict, first.verdict) == ("supported", "not measured")
    assert first.sentence == "Left out: 1 of its trials have no result. out of memory"


def test_findings_that_contradict_each_other_leave_a_claim_undecided():
    """P1 and P2 both decide about the time."""
    of = made_up.study()
    for verdicts, said in (
        (("supported", "supported"), "supported"),
        (("supported", "refuted"), "undecided"),
        (("not measured", "refuted"), "refuted"),
    ):
        experiments = [outcome(name, verdict) for name, verdict in zip(("P1", "P2"), verdicts, strict=True)]
        assert table(of, experiments, trusted=True)[-1].verdict == said


def test_the_sample_for_keras_is_the_same_trial_but_for_the_trainer():
    """Of both models, the shortest that see all images as they are; differences are engine minus Keras."""
    of = made_up.study()
    pairs = sampled(of, [*p1.plan(of), *p3.plan(of), *p5.plan(of)])
    assert [engine.arguments["model"]["name"] for engine, _ in pairs] == ["mlp", "cnn"]
    for engine, keras in pairs:
        assert {**keras.arguments, "trainer": "engine"} == dict(engine.arguments)
        assert engine.arguments["steps"] == of.steps(of.sizes.capacity_epochs)
    results = {
        trial.key: made_up.result(trial, {"test": {"accuracy": [accuracy]}}, {}, {"train_seconds": seconds})
        for (engine, keras), apart in zip(pairs, (0.002, -0.001), strict=True)
        for trial, accuracy, seconds in ((engine, 0.8 + apart, 1.0), (keras, 0.8, 12.0))
    }
    found = agreement(pairs, results)
    assert found.largest_difference == pytest.approx(0.002)
    assert found.mean_difference == pytest.approx(0.0005)
    assert (found.trials, found.engine_seconds, found.keras_seconds) == (2, 2.0, 24.0)
    assert agreement(pairs, {}) is None


@pytest.mark.parametrize("protocol", [p3, p4, p6, p8, p9])
def test_a_plan_describes_no_trial_again_for_every_seed(protocol, monkeypatch):
    """With all results there, each at most three times: to choose a rate, at that rate, and beside another arm.

    In P8 it was some dozens of times, for each number of places and each seed, and to plan everything took eight seconds.
    """
    of = made_up.study("standard")
    known = {}
    while missing := [trial for trial in protocol.plan(of) if trial.key not in known]:
        for trial in missing:
            known[trial.key] = made_up.result(trial, {"validation": made_up.rated(trial.arguments, 0.03)}, {})
        of = dataclasses.replace(of, known=known)
    described = Counter()
    describe = Study.trial

    def counted(self, *arguments, **settings):
        trial = describe(self, *arguments, **settings)
        described[trial.key] += 1
        return trial

    monkeypatch.setattr(Study, "trial", counted)
    protocol.plan(of)
    assert max(described.values()) <= 3


@pytest.mark.parametrize(("classes", "enough"), [(2, 0.55), (3, 0.4), (10, 0.19), (100, 0.02)])
def test_a_model_has_learnt_when_it_is_well_above_guessing(classes, enough):
    """Twice chance where classes are many; of two classes nobody can have twice chance."""
    of = made_up.study()
    assert dataclasses.replace(of, data=dataclasses.replace(of.data, classes=classes)).enough == pytest.approx(enough)


@pytest.mark.parametrize(
    ("asleep", "verdicts"),
    [
        (("mlp",), {p1: "supported", p2: "not measured", p3: "supported", p5: "supported"}),
        (("cnn",), {p1: "refuted", p2: "not measured", p3: "refuted", p5: "not measured"}),
        (("mlp", "cnn", "mlp_4"), {p1: "not measured", p2: "not measured", p5: "not measured"}),
    ],
)
def test_models_that_guess_decide_nothing_by_what_they_cannot_lose(asleep, verdicts):
    """A learner may be compared with a guesser by accuracy; what is reached or lost needs two, and two guessers say nothing."""
    for protocol, verdict in verdicts.items():
        lost = 0.1 if "cnn" not in asleep else 0.0
        found, _ = judged(protocol, world(lost=lost, by_name=dict.fromkeys(asleep, -0.75)), source="made-up")
        assert (protocol.ID, found.verdict) == (protocol.ID, verdict)
        assert ("did not learn enough" in found.sentence) == (verdict == "not measured")
