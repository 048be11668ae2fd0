"""Architectures of the transformers library, built from their configurations without weights, against closed forms by hand.

Legend: ``s`` tokens, ``t`` steps of an encoder, ``d`` width. In all of them every product has both gradients, except the first
convolution, which has no input gradient: training is three times forward less that convolution. The two products of
attention have two gradients each.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import textwrap

import pytest

from epochwise.counting import count

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode  # noqa: E402 - only where it is installed

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
BATCH, WORDS, CLASSES, TOKENS = 2, 97, 10, 12


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    transformers.logging.set_verbosity(50)
    yield
    transformers.logging.set_verbosity_warning()


def tokens(length=TOKENS):
    return torch.zeros(BATCH, length, dtype=torch.long, device="meta")


def image(config, size):
    return {
        "pixel_values": torch.zeros(BATCH, config.num_channels, size, size, device="meta"),
        "labels": torch.zeros(BATCH, dtype=torch.long, device="meta"),
    }


def attention_block(queries, keys, d):
    """Projections of queries and output, of keys and values, and the two products."""
    return 2 * queries * d * d + 2 * keys * d * d + 2 * queries * keys * d


def resnet(size=32, **settings):
    config = transformers.ResNetConfig(num_labels=CLASSES, **settings)
    positions = (size // 2) ** 2
    first = positions * 49 * 3 * config.embedding_size
    macs, inside = first, config.embedding_size
    positions //= 4  # max pooling
    for stage, (out, depth) in enumerate(zip(config.hidden_sizes, config.depths, strict=True)):
        for block in range(depth):
            before, narrow = positions, out // 4
            if block == 0 and stage > 0:
                positions //= 4
            macs += before * inside * narrow + positions * (9 * narrow * narrow + narrow * out)
            if inside != out or before != positions:
                macs += positions * inside * out
            inside = out
    return transformers.ResNetForImageClassification, config, image(config, size), macs + inside * CLASSES, first


def vit(**settings):
    config = transformers.ViTConfig(num_labels=CLASSES, **settings)
    d, patches = config.hidden_size, (config.image_size // config.patch_size) ** 2
    first = patches * config.patch_size**2 * 3 * d
    s = patches + 1
    layer = attention_block(s, s, d) + 2 * s * d * config.intermediate_size
    macs = first + config.num_hidden_layers * layer + d * CLASSES
    return transformers.ViTForImageClassification, config, image(config, config.image_size), macs, first


def bert(**settings):
    config = transformers.BertConfig(**settings)
    d, s = config.hidden_size, TOKENS
    layer = attention_block(s, s, d) + 2 * s * d * config.intermediate_size
    macs = config.num_hidden_layers * layer + s * d * d + s * d * config.vocab_size
    batch = {"input_ids": tokens(), "attention_mask": tokens(), "labels": tokens()}
    return transformers.BertForMaskedLM, config, batch, macs, 0


def gpt2(**settings):
    config = transformers.GPT2Config(bos_token_id=1, eos_token_id=2, **settings)
    d, s = config.n_embd, TOKENS
    layer = attention_block(s, s, d) + 2 * s * d * 4 * d
    macs = config.n_layer * layer + s * d * config.vocab_size
    return transformers.GPT2LMHeadModel, config, {"input_ids": tokens(), "labels": tokens()}, macs, 0


def llama(**settings):
    """Grouped queries: keys and values have fewer heads, and the products as many as the queries have."""
    config = transformers.LlamaConfig(**settings)
    d, s = config.hidden_size, TOKENS
    of_keys = d * config.num_key_value_heads // config.num_attention_heads
    layer = 2 * s * d * d + 2 * s * d * of_keys + 2 * s * s * d + 3 * s * d * config.intermediate_size
    macs = config.num_hidden_layers * layer + s * d * config.vocab_size
    return transformers.LlamaForCausalLM, config, {"input_ids": tokens(), "labels": tokens()}, macs, 0


def mixtral(**settings):
    """As llama, and of the experts each token is sent to some by a product of its own; in float32, as it is built."""
    config = transformers.MixtralConfig(**settings)
    d, s = config.hidden_size, TOKENS
    of_keys = d * config.num_key_value_heads // config.num_attention_heads
    experts = s * d * config.num_local_experts + config.num_experts_per_tok * 3 * s * d * config.intermediate_size
    layer = 2 * s * d * d + 2 * s * d * of_keys + 2 * s * s * d + experts
    macs = config.num_hidden_layers * layer + s * d * config.vocab_size
    return transformers.MixtralForCausalLM, config, {"input_ids": tokens(), "labels": tokens()}, macs, 0


def whisper(**settings):
    """Encoder and decoder, which looks at both; two convolutions in front, the second with stride 2."""
    config = transformers.WhisperConfig(pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, **settings)
    d, s, t = config.d_model, TOKENS, config.max_source_positions
    first = 2 * t * 3 * config.num_mel_bins * d
    encoder = attention_block(t, t, d) + 2 * t * d * config.encoder_ffn_dim
    decoder = attention_block(s, s, d) + attention_block(s, t, d) + 2 * s * d * config.decoder_ffn_dim
    macs = first + t * 3 * d * d + config.encoder_layers * encoder + config.decoder_layers * decoder + s * d * config.vocab_size
    batch = {"input_features": torch.zeros(BATCH, config.num_mel_bins, 2 * t, device="meta"), "labels": tokens()}
    return transformers.WhisperForConditionalGeneration, config, batch, macs, first


TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
SMALL = {
    "resnet": lambda: resnet(embedding_size=8, hidden_sizes=[8, 16, 16], depths=[1, 2, 1]),
    "vit": lambda: vit(image_size=32, patch_size=8, **TINY),
    "bert": lambda: bert(vocab_size=WORDS, max_position_embeddings=32, **TINY),
    "gpt2": lambda: gpt2(vocab_size=WORDS, n_embd=16, n_layer=2, n_head=2, n_positions=32),
    "llama": lambda: llama(vocab_size=WORDS, num_key_value_heads=2, **TINY),
    "mixtral": lambda: mixtral(vocab_size=WORDS, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=3, **TINY),
    "whisper": lambda: whisper(
        **{"vocab_size": WORDS, "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "num_mel_bins": 8},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 24},
        max_source_positions=20,
    ),
}
REAL = {
    "resnet": lambda: resnet(224),
    "vit": vit,
    "bert": bert,
    "gpt2": gpt2,
    "llama": lambda: llama(num_hidden_layers=4),
    "whisper": whisper,
}


def check(kind, config, batch, forward, first):
    with torch.device("meta"):
        model = kind(config)
    counts = count(model, BATCH, batch)
    assert counts.uncounted == ()
    assert counts.per_sample.forward_macs == forward
    assert counts.per_sample.training_macs == 3 * forward - first
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert counts.parameters.total == parameters == sum(row.parameters for row in counts.layers)


@pytest.mark.parametrize("name", SMALL)
def test_small_architectures_are_counted_exactly(name):
    """Forward and training MACs, weights; the module gives its own loss; nothing is uncounted."""
    check(*SMALL[name]())


@pytest.mark.long
@pytest.mark.parametrize("name", REAL)
def test_architectures_of_their_real_size_are_counted_exactly(name):
    """As configured in the library."""
    check(*REAL[name]())


@pytest.mark.parametrize("name", ["vit", "gpt2", "whisper"])
def test_a_model_without_weights_is_counted_as_one_with_them(name):
    """On the meta device, under fake tensors and with real weights: the same record, memory included."""
    kind, config, batch, *_ = SMALL[name]()
    with torch.device("meta"):
        meta = kind(config)
    real = kind(config)
    with FakeCopyMode(FakeTensorMode()):
        fake = copy.deepcopy(real)
    counted = [count(model, BATCH, batch) for model in (meta, fake, real)]
    assert counted[0] == counted[1] == counted[2]


def test_a_loss_given_outside_counts_as_the_models_own():
    """Labels beside the features, and the logits by their name."""
    kind, config, batch, forward, first = SMALL["vit"]()
    counts = count(kind(config), BATCH, {"pixel_values": batch["pixel_values"]}, batch["labels"])
    assert counts.per_sample.training_macs == 3 * forward - first
    assert next(row for row in counts.layers if row.name == "(loss)").forward.other_flops > 0


def test_tied_weights_have_one_gradient_of_each_kind():
    """GPT-2's output layer is its table of words: one parameter, on the row of the table, and the products on the other's."""
    kind, config, batch, *_ = SMALL["gpt2"]()
    counts = count(kind(config), BATCH, batch)
    head = next(row for row in counts.layers if row.name == "lm_head")
    each = TOKENS * 16 * WORDS
    assert (head.parameters, head.forward_macs, head.weight_gradient_macs, head.input_gradient_macs) == (0, each, each, each)


def limits(layers):
    """A Llama with so many layers counted in a process of its own: seconds, peak bytes of the process, and what was counted."""
    script = f"""
        import json, pathlib, time, torch, transformers
        from epochwise.counting import count
        with torch.device("meta"):
            model = transformers.LlamaForCausalLM(transformers.LlamaConfig(num_hidden_layers={layers}))
            tokens = torch.zeros(1, 2048, dtype=torch.long)
        start = time.perf_counter()
        counts = count(model, 1, {{"input_ids": tokens, "labels": tokens}}, optimizer=torch.optim.AdamW)
        seconds = time.perf_counter() - start
        status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss would begin with that of the process that starts it
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        print(json.dumps([seconds, peak, counts.parameters.total, counts.per_sample.forward_macs, len(counts.uncounted)]))
    """
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TRANSFORMERS_VERBOSITY": "critical"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_seven_billion_parameters_are_counted_in_a_minute_and_two_gibibytes():
    """Llama 7B with 2048 tokens and AdamW, whose weights alone would take 27 GB."""
    seconds, peak, parameters, forward, uncounted = limits(32)
    assert parameters == 6_738_415_616
    assert forward == 32 * (4 * 2048 * 4096**2 + 2 * 2048**2 * 4096 + 3 * 2048 * 4096 * 11008) + 2048 * 4096 * 32000
    assert seconds < 60
    assert peak < 2 * 2**30
    assert uncounted == 0


@pytest.mark.alone
def test_large_weights_are_not_made():
    """Two layers of the same, 2.7 GB of weights: no more memory than PyTorch and the library themselves take."""
    seconds, peak, parameters, *_ = limits(2)
    assert parameters > 600_000_000
    assert peak < 2**30
    assert seconds < 60
