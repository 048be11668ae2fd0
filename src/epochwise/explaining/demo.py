"""The main job: both models of the question, on the real Fashion-MNIST, on every installed backend of Keras."""

from __future__ import annotations

from epochwise.errors import BackendMissingError, WorkerDiedError
from epochwise.explaining.compare import compare_named
from epochwise.explaining.explanation import Comparison, Demo
from epochwise.explaining.loads import loads_for
from epochwise.explaining.question import answer_question
from epochwise.explaining.wording import FRAMEWORKS
from epochwise.measuring.measure import Progress
from epochwise.subjects.backends import installed_backends
from epochwise.subjects.datasets import DataSpec

MODELS = {"MLP": "epochwise.subjects.question:build_model_seq", "CNN": "epochwise.subjects.question:build_model_cnn"}
BATCH_SIZE = 32


def run_demo(
    *,
    backend: str | None = None,
    seconds: float = 45.0,
    seed: int = 0,
    data_dir: str | None = None,
    progress: Progress | None = None,
) -> Demo:
    """Measure and explain the question's two models, and answer the question.

    Args:
        backend: one backend of Keras; ``None`` for every one that is installed.
        seconds: measuring budget for each backend.
        seed: of weights and order.
        data_dir: folder in which the Fashion-MNIST files are looked for first.
        progress: told how far it is.

    Raises:
        BackendMissingError: no backend is installed.
        DataNotFoundError: Fashion-MNIST is nowhere to be found.
        WorkerDiedError: on the only backend.
    """
    backends = (backend,) if backend else installed_backends()
    if not backends:
        raise BackendMissingError(
            "Keras has no backend to train on here: neither TensorFlow, JAX nor PyTorch is installed.",
            remedy="pip install 'epochwise[jax]'",
        )
    data = DataSpec(data_dir=data_dir, seed=seed)
    comparisons: list[Comparison] = []
    left_out: dict[str, str] = {}
    for number, name in enumerate(backends):
        loads = loads_for(MODELS.values(), data, backend=name, batch_size=BATCH_SIZE, seed=seed, names=list(MODELS))
        try:
            comparisons.append(compare_named(loads, seconds, _part(progress, number, len(backends), FRAMEWORKS[name])))
        except WorkerDiedError as error:
            if not comparisons and number == len(backends) - 1:
                raise
            left_out[name] = error.what
        if comparisons and comparisons[-1].measurement.interrupted:
            break
    return Demo(comparisons=tuple(comparisons), left_out=left_out, answer=answer_question(comparisons))


def _part(progress: Progress | None, number: int, count: int, name: str) -> Progress:
    """Progress of one backend as part of the whole."""

    def say(done: float, total: float, text: str) -> None:
        if progress:
            progress(number + (done / total if total else 0.0), count, f"{name}: {text}")

    return say
