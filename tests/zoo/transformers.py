"""Small networks of tokens: the ways in which libraries write attention and gated layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FusedAttention(nn.Module):
    """One product for queries, keys and values; ``[B, N, 3, heads, size]`` taken apart."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.qkv = nn.Linear(width, 3 * heads * size)
        self.proj = nn.Linear(heads * size, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q * self.size**-0.5 @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, self.heads * self.size))


class Mlp(nn.Sequential):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Vit(nn.Module):
    """Patches, a class token, positions, pre-normalised blocks."""

    def __init__(self, attention: type[nn.Module] = FusedAttention) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.cls = nn.Parameter(torch.zeros(1, 1, 8))
        self.pos = nn.Parameter(torch.zeros(1, 17, 8))
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))
        self.attention = attention(8, 3, 4)
        self.mlp = Mlp(8, 20)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), 1) + self.pos
        x = x + self.attention(self.norms[0](x))
        x = x + self.mlp(self.norms[1](x))
        return self.head(self.norms[2](x)[:, 0])


class ModuleAttention(nn.Module):
    """``nn.MultiheadAttention``, which merges the batch with the heads on the way."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(heads * size, heads, batch_first=True)
        self.into, self.out = nn.Linear(width, heads * size), nn.Linear(heads * size, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        return self.out(self.inner(x, x, x, need_weights=False)[0])


class Deit(Vit):
    def __init__(self) -> None:
        super().__init__(ModuleAttention)


class TorchEncoder(nn.Module):
    """torch's own encoder layer, as text classifiers use it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 20, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(tokens)).mean(1))


class WindowAttention(nn.Module):
    """Swin: windows of 4 x 4 pixels shifted by two, with a bias for each pair of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.table = nn.Parameter(torch.zeros(49, 2))
        y, x = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
        place = torch.stack([y.flatten(), x.flatten()])
        apart = place[:, :, None] - place[:, None, :] + 3
        self.register_buffer("index", apart[0] * 7 + apart[1])

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        x = torch.roll(x, (-2, -2), (1, 2))
        x = x.view(n, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
        qkv = self.qkv(x).reshape(-1, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = q * 0.5 @ k.transpose(-2, -1)
        bias = self.table[self.index.view(-1)].view(16, 16, -1).permute(2, 0, 1)
        weights = (scores + bias.unsqueeze(0)).softmax(-1)
        x = self.proj((weights @ v).transpose(1, 2).reshape(-1, 16, 8))
        x = x.view(n, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return torch.roll(x, (2, 2), (1, 2))


class Swin(nn.Module):
    """A window block, then four pixels merged into one."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8), nn.LayerNorm(32)])
        self.attention, self.mlp = WindowAttention(), Mlp(8, 20)
        self.merge = nn.Linear(32, 12, bias=False)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)
        x = x + self.attention(self.norms[0](x))
        x = x + self.mlp(self.norms[1](x))
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        x = self.merge(self.norms[2](torch.cat(corners, -1)))
        return self.head(x.mean((1, 2)))


