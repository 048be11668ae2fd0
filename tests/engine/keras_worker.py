"""Runs checks on the active backend, one line of JSON in, one out: ``{"topic": "layers", "check": "check_...", "case": ...}``.

A topic is a module of the folder ``on_keras``; its functions ``check_...`` are the tests, and raise where a promise is broken.
Others may be asked as well, and what they return comes back as ``told``.
Run in a process of its own for each backend (``KERAS_BACKEND``); see :mod:`backends`, which starts them.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # as in the tests: ``tests.engine...``


def answer(asked):
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(7)
    topic = importlib.import_module(f"tests.engine.on_keras.{asked['topic']}")
    check = getattr(topic, asked["check"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        told = check(*([] if asked["case"] is None else [asked["case"]]))
    ours = [str(each.message) for each in caught if "epochwise" in each.filename and "site-packages" not in each.filename]
    return {"error": "warned: " + "; ".join(ours)} if ours else {"told": told}


def main():
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not stand between the answers
    for line in sys.stdin:
        try:
            told = answer(json.loads(line))
        except BaseException as error:  # the test shows what happened; a check may also leave with Ctrl-C
            told = {"error": f"{type(error).__name__}: {error}\n{traceback.format_exc()[-6000:]}"}
        out.write(json.dumps(told) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
