"""The loss, whose gradient is where the backward pass begins, and the metrics."""

from __future__ import annotations

from epochwise.engine.code import Given
from epochwise.engine.kernels import rows
from epochwise.engine.plan import floats
from epochwise.engine.stages.copies import aligned
from epochwise.engine.stages.planning import Planning
from epochwise.engine.stages.simple import kept
from epochwise.errors import NotCoveredError


def plan_loss(planning: Planning, weighted: bool) -> None:
    """Plan loss and metrics, in training and evaluation."""
    network, loss = planning.network, planning.network.loss
    if len(network.metrics) > rows.MOST_METRICS:
        raise NotCoveredError(
            f"The engine keeps at most {rows.MOST_METRICS} metrics, and this model has {len(network.metrics)}.",
            remedy="fewer metrics in model.compile",
        )
    y = aligned(planning, network.output if loss.logits is None else loss.logits)
    logits = loss.from_logits or loss.logits is not None
    gradient = y.gradient if y.gradient is not None else floats(planning.batch, y.form.size)
    given: dict[str, Given] = {
        "run": planning.run,
        "x": y.values,
        "dx": gradient,
        "sums": planning.sums,
        "rows": y.form.blocks,
        "padded": y.form.pitch,
    }
    lanes = y.form.lanes(planning.target)
    if loss.kind == "sparse_categorical_crossentropy":
        variant = rows.sparse_cross_entropy(lanes=lanes, logits=logits, weighted=weighted)
        given |= {"keep": kept(y.form)}
    elif loss.kind == "categorical_crossentropy":
        variant = rows.cross_entropy(lanes=lanes, logits=logits, weighted=weighted)
        given |= {"keep": kept(y.form), "classes": y.form.channels, "smoothing": float(loss.label_smoothing)}
    elif loss.kind == "binary_crossentropy":
        variant = rows.binary_cross_entropy(logits=logits, weighted=weighted)
        given |= {"classes": y.form.channels, "smoothing": float(loss.label_smoothing)}
    else:
        variant = rows.squared_error(weighted=weighted)
        given |= {"classes": y.form.channels}
    planning.add_judging(variant, **given)
    y.arrived = True
    out = aligned(planning, network.output)
    for number, metric in enumerate(network.metrics):
        planning.add_judging(
            rows.metric(kind=metric.kind, weighted=weighted and metric.weighted),
            run=planning.run,
            x=out.values,
            sums=planning.sums,
            number_of_metric=number,
            rows=out.form.blocks,
            classes=out.form.channels,
            padded=out.form.pitch,
            threshold=float(metric.threshold),
        )
