"""Invented measurements, explained by the real functions: what reports are drawn from in these tests."""

from __future__ import annotations

from msgspec.structs import replace

from epochwise.counting.counts import (
    Container,
    Counts,
    LargestBatch,
    LayerCounts,
    MemoryBytes,
    Parameters,
    PerSample,
    Uncounted,
    Work,
)
from epochwise.counting.side_by_side import side_by_side
from epochwise.engine.result import Epoch, Fit, Score
from epochwise.explaining.compare import explain_ratio
from epochwise.explaining.explain import explain_measured
from epochwise.explaining.explanation import Comparison, Demo, QuestionAnswer
from epochwise.machines.machine import BandwidthPoint, Cache, Machine, Peak
from epochwise.measuring.measure import Measured
from epochwise.measuring.measurement import Block, EpochEnd, Interval, KernelTime, Measurement, ModelMeasurement, Profile

SAMPLES, BATCH, STEPS = 60_000, 32, 1875

MACHINE = Machine(
    name="Some processor",
    device="cpu",
    cores=2,
    caches=(Cache(1, 48 * 2**10, 1), Cache(2, 2**20, 1), Cache(3, 2**25, 2)),
    memory_bytes=2**34,
    peak_flops_per_second=Peak(one_core=1e11, all_cores=2e11, spread=0.012),
    bandwidth=tuple(BandwidthPoint(2**power, 4e11 / 1.35 ** (power - 14)) for power in range(14, 29)),
    measured_at="2026-01-02T03:04:05+00:00",
    measuring_seconds=2.5,
    fingerprint="f",
)


def layer(name, kind, shape, parameters=0, macs=0, first=False, elements=None, uses=None, parent=None):
    """One row, its bytes and FLOPs guessed from its shapes."""
    size = 1
    for length in shape:
        size *= length
    moved = 4 * (2 * size * BATCH + parameters)
    return LayerCounts(
        name=name,
        kind=kind,
        parameters=parameters,
        forward_macs=macs,
        weight_gradient_macs=macs,
        input_gradient_macs=0 if first else macs,
        output_shape=(None, *shape),
        activation_elements=size if elements is None else elements,
        calls=1,
        forward=Work(macs * BATCH, size * BATCH, moved),
        backward=Work(macs * BATCH * (1 if first else 2), size * BATCH, 2 * moved),
        update=Work(0, 2 * parameters, 12 * parameters),
        parent=parent,
        uses_per_weight=uses,
    )


def counts(name, layers, backend="tensorflow", uncounted=(), notes=(), shape=(28, 28, 1), **more):
    """The record of these rows."""
    forward = sum(row.forward_macs for row in layers)
    training = sum(row.forward_macs + row.weight_gradient_macs + row.input_gradient_macs for row in layers)
    parameters = sum(row.parameters for row in layers)
    elements = sum(row.activation_elements for row in layers)
    return Counts(
        name=name,
        backend=backend,
        batch_size=BATCH,
        parameters=Parameters(parameters, 0),
        per_sample=PerSample(forward, training, 2 * forward + elements, 2 * training + 3 * elements, elements),
        layers=tuple(layers),
        memory_bytes=MemoryBytes(
            4 * parameters, 4 * parameters, 8, 4 * BATCH * elements, 8 * parameters + 8 * BATCH * elements
        ),
        uncounted=tuple(uncounted),
        notes=tuple(notes),
        input_shape=(None, *shape),
        **more,
    )


def mlp(backend="tensorflow"):
    """The question's first model."""
    rows = [
        layer("flatten", "Flatten", (784,), elements=0),
        layer("dense", "Dense", (64,), 50_240, 50_176, first=True, uses=1),
        layer("dense_1", "Dense", (64,), 4_160, 4_096, uses=1),
        layer("dense_2", "Dense", (10,), 650, 640, uses=1),
    ]
    return counts("mlp", rows, backend)


