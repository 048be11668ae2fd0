"""Every model of ``keras.applications``, the same MACs on three backends, row by row, and nothing uncounted."""

from __future__ import annotations

import pytest

from tests.counting.backends import BACKENDS, differences, workers

pytestmark = [pytest.mark.jax, pytest.mark.torch, pytest.mark.tensorflow]

SIZED = {"MobileNetV3Large": [224, 224, 3], "MobileNetV3Small": [224, 224, 3]}
"""Models that accept images of any size, and leave it open unless they are told one."""

WITHOUT_TORCH = ("NASNetLarge", "NASNetMobile")
"""Keras itself refuses to build these on PyTorch."""

PUBLISHED = {
    # Million multiply-adds of one forward pass, and million weights, as the papers round them.
    "MobileNet": (569, 4.2),
    "MobileNetV2": (300, 3.4),
    "MobileNetV3Small": (56, 2.5),
    "MobileNetV3Large": (219, 5.4),
    "NASNetMobile": (564, 5.3),
}

QUICK = ["MobileNetV2"]
OTHERS = [
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "ConvNeXtXLarge",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "NASNetLarge",
    "NASNetMobile",
    "ResNet101",
    "ResNet101V2",
    "ResNet152",
    "ResNet152V2",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "VGG19",
    "Xception",
]


def told(name):
    """In processes of its own for each model: the largest take gigabytes."""
    backends = [backend for backend in BACKENDS if backend != "torch" or name not in WITHOUT_TORCH]
    with workers(backends) as ask:
        return ask({"application": name, "arguments": {"input_shape": SIZED[name]} if name in SIZED else {}})


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)])
def test_backends_agree_on_every_layer_of_an_application(name):
    """Weights, forward MACs and both gradients of each row, the totals, and nothing uncounted; near what the paper says."""
    counts = told(name)
    assert differences(counts) == []
    rows = counts["jax"]["rows"].values()
    assert counts["jax"]["forward_macs"] == sum(row[0] for row in rows) > 0
    assert counts["jax"]["training_macs"] == sum(sum(row[:3]) for row in rows)
    if name in PUBLISHED:
        macs, weights = PUBLISHED[name]
        assert counts["jax"]["forward_macs"] == pytest.approx(macs * 1e6, rel=0.05)
        assert sum(counts["jax"]["parameters"]) == pytest.approx(weights * 1e6, rel=0.05)


@pytest.mark.long
def test_the_list_is_complete():
    """Every application that this Keras has is in the list, and those left out on PyTorch are refused there."""
    with workers() as ask:
        said = ask({"list": "applications"})
        refused = ask({"application": "NASNetMobile"})["torch"]
    assert all(sorted([*QUICK, *OTHERS]) == names for names in said.values())
    assert "not available with the torch backend" in refused["error"]
