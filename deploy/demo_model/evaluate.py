#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How often the held-out answers come next: with the question alone, with the text in the prompt, with a memory of it.

The method's mathematics in float32, written apart from the training code: windows, real
selection by the last row, real nearest neighbours, all rows recomputed at every step (exact mode). Greedy; an answer
counts when all its tokens come next and a full stop, newline or space ends it. Needs torch, tokenizers, safetensors.
"""
import argparse
import json
import math
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import ByteLevelBPETokenizer

HERE = Path(__file__).parent
# The server's defaults but for k and TS, which suit this model.
BASE = dict(method=3, k=8, mf=5, bf=0.9, ts=1.0, r=0.33)


class Model:
    def __init__(self, folder):
        self.w = {n: t.float() for n, t in load_file(str(folder / "model.safetensors")).items()}
        c = json.loads((folder / "config.json").read_text())
        self.n_layer, self.n_head, self.n_ctx, self.eps = c["n_layer"], c["n_head"], c["n_ctx"], c["layer_norm_epsilon"]
        self.kept = {}
        self.tokenizer = ByteLevelBPETokenizer.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))

    def encode(self, text):
        return self.tokenizer.encode(text).ids

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], self.eps)

    def linear(self, x, name):
        return x @ self.w[name + ".weight"] + self.w[name + ".bias"]

    def run(self, ids, values_of=None):
        """Logits of the last position, and K and V [H, t, d] of every layer; values_of(layer, s, q, k, v) may replace V."""
        t = len(ids)
        x = self.w["wte.weight"][ids] + self.w["wpe.weight"][:t]
        kv = {}
        for layer in range(1, self.n_layer + 1):
            p = f"h.{layer - 1}."
            q, k, v = (y.view(t, self.n_head, -1).transpose(0, 1)
                       for y in self.linear(self.norm(x, p + "ln_1"), p + "attn.c_attn").chunk(3, -1))
            s = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).masked_fill(torch.ones(t, t).triu(1).bool(), -math.inf).softmax(-1)
            kv[layer] = k, v
            if values_of:
                v = values_of(layer, s, q, k, v)
            x = x + self.linear((s @ v).transpose(0, 1).reshape(t, -1), p + "attn.c_proj")
            x = x + self.linear(F.gelu(self.linear(self.norm(x, p + "ln_2"), p + "mlp.c_fc"), approximate="tanh"), p + "mlp.c_proj")
        return self.norm(x[-1], "ln_f") @ self.w["wte.weight"].T, kv

    def memory(self, text):
        """K and V of a text, in windows of a newline and n_ctx - 1 tokens; the newline's are dropped."""
        if text not in self.kept:
            self.kept[text] = self._memory(text)
        return self.kept[text]

    def _memory(self, text):
        newline, ids = self.encode("\n"), self.encode("\n" + text)[1:]
        windows = [self.run(newline + ids[i:i + self.n_ctx - 1])[1] for i in range(0, len(ids), self.n_ctx - 1)]
        return {layer: tuple(torch.cat([w[layer][i][:, 1:] for w in windows], 1) for i in (0, 1)) for layer in windows[0]}


def recall(memory, use, seen):
    """The new values of a layer (equations 4 and 5, the three methods). seen counts tokens-heads and those selected."""
    def values_of(layer, s, q, k, v):
        if layer not in use["layers"]:
            return v
        keys, values = memory[layer]
        last, t = s[:, -1], s.shape[-1]
        chosen = last >= 1 / (use["mf"] * t) if use["mf"] > 0 else torch.zeros_like(last, dtype=torch.bool)
        first = last[:, 0] >= (1 / (use["mf"] * t) if use["mf"] > 0 else 0)
        chosen[:, 0] = first & (last[:, 0] > use["bf"] if use["bf"] > 0 else True) if use["bf"] != 1 else False
        chosen &= last > 0
        seen[0] += chosen.numel()
        seen[1] += int(chosen.sum())
        h, j = chosen.nonzero(as_tuple=True)
        qs, own_k, own_v = q[h, j], k[h, j], v[h, j]
        distance = (keys[h] - own_k[:, None]).square().sum(-1)
        near = distance.sort(stable=True).indices[:, : use["k"], None].expand(-1, -1, keys.shape[-1])
        ks, vs = keys[h].gather(1, near), values[h].gather(1, near)
        if use["method"] != 2:
            ks, vs = torch.cat([own_k[:, None], ks], 1), torch.cat([own_v[:, None], vs], 1)
        w = (torch.einsum("ncd,nd->nc", ks, qs) / math.sqrt(qs.shape[-1]) * use["ts"]).softmax(-1)
        m = torch.einsum("nc,ncd->nd", w, vs)
        new = v.clone()
        new[h, j] = m if use["method"] == 1 else (1 - use["r"]) * m + use["r"] * own_v
        return new
    return values_of