def cnn(backend="tensorflow"):
    """The question's second model."""
    rows = [
        layer("conv2d", "Conv2D", (26, 26, 16), 160, 97_344, first=True, uses=676),
        layer("max_pooling2d", "MaxPooling2D", (13, 13, 16)),
        layer("conv2d_1", "Conv2D", (11, 11, 8), 1_160, 139_392, uses=121),
        layer("max_pooling2d_1", "MaxPooling2D", (5, 5, 8)),
        layer("flatten", "Flatten", (200,), elements=0),
        layer("dense", "Dense", (10,), 2_010, 2_000, uses=1),
    ]
    return counts("cnn", rows, backend)


def nested():
    """A model in a model, a block that does work of its own, one that does none, and a very long name."""
    long = "a_classifier_whose_name_somebody_made_very_long_indeed_on_purpose"
    rows = [
        layer("embedding", "Embedding", (20, 32), 3_200, elements=640),
        layer("encoder/attention", "MultiHeadAttention", (20, 32), 0, 25_600, parent="encoder"),
        layer("encoder/attention/query", "EinsumDense", (20, 4, 8), 1_056, 20_480, uses=20, parent="encoder/attention"),
        layer("encoder/attention/key", "EinsumDense", (20, 4, 8), 1_056, 20_480, uses=20, parent="encoder/attention"),
        layer("encoder/ffn/wide", "Dense", (20, 64), 2_112, 81_920, uses=40, parent="encoder/ffn"),
        layer("encoder/ffn/narrow", "Dense", (20, 32), 2_080, 81_920, uses=40, parent="encoder/ffn"),
        layer(long, "Dense", (5,), 165, 160, uses=1),
        replace(layer("(loss)", "Loss", ()), output_shape=None, activation_elements=0),
    ]
    containers = (
        Container("encoder", "Functional", None, (None, 20, 32), 1),
        Container("encoder/attention", "MultiHeadAttention", "encoder", (None, 20, 32), 1),
        Container("encoder/ffn", "Sequential", "encoder", (None, 20, 32), 2),
    )
    fit = LargestBatch(2**30, 1_234, 2**30 - 10, 2**30 + 100)
    return counts("transformer", rows, "jax", shape=(20,), containers=containers, largest_batch=fit)


def several():
    """Three models beside each other."""
    return side_by_side([mlp(), cnn(), nested()])


def profiled(step_seconds, busy_share, weights, overhead=0.04):
    """A profile whose busy time is shared out by ``weights``, ``(layer, phase) -> weight``."""
    wall = step_seconds * (1 + overhead)
    busy = wall * busy_share
    total = sum(weights.values())
    kernels = [
        KernelTime(f"kernel_{number}", place, phase, busy * weight / total, 1.0)
        for number, ((place, phase), weight) in enumerate(weights.items())
    ]
    return Profile(
        tool="tf.profiler, read from its trace",
        steps=60,
        wall_seconds_per_step=wall,
        undisturbed_seconds_per_step=step_seconds,
        busy_seconds_per_step=sum(kernel.seconds_per_step for kernel in kernels),
        kernels=tuple(kernels),
        notes=("Kernels that run for less than a microsecond are not in the trace.",),
    )


def weights_of(model, heavy=()):
    """Shares of busy time: by layer and phase, a little for the optimizer, some that is known of no layer."""
    shares = {}
    for number, row in enumerate(model.layers):
        if row.activation_elements:
            weight = 6.0 if row.name in heavy else 1.0 + 0.1 * number
            shares[row.name, "forward"] = weight
            shares[row.name, "backward"] = 2.2 * weight
    shares["(loss)", "forward"] = 0.3
    shares["(optimizer)", "update"] = 0.5
    shares[None, None] = 0.4
    return shares


