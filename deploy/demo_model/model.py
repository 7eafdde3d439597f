# SPDX-License-Identifier: Apache-2.0
"""GPT-2 for training, with the memory as an ordinary, differentiable part of a forward pass.

Every row selects by its own attention and mixes for itself (the server's cached mode), so all rows of a
sequence train at once. Only the choice of the k nearest keys has no gradient; see `search_loss` for that.
"""
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    n_layer: int = 5
    n_head: int = 3
    n_embd: int = 192
    n_ctx: int = 256
    vocab_size: int = 3072


@dataclass
class Recall:
    """How one pass uses a memory. Layers count from 1; k = 0 means every stored key."""
    layers: tuple = (3, 4)
    method: int = 2
    k: int = 0
    mf: float = 1e9
    bf: float = 0.9
    ts: float = 1.0
    r: float = 0.1


class Conv1D(nn.Module):
    """Hugging Face's layout of GPT-2's linear layers: weight is [in, out]."""

    def __init__(self, n_in, n_out, std):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) * std)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return F.linear(x, self.weight.t(), self.bias)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        out_std = 0.02 / (2 * c.n_layer) ** 0.5
        self.n_head = c.n_head
        self.ln_1, self.ln_2 = nn.LayerNorm(c.n_embd), nn.LayerNorm(c.n_embd)
        self.attn = nn.ModuleDict(dict(c_attn=Conv1D(c.n_embd, 3 * c.n_embd, 0.02),
                                       c_proj=Conv1D(c.n_embd, c.n_embd, out_std)))
        self.mlp = nn.ModuleDict(dict(c_fc=Conv1D(c.n_embd, 4 * c.n_embd, 0.02),
                                      c_proj=Conv1D(4 * c.n_embd, c.n_embd, out_std)))

    def forward(self, x, attend):
        b, t, d = x.shape
        qkv = self.attn.c_attn(self.ln_1(x)).view(b, t, 3, self.n_head, d // self.n_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y, extra = attend(q, k, v)
        x = x + self.attn.c_proj(y.transpose(1, 2).reshape(b, t, d))
        h = F.gelu(self.mlp.c_fc(self.ln_2(x)), approximate="tanh")
        return x + self.mlp.c_proj(h), extra


def attention(q, k):
    """S. Written out: on a CPU the backward pass of torch's fused attention is slower at this length."""
    t = q.shape[-2]
    later = torch.full((t, t), float("-inf"), device=q.device).triu(1)
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + later).softmax(-1)


def plain(q, k, v):
    return attention(q, k).to(v.dtype) @ v, (k, v)


def select(s, mf, bf):
    """The paper's equation 4, each row by its own attention."""
    t = s.shape[-1]
    chosen = s >= 1 / (mf * torch.arange(1, t + 1, device=s.device)[:, None])
    chosen[..., 0] &= s[..., 0] > bf
    return chosen & (s > 0)


def remember(q, k, v, memory, use, answer_rows):
    """Attention with V' where selected; and the search loss of the rows that predict an answer."""
    keys, values, present = memory
    scale, s = q.shape[-1] ** -0.5, attention(q, k)
    absent = ~present[:, None, None, :]
    score = (q @ keys.transpose(-1, -2) * scale).float().masked_fill(absent, float("-inf"))
    distance = (k.float().square().sum(-1)[..., None] + keys.float().square().sum(-1)[..., None, :]
                - 2 * (k @ keys.transpose(-1, -2)).float()).masked_fill(absent, float("inf"))
    aux = search_loss(s, score, distance, scale, answer_rows)
    found = score
    if 0 < use.k < keys.shape[-2]:
        nearest = distance.detach().topk(use.k, largest=False).indices
        near = torch.zeros_like(score, dtype=torch.bool).scatter_(-1, nearest, True)
        found = score.masked_fill(~near, float("-inf"))
    new = mix(q, k, v, found, values, use)
    w = s * select(s.detach(), use.mf, use.bf)
    return w.to(v.dtype) @ new + (s - w).to(v.dtype) @ v, aux


def mix(q, k, v, found, values, use):
    """Equation 5 and the mix of the three methods."""
    if use.method == 2:
        m = (found * use.ts).softmax(-1).to(v.dtype) @ values
    else:
        own = (q * k).sum(-1, keepdim=True).float() * q.shape[-1] ** -0.5
        w = (torch.cat([own, found], -1) * use.ts).softmax(-1).to(v.dtype)
        m = w[..., :1] * v + w[..., 1:] @ values
    return m if use.method == 1 else (1 - use.r) * m + use.r * v


def search_loss(s, score, distance, scale, answer_rows):
    """Pulls the keys that a query wants near the key that searches for them.

    The search goes by distance between keys, the ranking by query and key. The cross-entropy between the two
    distributions, weighted by how much the answering rows look at each position, makes the first find what the second wants.
    """
    looked = (s * answer_rows[:, None, :, None]).sum(-2).detach()
    want = score.detach().softmax(-1)
    got = (distance * (-0.5 * scale)).log_softmax(-1).clamp(min=-1e4)
    return (looked * -(want * got).sum(-1)).sum() / looked.sum().clamp(min=1e-6)


def speeds(c):
    return 2.5 * (math.pi / c.n_ctx / 2.5) ** torch.linspace(0, 1, c.n_embd // 2)


def waves(c):
    """Where the position embeddings start: with sines, "one token before" is one rotation of them."""
    angle = torch.arange(c.n_ctx)[:, None] * speeds(c)
    return torch.cat([angle.sin(), angle.cos()], 1)


@torch.no_grad()
def look_back(block, c, head=0, gain=1.5):
    """Starts one head looking at the token before. Copying a name needs such a head, and to find it takes most of a short training."""
    d, half = c.n_embd // c.n_head, c.n_embd // 2
    w = block.attn.c_attn.weight
    q, k = w[:, head * d:(head + 1) * d], w[:, c.n_embd + head * d:c.n_embd + (head + 1) * d]
    q.zero_(), k.zero_()
    i = torch.arange(d // 2)  # the fastest waves
    turn = speeds(c)[i]
    k[i, i] = k[i + half, i + d // 2] = gain
    q[i, i] = q[i + half, i + d // 2] = gain * turn.cos()
    q[i + half, i], q[i, i + d // 2] = -gain * turn.sin(), gain * turn.sin()


class GPT2(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.wte = nn.Embedding(c.vocab_size, c.n_embd)
        self.wpe = nn.Embedding(c.n_ctx, c.n_embd)
        self.h = nn.ModuleList(Block(c) for _ in range(c.n_layer))
        self.ln_f = nn.LayerNorm(c.n_embd)
        nn.init.normal_(self.wte.weight, std=0.05)
        self.wpe.weight.data = 0.1 * waves(c)
        look_back(self.h[0], c)

    def forward(self, ids, memory=None, use=None, answer_rows=None):
        """Last hidden states, {layer: (K, V)}, search loss. memory: {layer: (keys, values, present)}."""
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        kv, aux = {}, []
        for layer, block in enumerate(self.h, 1):
            if memory and layer in use.layers:
                x, loss = block(x, lambda q, k, v: remember(q, k, v, memory[layer], use, answer_rows))
                aux.append(loss)
            else:
                x, kv[layer] = block(x, plain)
        return self.ln_f(x), kv, sum(aux) / len(aux) if aux else None

    def logits(self, x):
        return F.linear(x, self.wte.weight)
