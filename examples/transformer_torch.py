"""A small transformer in plain PyTorch, which reads an image row by row: a model in blocks, to see as a tree.

epochwise count examples/transformer_torch.py:build_model --depth 1
"""

import torch
from torch import nn


class Block(nn.Module):
    """Attention among the rows, then two dense layers for each row; both are added to what came in."""

    def __init__(self, width, heads):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        """``x``: (batch, rows, width)."""
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.mlp_norm(x))


class RowTransformer(nn.Module):
    """Each row of the image is a token; the mean of the tokens is classified."""

    def __init__(self, rows, pixels, classes, width, depth, heads):
        super().__init__()
        self.embedding = nn.Linear(pixels, width)
        self.position = nn.Parameter(torch.zeros(rows, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        """``x``: (batch, channels, rows, columns)."""
        tokens = self.embedding(x.transpose(1, 2).flatten(2)) + self.position
        return self.classifier(self.blocks(tokens).mean(1))


def build_model(input_shape, output_shape, width=32, depth=2, heads=4):
    """``input_shape`` is (channels, height, width)."""
    channels, rows, columns = input_shape
    return RowTransformer(rows, channels * columns, output_shape, width, depth, heads)
