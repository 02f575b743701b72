"""A small encoder of text, written as the library that most of them come from writes it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

VOCABULARY, KINDS, LENGTH, WIDTH, HEADS = 40, 2, 12, 32, 4


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (self.heads(part(x)) for part in (self.query, self.key, self.value))
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask, -1)
        mixed = (weights @ v).permute(0, 2, 1, 3).contiguous()
        return self.out(mixed.view(x.size(0), x.size(1), WIDTH))

    def heads(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)


class Block(nn.Module):
    def __init__(self, gelu: str) -> None:
        super().__init__()
        self.attention = SelfAttention()
        self.wide, self.narrow = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(3 * WIDTH, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.gelu = nn.GELU(approximate=gelu)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.first(self.attention(x, mask) + x)
        return self.second(self.narrow(self.gelu(self.wide(x))) + x)


class Bert(nn.Module):
    """Tokens, which of them count, and of which of two texts they are; three classes.

    With ``sliced``, positions are cut to the length of the text, as where texts of any length go in.
    """

    positions: Tensor

    def __init__(self, gelu: str = "none", *, sliced: bool, blocks: int = 2) -> None:
        super().__init__()
        sizes = (VOCABULARY, LENGTH, KINDS)
        self.words, self.places, self.kinds = (nn.Embedding(size, WIDTH) for size in sizes)
        self.norm = nn.LayerNorm(WIDTH)
        self.blocks = nn.ModuleList(Block(gelu) for _ in range(blocks))
        self.pool, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        self.sliced = sliced
        self.register_buffer("positions", torch.arange(LENGTH)[None])

    def forward(self, ids: Tensor, seen: Tensor, kind: Tensor) -> Tensor:
        positions = self.positions[:, : ids.shape[1]] if self.sliced else self.positions
        x = self.norm(self.words(ids) + self.kinds(kind) + self.places(positions))
        mask = (1.0 - seen[:, None, None, :].float()) * torch.finfo(torch.float32).min
        for block in self.blocks:
            x = block(x, mask)
        return self.out(torch.tanh(self.pool(x[:, 0])))