def answers(model, prompt, answer, values_of=None):
    """Whether greedy decoding of prompt says answer and then ends the word."""
    ids, said = model.encode("\n" + prompt), []
    want = model.encode(answer)
    for i in range(len(want) + 1):
        logits, _ = model.run((ids + said)[-model.n_ctx:], values_of)
        said.append(int(logits.argmax()))
        if i < len(want) and said[i] != want[i]:
            return False
    return model.tokenizer.decode(said[-1:])[:1] in ". \n,;!?'"


def rate(model, cases, use=None, in_prompt=False, distractors=0):
    """Share of right answers, and share of tokens-heads of the active layers that were selected."""
    right, seen, rng = 0, [0, 0], random.Random(0)
    for case in cases:
        prompt, values_of = case["question"], None
        if in_prompt:
            prompt = case["text"] + "\n" + prompt
        if use:
            others = [c["text"] for c in rng.sample(cases, distractors)]
            text = " ".join(rng.sample(others + [case["text"]], distractors + 1))
            values_of = recall(model.memory(text), use, seen)
        right += answers(model, prompt, case["answer"], values_of)
    return right / len(cases), seen[1] / max(1, seen[0])


def settings(n_layer):
    default = tuple(range(n_layer // 2 + 1, math.ceil(3 * n_layer / 4) + 1))
    base = dict(BASE, layers=default)
    rows = [base] + [dict(base, method=m, r=r) for m, r in ((3, 0.33), (1, 0.0), (2, 0.33), (2, 0.1), (3, 0.1))]
    rows += [dict(base, k=k) for k in (1, 3, 5, 16, 32, 10**6)]
    rows += [dict(base, mf=mf) for mf in (0, 1, 20, 1e9)] + [dict(base, bf=bf) for bf in (0, 0.5, 1)]
    rows += [dict(base, ts=ts) for ts in (0.01, 0.3, 2, 10, 1000)]
    rows += [dict(base, layers=(layer,)) for layer in default if len(default) > 1]
    rows.append(dict(base, method=3, k=5, mf=5, bf=0.9, ts=0.01, r=0.33))
    return rows


def title(use):
    layers = ",".join(map(str, use["layers"]))
    k = "all" if use["k"] >= 10**6 else use["k"]
    return f"| Type {use['method']} | {layers} | {k} | {use['mf']:g} | {use['bf']:g} | {use['ts']:g} | {use['r']:g} |"


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--model", type=Path, default=HERE / "model")
    a.add_argument("--cases", type=Path, default=HERE / "heldout.jsonl")
    a.add_argument("--limit", type=int, help="only the first so many cases")
    a.add_argument("--sweep", type=int, default=100, help="cases of the rows that vary one setting")
    a.add_argument("--quick", action="store_true", help="only the base settings and the server's defaults")
    a.add_argument("--json", type=Path, help="write the numbers here too")
    a.add_argument("--threads", type=int, default=2)
    args = a.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    model = Model(args.model)
    cases = [json.loads(line) for line in open(args.cases)][: args.limit]
    for case in cases:
        if "memory" in case:  # texts/questions.jsonl names a file
            case["text"] = (args.cases.parent / case["memory"]).read_text().strip()
    some = cases[: args.sweep]
    out = dict(cases=len(cases), alone=rate(model, cases)[0], in_prompt=rate(model, cases, in_prompt=True)[0], memory=[])
    print(f"{len(cases)} cases\n(a) question alone: {out['alone']:.1%}\n(b) text in the prompt: {out['in_prompt']:.1%}\n"
          f"(b) of the first {len(some)}: {rate(model, some, in_prompt=True)[0]:.1%}\n(c) text in a memory:\n"
          "| method | layers | k | MF | BF | TS | R | right | selected | cases |\n|---|---|---|---|---|---|---|---|---|---|", flush=True)
    rows = settings(model.n_layer)
    for n, use in enumerate([rows[0], rows[-1]] if args.quick else rows):
        of = some if n else cases
        right, selected = rate(model, of, use)
        out["memory"].append(dict(use, right=right, selected=selected, cases=len(of)))
        print(f"{title(use)} {right:.1%} | {selected:.0%} | {len(of)} |", flush=True)
    print("(d) the same passage among others in one memory, first row's settings:")
    for n in (1, 3, 9):
        right, _ = rate(model, some, rows[0], distractors=n)
        out[f"with_{n}_others"] = right
        print(f"{n} others: {right:.1%}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