class Bert(nn.Module):
    """Queries, keys and values of their own; the scores divided by the root of a size read off."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))
        self.query, self.key, self.value = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(8, 12)
        self.out, self.up, self.down = nn.Linear(12, 8), nn.Linear(8, 20), nn.Linear(20, 8)
        self.pool, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1]).unsqueeze(0)
        x = self.norms[0](self.words(tokens) + self.places(places))
        q, k, v = (self.apart(f(x)) for f in (self.query, self.key, self.value))
        weights = (q @ k.transpose(-1, -2) / q.size(-1) ** 0.5).softmax(-1)
        mixed = (weights @ v).permute(0, 2, 1, 3).contiguous()
        mixed = mixed.view(*mixed.shape[:2], 12)
        x = self.norms[1](x + self.out(mixed))
        x = self.norms[2](x + self.down(F.gelu(self.up(x))))
        return self.head(torch.tanh(self.pool(x[:, 0])))

    def apart(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], 3, 4).permute(0, 2, 1, 3)


class Gpt(nn.Module):
    """Causal: a stored triangle masks the scores; queries, keys and values are split by width."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.places = nn.Parameter(torch.zeros(1, 6, 8))
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))
        self.joint, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down = nn.Linear(8, 20), nn.Linear(20, 8)
        self.register_buffer("seen", torch.tril(torch.ones(8, 8)).view(1, 1, 8, 8))
        self.head = nn.Linear(8, 11, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places
        b, t, c = x.shape
        q, k, v = self.joint(self.norms[0](x)).split(c, dim=2)
        q, k, v = (p.view(b, t, 2, c // 2).transpose(1, 2) for p in (q, k, v))
        scores = q @ k.transpose(-2, -1) * 0.5
        scores = scores.masked_fill(self.seen[:, :, :t, :t] == 0, float("-inf"))
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).contiguous().view(b, t, c))
        x = x + self.down(F.gelu(self.up(self.norms[1](x)), approximate="tanh"))
        return self.head(self.norms[2](x))


class RootMeanSquare(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class T5(nn.Module):
    """No biases but one for each head and distance; a gated feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.distances = nn.Embedding(11, 8), nn.Embedding(11, 3)
        self.norms = nn.ModuleList(RootMeanSquare(8) for _ in range(3))
        self.q, self.k, self.v = (nn.Linear(8, 12, bias=False) for _ in range(3))
        self.o = nn.Linear(12, 8, bias=False)
        self.gate, self.up = nn.Linear(8, 20, bias=False), nn.Linear(8, 20, bias=False)
        self.down, self.head = nn.Linear(20, 8, bias=False), nn.Linear(8, 11, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens)
        n, t = tokens.shape
        y = self.norms[0](x)
        q, k, v = (f(y).view(n, -1, 3, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        apart = torch.arange(t)[None, :] - torch.arange(t)[:, None] + 5
        bias = self.distances(apart).permute(2, 0, 1).unsqueeze(0)
        weights = (q @ k.transpose(3, 2) + bias).softmax(-1)
        x = x + self.o((weights @ v).transpose(1, 2).contiguous().view(n, -1, 12))
        y = self.norms[1](x)
        x = x + self.down(F.gelu(self.gate(y)) * self.up(y))
        return self.head(self.norms[2](x))


class Llama(nn.Module):
    """Two key-value heads for four of queries, rotary positions, a gated feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.norms = nn.ModuleList(RootMeanSquare(8) for _ in range(3))
        self.q = nn.Linear(8, 16, bias=False)
        self.k, self.v = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.o = nn.Linear(16, 8, bias=False)
        self.gate, self.up = nn.Linear(8, 20, bias=False), nn.Linear(8, 20, bias=False)
        self.down, self.head = nn.Linear(20, 8, bias=False), nn.Linear(8, 11, bias=False)
        angles = torch.outer(torch.arange(6.0), torch.tensor([1.0, 0.1])).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("seen", torch.full((6, 6), -1e4).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens)
        n, t, _ = x.shape
        y = self.norms[0](x)
        q = self.turned(self.q(y).view(n, t, -1, 4).transpose(1, 2))
        k = self.turned(self.k(y).view(n, t, -1, 4).transpose(1, 2))
        v = self.v(y).view(n, t, -1, 4).transpose(1, 2)
        weights = (q @ self.repeated(k).transpose(2, 3) * 0.5 + self.seen).softmax(-1)
        mixed = (weights @ self.repeated(v)).transpose(1, 2).reshape(n, t, -1)
        x = x + self.o(mixed)
        y = self.norms[1](x)
        return self.head(self.norms[2](x + self.down(F.silu(self.gate(y)) * self.up(y))))

    def turned(self, x: Tensor) -> Tensor:
        left, right = x[..., :2], x[..., 2:]
        return x * self.cos + torch.cat((-right, left), -1) * self.sin

    def repeated(self, x: Tensor) -> Tensor:
        n, heads, t, size = x.shape
        return x[:, :, None].expand(n, heads, 2, t, size).reshape(n, heads * 2, t, size)


class ScaledDot(nn.Module):
    """``scaled_dot_product_attention``, gated by a fused and chunked projection."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(11, 8), nn.LayerNorm(8)
        self.qkv, self.out = nn.Linear(8, 36), nn.Linear(12, 8)
        self.up, self.down, self.head = nn.Linear(8, 24), nn.Linear(12, 8), nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens)
        n, t, _ = x.shape
        q, k, v = (p.view(n, t, 3, 4).transpose(1, 2) for p in self.qkv(self.norm(x)).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, 12))
        return self.head(x + self.down(F.glu(self.up(x), -1)))


class Mixer(nn.Module):
    """Tokens are mixed by one layer, channels by another."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))
        self.tokens, self.channels = Mlp(16, 10), Mlp(8, 20)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norms[1](x))
        return self.head(self.norms[2](x).mean(1))