def model_measurement(model, epoch, profile, epochs=(), whole=True, started=0.0, backend="tensorflow"):
    """One model, measured in twelve blocks."""
    wobble = [0.011, -0.004, 0.002, 0.019, -0.008, 0.0, 0.005, -0.011, 0.031, 0.001, -0.003, 0.004]
    blocks = [Block(started + 2 * number * epoch, STEPS, epoch * (1 + part)) for number, part in enumerate(wobble)]
    return ModelMeasurement(
        name=model.name,
        backend=backend,
        samples=SAMPLES,
        batch_size=BATCH,
        steps_per_epoch=STEPS,
        epoch_seconds=Interval(epoch, epoch * 0.991, epoch * 1.012),
        whole_epochs=whole,
        turn_seconds=0.05 if not whole else None,
        turns=(0.05, 0.06) if not whole else (),
        blocks=tuple(blocks),
        first_step_seconds=1.3,
        first_epoch_seconds=epoch + 1.27,
        first_epoch_extrapolated=not whole,
        epochs=tuple(epochs),
        profile=profile,
        threads={"intra-op": 2, "inter-op": 2},
        versions={"keras": "3.10.0", backend: "2.20.0"},
        device="cpu",
        peak_memory_bytes=612_000_000,
        notes=(),
    )


def learning(epoch, reached):
    """Ends of epochs that reach these test accuracies."""
    return [
        EpochEnd(number, number * epoch + 1.2, {"loss": 1.0 - 0.1 * number, "accuracy": a - 0.02}, {"loss": 0.9, "accuracy": a})
        for number, a in enumerate(reached, start=1)
    ]


def measured(models, measurements, notes=()):
    """Two models in turn."""
    first, second = (part.epoch_seconds.median for part in measurements)
    ratio = second / first
    record = Measurement(
        models=tuple(measurements),
        ratio=Interval(ratio, ratio * 0.985, ratio * 1.017),
        pairs=12,
        budget_seconds=60.0,
        measuring_seconds=58.3,
        other_load_cores=0.03,
        data="Fashion-MNIST, 60,000 images of 28 x 28 (installed files)",
        interrupted=False,
        notes=tuple(notes),
    )
    return Measured(record, tuple(models), (None, None))


def question(
    backend="tensorflow", seconds=(1.31, 2.74), busy=(0.22, 0.71), heavy=("max_pooling2d",), epochs=True, profile=True
):
    """The question's two models, compared on one backend."""
    models = (mlp(backend), cnn(backend))
    accuracies = ((0.781, 0.822, 0.837, 0.842), (0.741, 0.792, 0.818))
    parts = [
        model_measurement(
            model,
            epoch,
            profiled(epoch / STEPS, share, weights_of(model, heavy)) if profile else None,
            learning(epoch, reached) if epochs else (),
            started=0.4 + place * seconds[0],
            backend=backend,
        )
        for place, (model, epoch, share, reached) in enumerate(zip(models, seconds, busy, accuracies, strict=True))
    ]
    return explain_ratio(measured(models, parts), MACHINE)


def two(models, seconds=(1.0, 3.0), **options):
    """Any two models."""
    parts = [
        model_measurement(model, epoch, profiled(epoch / STEPS, 0.6, weights_of(model)), **options)
        for model, epoch in zip(models, seconds, strict=True)
    ]
    return explain_ratio(measured(models, parts), MACHINE)


def without_profile() -> Comparison:
    """Kernels and waiting cannot be told apart, and nothing was tested."""
    return question(profile=False, epochs=False)


def without_macs() -> Comparison:
    """The second model multiplies nothing, so the first factors are merged."""
    idle = counts("pooling only", [layer("max_pooling2d", "MaxPooling2D", (14, 14, 1)), layer("flatten", "Flatten", (196,))])
    return two((mlp(), idle))


def stitched() -> Comparison:
    """Long epochs, put together from steps, with a turn between them."""
    return two((mlp(), cnn()), (812.0, 1_930.0), whole=False)


def uncounted() -> Comparison:
    """Operations without a rule, and notes."""
    rows = (Uncounted("CustomFFT2D", 4, "spectral"), Uncounted("While", None, None, "trip count unknown"))
    second = replace(cnn(), uncounted=rows, notes=("The model's own train_step was traced.",))
    return two((mlp(), second))


