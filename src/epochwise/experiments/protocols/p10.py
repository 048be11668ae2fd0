"""P10, what the number of parameters drives: bytes to keep and to exchange; and what it does not: the time of a step.

Nothing is learnt. Seven models are counted, some steps of each are timed, and gradients as large as theirs are exchanged
between two processes of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from epochwise.experiments import exchange
from epochwise.experiments.exchange import NAMES, OF_THE_QUESTION
from epochwise.experiments.exchange.ring import WORKERS, bytes_sent
from epochwise.experiments.record import Chart, Check, Experiment, Finding, Line, Table, Verdict
from epochwise.experiments.statistics import Interval, RankCorrelation, probability_above, rank_correlation
from epochwise.experiments.study import BATCH, Study
from epochwise.trials.trial import Result, Trial

ID = "P10"
TITLE = "What few parameters are good for"
LARGE_BATCH = 2
"""Samples in a step of the models for 224 x 224, so that a step of VGG16 takes a second and not half a minute."""
RING, LINK_BYTES_PER_SECOND = 8, 10e9 / 8
"""Workers and link that transfers are worked out for: 10 Gbit/s."""
STRONG = 0.95
EXPECTED = {"alexnet": 60_965_224, "vgg16": 138_357_544, "mlp": 55_050, "cnn": 3_330}
"""Parameters that are known from elsewhere."""

_FLOAT = 4  # bytes of a float32
_SHORT = {"parameters": "parameters", "MACs": "macs", "bytes of activations": "activations"}
_SECONDS = {"vgg16": 20.0, "resnet50": 25.0, "alexnet": 8.0}
_EXCHANGE_SECONDS = 6.0


def plan(study: Study) -> list[Trial]:
    """One trial per model, and one for the exchange."""
    return [*(_cost(study, name) for name in NAMES), _exchange()]


def judge(study: Study, results: Mapping[str, Result]) -> Experiment:
    """Rank correlations over seven models; and the pair of the question, in which parameters and time go apart."""
    found = {name: results[_cost(study, name).key] for name in NAMES}
    numbers = {name: each.numbers for name, each in found.items()}
    steps = np.array([each.measured["step_seconds"] for each in found.values()])
    exchanged = results[_exchange().key]
    transfers = np.array(exchanged.measured["seconds"])
    of = {key: np.array([each[key] for each in numbers.values()], float) for key in numbers["mlp"]}
    trainable = of["gradient_bytes"] / _FLOAT
    driven = {
        "parameters": rank_correlation(steps, trainable),
        "MACs": rank_correlation(steps, of["training_macs"]),
        "bytes of activations": rank_correlation(steps, of["activation_bytes"]),
    }
    carried = rank_correlation(transfers, trainable)
    together = rank_correlation(trainable, of["training_macs"])
    ratios = {key: of[key][1] / of[key][0] for key in of}  # CNN over MLP
    time_ratio = float(steps[1] / steps[0])
    apart = ratios["parameters"] < 1 < time_ratio
    trials = len(plan(study))
    return Experiment(
        id=ID,
        title=TITLE,
        claim="Fewer parameters make training faster.",
        falsified_if="of the question's two models, the one with fewer parameters needs more MACs and more time for a step",
        verdict="refuted" if apart and ratios["training_macs"] > 1 else "supported" if time_ratio < 1 else "undecided",
        estimate=time_ratio,
        unit="step of the CNN over step of the MLP, seconds by the engine on one core",
        trials=trials,
        sentence=f"The CNN has {1 / ratios['parameters']:.1f} times fewer parameters than the MLP, does "
        f"{ratios['training_macs']:.2f} times the MACs, and its step takes {time_ratio:.1f} times as long.",
        further=(
            _carried(carried, len(NAMES)),
            *(_driven(name, each, len(NAMES)) for name, each in driven.items()),
            _apart(steps, of["training_macs"], trainable),
        ),
        checks=_checks(numbers, exchanged),
        charts=(_step_chart(found, steps, of["training_macs"], trainable), _transfer_chart(found, transfers, trainable)),
        tables=(_bytes_table(numbers), _time_table(numbers, steps, transfers), _shares_table(numbers)),
        notes=(
            f"A step has {BATCH} samples of 28 x 28, or {LARGE_BATCH} of 227 x 227 (AlexNet) and 224 x 224 (ResNet50, VGG16). "
            "MACs, activations and times are those of a step. Times are the shortest of some steps of the engine on one core, "
            "since other trials may run beside it.",
            f"The ring is measured between {WORKERS} processes over this machine's loopback, which is no network: its times "
            "say what they grow with, and not how long a cluster takes. The last columns are worked out: 2 (N - 1) / N times "
            f"the gradient's bytes for N = {RING}, at 10 Gbit/s, without latency.",
            "The interval beside a rank correlation is the range in which 95 % of all orders of the seven models lie: "
            "outside of it the order is no chance. Seven chosen models are no sample of all models, and among them more "
            f"parameters mostly come with more MACs (rank correlation {together.estimate:.2f}), so these correlations alone do "
            "not say which of the two the time follows.",
        ),
    )


def _cost(study: Study, name: str) -> Trial:
    batch_size = BATCH if name in OF_THE_QUESTION else LARGE_BATCH
    arguments = {"model": name, "batch_size": batch_size, "backend": study.backend}
    return Trial(run=exchange.COST_RUN, recipe=exchange.RECIPE, arguments=arguments, cost=_SECONDS.get(name, 2.0))


def _exchange() -> Trial:
    sizes = [EXPECTED["mlp"], EXPECTED["cnn"], 239_767, 250_530, EXPECTED["alexnet"], 25_583_592, EXPECTED["vgg16"]]
    return Trial(
        run=exchange.EXCHANGE_RUN, recipe=exchange.RECIPE, arguments={"sizes": sizes}, cores=WORKERS, cost=_EXCHANGE_SECONDS
    )


def _carried(found: RankCorrelation, models: int) -> Finding:
    verdict: Verdict = "supported" if found.estimate > STRONG else "refuted" if found.estimate <= found.high else "undecided"
    return Finding(
        id=f"{ID}.exchange",
        claim="Fewer parameters make the exchange of gradients between workers faster.",
        falsified_if="the rank correlation of its time with the number of parameters lies within what chance gives, or below "
        f"(supported above {STRONG:g})",
        verdict=verdict,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        unit="rank correlation; the interval is that of chance",
        trials=models,
        sentence=f"Over {models} models the time of a ring all-reduce follows the number of parameters with a rank correlation "
        f"of {found.estimate:.2f} (by chance within [{found.low:.2f}, {found.high:.2f}]).",
    )


def _driven(name: str, found: RankCorrelation, models: int) -> Finding:
    within = found.low <= found.estimate <= found.high
    return Finding(
        id=f"{ID}.{_SHORT[name]}",
        claim=f"The time of a step follows its {name}.",
        falsified_if="the rank correlation lies within what chance gives",
        verdict="undecided" if within else "supported" if found.estimate > 0 else "refuted",
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        unit="rank correlation; the interval is that of chance",
        trials=models,
        sentence=f"Over {models} models the time of a step follows its {name} with a rank correlation of {found.estimate:.2f} "
        f"(by chance within [{found.low:.2f}, {found.high:.2f}]; p = {found.p_value:.3f}).",
    )


def _apart(steps: np.ndarray, macs: np.ndarray, parameters: np.ndarray) -> Finding:
    """Pairs of models of which one has more MACs and the other more parameters: whose step is longer?"""
    pairs = [
        (one, other)
        for one in range(len(steps))
        for other in range(len(steps))
        if macs[one] > macs[other] and parameters[one] < parameters[other]
    ]
    names = list(NAMES.values())
    told = "; ".join(f"{names[one]} {steps[one] / steps[other]:.2f} times {names[other]}" for one, other in pairs)
    first, second = ([steps[pair[place]] for pair in pairs] for place in (0, 1))
    share = probability_above(first, second) if pairs else Interval(0.5, 0.0, 1.0)
    half = 0.5
    return Finding(
        id=f"{ID}.apart",
        claim="Where one model has more MACs and the other more parameters, the one with more MACs takes longer.",
        falsified_if="the interval of the share of such pairs lies below one half",
        verdict="supported" if share.low > half else "refuted" if share.high < half else "undecided",
        **share._asdict(),
        unit="share of the pairs of models",
        trials=len(steps),
        sentence=f"In {sum(a > b for a, b in zip(first, second, strict=True))} of {len(pairs)} such pairs ({told}).",
    )


def _checks(numbers: Mapping[str, Mapping[str, float]], exchanged: Result) -> tuple[Check, ...]:
    made = [
        Check(
            f"{NAMES[name]} has {count:,} parameters", numbers[name]["parameters"] == count, f"{numbers[name]['parameters']:,}"
        )
        for name, count in EXPECTED.items()
    ]
    sizes = _exchange().arguments["sizes"]
    of_models = [int(each["gradient_bytes"]) // _FLOAT for each in numbers.values()]
    made.append(Check("Vectors as long as the models' gradients were exchanged", of_models == list(sizes), f"{of_models}"))
    formula = [bytes_sent(_FLOAT * size, WORKERS) for size in sizes]
    sent = exchanged.numbers["bytes"]
    # A chunk is a whole number of floats, so a vector of odd length comes out one float higher or lower.
    passed = all(abs(each - exact) <= _FLOAT for each, exact in zip(sent, formula, strict=True))
    made.append(Check("A ring sends 2 (N - 1) / N times the gradient's bytes", passed, f"{sent} against {formula}"))
    return tuple(made)


def _step_chart(found: Mapping[str, Result], seconds: np.ndarray, macs: np.ndarray, parameters: np.ndarray) -> Chart:
    labels, heights = tuple(NAMES[each] for each in found), tuple(float(value) for value in seconds)
    return Chart(
        id="step-time",
        kind="points",
        title="Time of a training step: by its MACs, and by the number of parameters",
        x="MACs of the step, or parameters",
        y="seconds",
        logarithmic="xy",
        lines=(
            Line(name="by MACs", x=tuple(float(value) for value in macs), y=heights, labels=labels),
            Line(name="by parameters", x=tuple(float(value) for value in parameters), y=heights, labels=labels),
        ),
    )


def _transfer_chart(found: Mapping[str, Result], seconds: np.ndarray, parameters: np.ndarray) -> Chart:
    return Chart(
        id="exchange-time",
        kind="points",
        title="Time to exchange a gradient between two processes",
        x="parameters",
        y="seconds",
        logarithmic="xy",
        lines=(
            Line(
                name="ring all-reduce over loopback",
                x=tuple(float(value) for value in parameters),
                y=tuple(float(value) for value in seconds),
                labels=tuple(NAMES[each] for each in found),
            ),
        ),
    )


def _bytes_table(numbers: Mapping[str, Mapping[str, float]]) -> Table:
    columns = ("model", "parameters", "checkpoint", "gradient", "SGD keeps", "Adam keeps", "activations of a step")
    keys: Sequence[str] = ("checkpoint_bytes", "gradient_bytes", "sgd_bytes", "adam_bytes", "activation_bytes")
    rows = [
        (NAMES[name], f"{each['parameters']:,}", *(f"{int(each[key]):,}" for key in keys)) for name, each in numbers.items()
    ]
    return Table(title="Bytes, in float32", columns=columns, rows=tuple(rows))


def _time_table(numbers: Mapping[str, Mapping[str, float]], steps: np.ndarray, transfers: np.ndarray) -> Table:
    rows = []
    for (name, each), step, transfer in zip(numbers.items(), steps, transfers, strict=True):
        sent = bytes_sent(int(each["gradient_bytes"]), RING)
        rows.append(
            (
                NAMES[name],
                f"{each['training_macs'] / 1e6:,.1f}",
                f"{1e3 * step:,.2f}",
                f"{1e3 * transfer:,.2f}",
                f"{sent / 1e6:,.3f}",
                f"{1e3 * sent / LINK_BYTES_PER_SECOND:,.2f}",
            )
        )
    columns = (
        "model",
        "million MACs of a step",
        "step, ms",
        "exchange here, ms",
        f"MB sent by each of {RING}",
        "ms at 10 Gbit/s",
    )
    return Table(title="Time of a step, and of exchanging its gradient", columns=columns, rows=tuple(rows))


def _shares_table(numbers: Mapping[str, Mapping[str, float]]) -> Table:
    rows = [
        (
            NAMES[name],
            f"{100 * each['dense_parameters'] / each['parameters']:.1f}",
            f"{100 * each['dense_macs'] / each['forward_macs']:.1f}",
            f"{each['forward_macs'] / (BATCH if name in OF_THE_QUESTION else LARGE_BATCH) / each['parameters']:,.1f}",
        )
        for name, each in numbers.items()
    ]
    columns = ("model", "% of parameters in dense layers", "% of forward MACs there", "forward MACs per parameter and image")
    return Table(title="Where parameters are, and where work is", columns=columns, rows=tuple(rows))
