"""GPT-2 from its configuration, without weights, and tokens to train it on.

epochwise count examples/language_model.py:gpt2 --depth 2
epochwise explain examples/language_model.py:small --data examples/language_model.py:tokens
"""

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

WORDS = 1_000


def gpt2(tokens=1024):
    """GPT-2 with a batch of its own, for counting: the module takes its labels as an argument, and works out its loss."""
    ids = torch.zeros(1, int(tokens), dtype=torch.long)
    return GPT2LMHeadModel(GPT2Config()), {"input_ids": ids, "labels": ids}


def small():
    """Two layers of it, which a laptop trains."""
    config = GPT2Config(n_layer=2, n_embd=64, n_head=2, vocab_size=WORDS, n_positions=64, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(config)


def tokens():
    """512 samples of 64 tokens, each of which is to be told from those before it."""
    text = np.random.default_rng(0).integers(0, WORDS, (512, 65))
    return text[:, :-1], text[:, 1:]
