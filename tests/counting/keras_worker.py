"""Counts Keras models on the active backend, one line of JSON in, one out, until its input ends.

A line is a description: ``{"application": "MobileNetV2", "arguments": {}}``, or one of :mod:`drawn_models`. Run in a process
of its own for each backend (``KERAS_BACKEND``); see :mod:`backends`, which starts three and compares what they say.
"""

from __future__ import annotations

import json
import sys
import time
import traceback

import keras

from epochwise.counting import count

BATCH = 2


def built(description):
    if "application" in description:
        model = getattr(keras.applications, description["application"])(weights=None, **description.get("arguments", {}))
        model.compile(optimizer="sgd", loss="categorical_crossentropy")
        return model
    if "every" in description:
        import every_layer

        return every_layer.build(description["every"])
    from drawn_models import build

    return build(description)


def answer(description):
    if description.get("list") == "applications":
        return sorted(name for name in dir(keras.applications) if name[0].isupper())
    if description.get("list") == "layers":
        import every_layer

        return {"same": every_layer.SAME, "missing": every_layer.missing()}
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    start = time.perf_counter()
    model = built(description)
    middle = time.perf_counter()
    counts = count(model, description.get("batch_size", BATCH))
    return {
        "parameters": [counts.parameters.trainable, counts.parameters.frozen],
        "forward_macs": counts.per_sample.forward_macs,
        "training_macs": counts.per_sample.training_macs,
        "rows": {
            row.name: [row.forward_macs, row.weight_gradient_macs, row.input_gradient_macs, row.parameters]
            for row in counts.layers
            if not row.name.startswith("(")
        },
        "outside": {
            row.name: [row.forward.macs, row.backward.macs, row.update.macs]
            for row in counts.layers
            if row.name.startswith("(")
        },
        "activation_elements": {row.name: row.activation_elements for row in counts.layers},
        "kinds": sorted({row.kind for row in counts.layers}),
        "uncounted": [[unknown.operation, unknown.layer, unknown.reason] for unknown in counts.uncounted],
        "notes": list(counts.notes),
        "seconds": [round(middle - start, 2), round(time.perf_counter() - middle, 2)],
    }


def main():
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not stand between the answers
    for line in sys.stdin:
        try:
            told = answer(json.loads(line))
        except Exception as error:  # the test names the model that failed
            told = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-3000:]}
        out.write(json.dumps(told) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
