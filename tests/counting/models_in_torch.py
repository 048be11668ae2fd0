"""Fifteen PyTorch modules of many kinds, small; each with a batch, labels, a loss and an optimizer."""

from __future__ import annotations

from functools import partial

import torch
import transformers
from torch import nn

BATCH = 4


def image(channels=3, size=16):
    return torch.randn(BATCH, channels, size, size), torch.randint(10, (BATCH,))


def features(size=20):
    return torch.randn(BATCH, size), torch.randint(10, (BATCH,))


def sequence(length=12, size=16):
    return torch.randn(BATCH, length, size), torch.randn(BATCH, length, size)


def tokens(length=12, words=50):
    return torch.randint(words, (BATCH, length)), torch.randint(words, (BATCH, length))


def padded(length=12, words=50):
    """Tokens of which some are padding; transformers leaves the mask out if none is, and looks at its values for that."""
    x, y = tokens(length, words)
    mask = torch.ones_like(x)
    mask[0, -3:] = 0
    return {"input_ids": x, "attention_mask": mask}, y


def called(module, x):
    """What the module gives for a batch."""
    return module(**x) if isinstance(x, dict) else module(x)


def of_logits(outputs, labels):
    """Cross-entropy of the logits of a model of transformers, or of a tensor with a class for each place."""
    logits = getattr(outputs, "logits", outputs)
    return nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


def of_first(outputs, labels):
    """Squared error of the first output."""
    return nn.functional.mse_loss(outputs[0], labels)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(8)])
        self.last = nn.Linear(8, 10)

    def forward(self, x):
        x = self.first(x)
        hidden = torch.relu_(self.norms[0](self.one(x)))
        x = torch.relu(x + self.norms[1](self.two(hidden)))
        return self.last(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.inner = kind(16, 16, batch_first=True, **options)
        self.last = nn.Linear(16 * (2 if options.get("bidirectional") else 1), 16)

    def forward(self, x):
        return self.last(self.inner(x)[0])


class Attention(nn.Module):
    """Queries, keys and values are windows on one storage, which is kept whole."""

    def __init__(self, *, causal=False):
        super().__init__()
        self.causal = causal
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x):
        query, key, value = (part.unflatten(-1, (4, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(-2))


class ByHand(Attention):
    """The same in matrix products, with dropout."""

    def forward(self, x):
        query, key, value = (part.unflatten(-1, (4, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        weights = nn.functional.dropout((query @ key.transpose(-1, -2) / 2).softmax(-1), 0.1)
        return self.out((weights @ value).transpose(1, 2).flatten(-2))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.hidden, self.last = nn.Embedding(50, 16), nn.Linear(16, 16), nn.Linear(16, 50, bias=False)
        self.last.weight = self.table.weight

    def forward(self, x):
        return self.last(torch.tanh(self.hidden(self.table(x))))


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16)) for _ in range(3)])

    def forward(self, x):
        for block in self.blocks:
            x = x + torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
        return x


def mlp():
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))


def cnn():
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=2)]
    return nn.Sequential(*layers, nn.SiLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))


def separable():
    layers = [nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.GroupNorm(2, 8), nn.Hardswish()]
    return nn.Sequential(*layers, nn.Conv2d(8, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def autoencoder():
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.LeakyReLU(0.1), nn.ConvTranspose2d(8, 8, 3, stride=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Upsample(scale_factor=2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 15 * 15, 10))


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False)


SMALL = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 32}

NO_ENDS = {"bos_token_id": None, "eos_token_id": None}


def vit():
    config = transformers.ViTConfig(**SMALL, image_size=16, patch_size=4, num_labels=10)
    return transformers.ViTForImageClassification(config)


def gpt2():
    config = transformers.GPT2Config(vocab_size=50, n_positions=12, n_embd=16, n_layer=2, n_head=4, use_cache=False, **NO_ENDS)
    return transformers.GPT2LMHeadModel(config)


def bert():
    return transformers.BertForMaskedLM(transformers.BertConfig(**SMALL, vocab_size=50, max_position_embeddings=12))


def llama():
    config = transformers.LlamaConfig(
        **SMALL, vocab_size=50, num_key_value_heads=2, max_position_embeddings=12, use_cache=False
    )
    return transformers.LlamaForCausalLM(config)


adamw = partial(torch.optim.AdamW, lr=1e-3)
sgd = partial(torch.optim.SGD, lr=0.01)
momentum = partial(torch.optim.SGD, lr=0.01, momentum=0.9)

MODELS = {
    "mlp": (mlp, features, None, sgd),
    "cnn": (cnn, image, None, momentum),
    "residual": (Residual, image, None, adamw),
    "separable": (separable, image, None, sgd),
    "autoencoder": (autoencoder, image, None, momentum),
    "lstm": (partial(Recurrent, nn.LSTM), sequence, None, sgd),
    "gru": (partial(Recurrent, nn.GRU, bidirectional=True), sequence, None, sgd),
    "attention": (partial(Attention, causal=True), sequence, None, adamw),
    "attention by hand": (ByHand, sequence, None, adamw),
    "embedding": (Words, tokens, of_logits, adamw),
    "encoder": (encoder, sequence, None, sgd),
    "checkpointed": (Checkpointed, sequence, None, sgd),
    "vit": (vit, partial(image, 3, 16), of_logits, adamw),
    "gpt2": (gpt2, tokens, of_logits, adamw),
    "bert": (bert, tokens, of_logits, sgd),
    "llama": (llama, padded, of_logits, momentum),
}


def made(name):
    """Module, features, labels, loss and the function that makes its optimizer."""
    torch.manual_seed(0)
    make, data, loss, optimizer = MODELS[name]
    x, y = data()
    if loss is None:
        loss = nn.functional.mse_loss if y.is_floating_point() else nn.functional.cross_entropy
    return make().train(), x, y, loss, optimizer