def deep() -> Comparison:
    """200 layers with names of their paths, numbers of nine digits and more."""
    rows = [
        layer(
            f"encoder/stage_{number // 10}/residual_block_{number}/convolution_3x3", "Conv2D", (56, 56, 256), 590_080, 10**9 + 7
        )
        for number in range(200)
    ]
    return two(
        (counts("a model whose name is far too long for the head of a column of any table", rows[:2]), counts("deep", rows))
    )


def hostile() -> Comparison:
    """Text that would be markup if it were not escaped."""
    rows = [layer("</td><script>alert(1)</script>", "[bold]Dense&", (10,), 100, 100)]
    first = counts('<img src=x onerror="alert(2)">', rows, notes=("<b>note</b> [red]& more",))
    second = counts("[/bold] & 'second'", rows)
    return two((first, second))


def demo() -> Demo:
    """Three backends, one without a profile; one left out."""
    return Demo(
        comparisons=(
            question(),
            question("jax", (1.18, 18.9), (0.55, 0.97), ("max_pooling2d", "max_pooling2d_1")),
            question("torch", (2.21, 6.12), profile=False),
        ),
        left_out={"pytorch": "No module named 'torch'"},
        answer=QuestionAnswer(
            why_slower="It uses each weight 89 times as often: that is 5.4 times the arithmetic; the rest differs by backend.",
            benefit="As far as it has been measured here: after 3 epochs 0.818 of the test images, against 0.837.",
            parameters="They say what a model weighs on disk and in memory, not how long it takes.",
        ),
    )


COMPARISONS = {
    "question": question,
    "without_profile": without_profile,
    "without_macs": without_macs,
    "stitched": stitched,
    "uncounted": uncounted,
    "deep": deep,
    "hostile": hostile,
}


def alone(second=False, heavy=("max_pooling2d",), profile=True, **options):
    """One of the question's models, explained by itself."""
    model = cnn() if second else mlp()
    profiled_part = profiled(2.74 / STEPS, 0.71, weights_of(model, heavy)) if profile else None
    part = model_measurement(model, 2.74, profiled_part, learning(2.74, (0.741, 0.792, 0.818)), **options)
    return explain_measured(one(model, part), MACHINE)


def one(model, part):
    """One model that was measured alone."""
    pair = measured((model, model), (part, part))
    return Measured(replace(pair.measurement, models=(part,), ratio=None), (model,), (None,))


def explained_deep():
    """Layers whose names are long."""
    model = deep().models[1].counts
    part = model_measurement(model, 1e6, profiled(1e6 / STEPS, 0.8, weights_of(model)), whole=False)
    return explain_measured(one(model, part), MACHINE)


EXPLANATIONS = {
    "cnn": lambda: alone(second=True),
    "mlp": alone,
    "without_profile": lambda: alone(second=True, profile=False),
    "deep": explained_deep,
}


def fit(**changes):
    """A training run of two epochs."""
    return replace(
        Fit(
            name="cnn",
            engine="compiled",
            threads=2,
            backend="jax",
            batch_size=32,
            samples=54000,
            data="fashion-mnist: the four files of Fashion-MNIST; uint8 divided by 255",
            seed=0,
            parameters=1234,
            epochs=(
                Epoch(0.6412, 0.7731, 0.4412, Score(0.4801, 0.8312)),
                Epoch(0.4503, 0.8402, 0.4377, Score(0.4211, 0.8533)),
            ),
            test=Score(0.4402, 0.8444),
        ),
        **changes,
    )


FITS = {
    "fit": fit,
    "fit_of_keras": lambda: fit(
        name="<b>hostile & long</b> " * 4,
        engine="keras",
        threads=None,
        epochs=(Epoch(None, None, 12.25),),
        test=None,
        notes=("Keras trains this model, not the engine, which does not cover: dense: activation silu.",),
    ),
}
