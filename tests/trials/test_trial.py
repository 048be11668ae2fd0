"""Descriptions: equal where they mean the same, and kept apart where they do not; outcomes keep every bit."""

from __future__ import annotations

import hashlib
import math
import pickle

import numpy as np
import pytest

from epochwise.trials import Trial
from epochwise.trials.encoding import decode_arrays, decode_numbers, digest, encode_arrays, encode_numbers
from tests.trials import toys


def test_the_key_is_the_hash_of_canonical_json():
    """Written out by hand here: anybody can work it out from the description in the store."""
    trial = Trial(run="a.b:c", recipe=2, arguments={"b": [1, 2.5, None], "a": {"é": True}})
    text = r'{"arguments":{"a":{"\u00e9":true},"b":[1,2.5,null]},"recipe":2,"run":"a.b:c"}'
    assert trial.description == text
    assert trial.key == hashlib.sha256(text.encode()).hexdigest()


def test_equal_descriptions_are_one_trial():
    """Order of keys, tuples for lists, and the cost do not matter; everything else does."""
    first = toys.trial(seed=1, shape=(2, 3))
    assert {first, toys.trial(shape=[2, 3], seed=1, cost=9.0)} == {first}
    others = [toys.trial(seed=1, shape=[3, 2]), toys.trial(seed=1.0, shape=[2, 3]), toys.trial(seed=1, shape=[2, 3], recipe=2)]
    assert len({first, *others, toys.trial("burn", seed=1, shape=[2, 3])}) == 5


def test_nobody_changes_a_trial_afterwards():
    """Neither through the dictionary that it was made of, nor through its own arguments; and it can be sent elsewhere."""
    arguments = {"widths": [64]}
    trial = Trial(run="a:b", arguments=arguments)
    arguments["widths"].append(32)
    assert trial.arguments == {"widths": [64]}
    with pytest.raises(TypeError):
        trial.arguments["seed"] = 1
    assert pickle.loads(pickle.dumps(trial)).key == trial.key


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"a": [{"b": np.float32(1)}]}, TypeError, r"arguments\['a'\]\[0\]\['b'\] is of type float32"),
        ({"a": {1: 2}}, TypeError, r"arguments\['a'\] has the key 1"),
        ({"a": math.nan}, ValueError, r"arguments\['a'\] is nan"),
    ],
)
def test_what_is_no_json_is_refused_by_its_place(arguments, error, text):
    """A description must mean the same tomorrow and elsewhere."""
    with pytest.raises(error, match=text):
        Trial(run="a:b", arguments=arguments)


@pytest.mark.parametrize("settings", [{"run": "a.b"}, {"run": "a:b", "cost": 0.0}, {"run": "a:b", "cost": math.inf}])
def test_a_trial_that_makes_no_sense_is_refused(settings):
    """No function, or a cost that no time can be worked out from."""
    with pytest.raises(ValueError, match="trial"):
        Trial(arguments={}, **settings)


def test_an_outcome_comes_back_bit_for_bit():
    """Also NaN with its sign, negative zero, big-endian and empty arrays, and arrays that do not lie side by side."""
    arrays = {
        "z": np.array([np.nan, -np.nan, -0.0, np.inf], np.float32),
        "a": np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2],
        "empty": np.zeros((0, 3), np.uint8),
        "scalar": np.array(1.5),
        "text": np.array(["é", "ab"]),
    }
    found = decode_arrays(encode_arrays(arrays))
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
        assert not found[name].flags.writeable
    numbers = decode_numbers(encode_numbers({"b": np.float64(0.1), "a": (np.int64(3), np.bool_(True), math.nan)}))
    assert numbers["b"] == 0.1
    assert numbers["a"][:2] == [3, True]
    assert math.isnan(numbers["a"][2])


def test_the_digest_tells_outcomes_apart_and_not_their_order():
    """One bit more or less is another digest; the order in which a function fills its dictionaries is not."""
    one = encode_numbers({"a": 1.0, "b": 2.0}), encode_arrays({"x": np.zeros(2), "y": np.ones(1)})
    same = encode_numbers({"b": 2.0, "a": 1.0}), encode_arrays({"y": np.ones(1), "x": np.zeros(2)})
    other = encode_numbers({"a": 1.0, "b": 2.0}), encode_arrays({"x": np.array([0.0, -0.0]), "y": np.ones(1)})
    assert digest(*one) == digest(*same) != digest(*other)
