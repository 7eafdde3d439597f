#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the demo model from nothing: tokenizer, weights and the held-out passages.

Text: example sentences and definitions of WordNet 3.0 (Debian package wordnet-base, WordNet licence), and
passages made by passages.py. Needs torch, tokenizers, safetensors. About an hour on two cores with bfloat16.
"""
import argparse
import ctypes
import json
import math
import os
import random
import re
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer

from model import GPT2, Config, Recall
from passages import PassageMaker

HERE = Path(__file__).parent
END = "<|endoftext|>"
COPIED = ["person", "town", "land", "river", "pet"] * 3 + ["job", "animal", "colour", "thing", "food", "place", "year", "count"]


# ---- text

def wordnet_sentences(folder):
    """Example sentences, and definitions of common words turned into sentences."""
    used = {line.split()[0].split("%")[0] for line in open(folder / "cntlist.rev", encoding="latin-1")}
    out = []
    for part in ("noun", "verb", "adj", "adv"):
        for line in open(folder / f"data.{part}", encoding="latin-1"):
            if line.startswith(" "):
                continue
            head, gloss = line.split(" | ", 1)
            word = head.split()[4].split("(")[0]
            meaning = re.sub("^to ", "", gloss.split("; \"")[0].split(";")[0].strip())
            out += [s for s in re.findall(r'"([A-Z][^"]+)"', gloss) if 3 < len(s.split()) < 30]
            if word.lower() in used and part in ("noun", "verb") and re.fullmatch(r"[a-z][a-z ,-]+", meaning):
                word = word.replace("_", " ")
                out.append(f"To {word} is to {meaning}" if part == "verb" else f"{word[0].upper()}{word[1:]} means {meaning}")
    return [re.sub(r"\s+", " ", s).rstrip(".; ") + ("" if s[-1] in "?!" else ".") for s in dict.fromkeys(out)]


def train_tokenizer(sentences, size, folder):
    """GPT-2's byte-level BPE; part of its text is passages, so that names fall into few tokens."""
    maker = PassageMaker(1)
    made = [maker.passage(6).text() for _ in range(len(sentences) // 2)]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(sentences + made, vocab_size=size - 1, min_frequency=2, show_progress=False)
    bpe.save_model(str(folder))
    vocab = json.loads((folder / "vocab.json").read_text())
    assert sorted(vocab.values()) == list(range(size - 1))
    vocab[END] = size - 1
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    return load_tokenizer(folder)


def load_tokenizer(folder) -> Tokenizer:
    return ByteLevelBPETokenizer.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))


class Text:
    """Packed windows of shuffled WordNet sentences, each window opened by a newline."""

    def __init__(self, tokenizer, sentences, n_ctx, rng):
        self.sentences = [e.ids for e in tokenizer.encode_batch([" " + s for s in sentences])]
        self.bare = [e.ids for e in tokenizer.encode_batch(sentences)]
        self.newline, self.n_ctx, self.rng = tokenizer.encode("\n").ids[0], n_ctx, rng

    def window(self):
        ids = [self.newline]
        while len(ids) <= self.n_ctx:
            i = self.rng.randrange(len(self.bare))
            ids += self.bare[i] if ids[-1] == self.newline else self.sentences[i]
            if self.rng.random() < 0.1:
                ids.append(self.newline)
        return ids[: self.n_ctx]


# ---- batches

class Sequence:
    """Token ids and the weight of each as a target: 0 none, 1 text, 2 answer."""

    def __init__(self):
        self.ids, self.kind = [], []

    def add(self, ids, kind):
        self.ids += ids
        self.kind += [kind] * len(ids)


class Batches:
    def __init__(self, tokenizer, maker, n_ctx, tokens):
        self.tokenizer, self.maker, self.n_ctx, self.tokens = tokenizer, maker, n_ctx, tokens
        self.rng = maker.rng

    def encode(self, text):
        return self.tokenizer.encode(text).ids

    def _ask(self, seq, facts, lead):
        """Questions with their answers, the first after lead, the others after a space."""
        for fact in facts:
            question, answer = self.rng.choice(fact)
            seq.add(self.encode(lead + question), 1)
            seq.add(self.encode(answer), 2)
            seq.add(self.encode("."), 1)
            lead = " "

    def _row(self, facts):
        """(passage with questions after it, length of newline + passage, questions alone)."""
        p = self.maker.mood(facts) if self.rng.random() < 0.06 else self.maker.passage(facts)
        self.rng.shuffle(p.facts)
        full, alone = Sequence(), Sequence()
        full.add(self.encode("\n" + p.text()), 1)
        stored = len(full.ids)
        self._ask(full, p.facts[:5], self.rng.choice(["\n", "\n", " "]))
        self._ask(alone, self.rng.sample(p.facts, min(4, len(p.facts))), "\n")
        return full, stored, alone

    def _copy_row(self, length):
        """A list of names and words, then stretches of it again: most tokens are answers, so exact copying is learnt soon."""
        full, alone, passage = Sequence(), Sequence(), []
        while len(passage) < length:
            passage += self.encode(" " + self.maker.names.draw(self.rng.choice(COPIED)))
        newline, passage = self.encode("\n"), passage[:length]
        full.add(newline + passage, 0)

        def again(seq, most):
            start = self.rng.randrange(length - 3)
            seq.add([*newline, passage[start]], 0)
            seq.add(passage[start + 1:start + most], 2)

        while len(full.ids) < 2 * length:
            again(full, 24)
        again(alone, 24)
        return full, length + 1, alone

    def copies(self):
        length = self.rng.choice([8, 16, 32, 64, 96])
        return [self._copy_row(length) for _ in range(self.tokens // (2 * length + 24))]

    def passages(self, facts):
        """As many rows as fill a step, all of at most the length that the first one takes, rounded up."""
        rows, longest = [], 0
        while not rows or len(rows) < self.tokens // longest:
            row = self._row(facts)
            n = len(row[0].ids)
            longest = longest or min(self.n_ctx, -(-n // 32) * 32)
            if 1 < row[1] < n <= longest and len(row[2].ids) <= 64:
                rows.append(row)
        return rows


def pad(sequences, step):
    """ids and kinds, their length rounded up: a CPU kernel is compiled for each new shape, so few shapes run faster."""
    n = -(-max(len(s.ids) for s in sequences) // step) * step
    ids = torch.tensor([s.ids + [0] * (n - len(s.ids)) for s in sequences])
    kind = torch.tensor([s.kind + [0] * (n - len(s.kind)) for s in sequences])
    return ids, kind


def memory_of(kv, stored, layers, extra):
    """Each row's passage, newline dropped, and those of its next `extra` rows as distractors."""
    n = kv[layers[0]][0].shape[2]
    present = torch.arange(1, n)[None] < torch.tensor(stored)[:, None]
    rolls = range(extra + 1)
    spread = lambda x, dim: torch.cat([x.roll(-i, 0) for i in rolls], dim)
    return {layer: (spread(kv[layer][0][:, :, 1:n], 2), spread(kv[layer][1][:, :, 1:n], 2), spread(present, 1))
            for layer in layers}


# ---- losses

def mean(losses):
    return losses.mean() if len(losses) else torch.zeros(())


def class_losses(net, x, ids, kind, text_share):
    """Mean loss of a share of the text targets, of all answer targets, and how many answer tokens are right."""
    target, kind, x = ids[:, 1:].flatten(), kind[:, 1:].flatten(), x[:, :-1].flatten(0, 1)
    # The output layer is a third of the work, so most text targets are left out.
    chosen = ((kind == 2) | (kind == 1) & (torch.rand(len(kind)) < text_share)).nonzero()[:, 0]
    target, kind = target[chosen], kind[chosen]
    logits = net.logits(x[chosen]).float()
    loss = F.cross_entropy(logits, target, reduction="none")
    text, answer = kind == 1, kind == 2
    right = (logits.argmax(-1) == target)[answer].float().mean()
    return mean(loss[text]), mean(loss[answer]), right.item()


def draw_recall(rng, n_layer):
    """Settings of one batch: all methods, small and large k, all or some tokens-heads, one or all layers."""
    layers = tuple(range(n_layer // 2 + 1, math.ceil(3 * n_layer / 4) + 1))
    if rng.random() < 0.3:
        layers = (rng.choice(layers),)
    use = Recall(layers=layers, method=rng.choice([1, 2, 2, 3, 3]), k=rng.choice([0, 0, 0, 3, 5, 5, 8, 16, 32]),
                 mf=rng.choice([1e9, 1e9, 20, 5]), r=rng.choice([0.1, 0.33]))
    if use.k and use.k <= 8 and rng.random() < 0.25:
        use.ts = 0.01  # the server's default: the found keys count nearly alike
    return use


def recall_step(net, batches, rows, log, copying=False):
    rng = batches.rng
    ids, kind = pad([full for full, _, _ in rows], 32)
    x, kv, _ = net(ids)
    text, context, context_right = class_losses(net, x, ids, kind, 0.25)
    use = draw_recall(rng, net.c.n_layer)
    extra = min(rng.choice([0, 0, 1, 3, 7]), len(rows) - 1)
    memory = memory_of(kv, [n for _, n, _ in rows], use.layers, extra)
    ids, kind = pad([alone for _, _, alone in rows], 16)
    answer_rows = F.pad((kind[:, 1:] == 2).float(), (0, 1))
    x, _, search = net(ids, memory, use, answer_rows)
    asked, recalled, recalled_right = class_losses(net, x, ids, kind, 0.25)
    if copying:
        log.add(copy_ok=context_right, mem_copy_ok=recalled_right)
    else:
        log.add(text=text.item(), context=context.item(), ctx_ok=context_right, memory=recalled.item(), mem_ok=recalled_right,
                search=search.item())
        if use.k:
            log.add(knn_ok=recalled_right)
    return 0.4 * text + context + recalled + 0.1 * asked + 0.1 * search, ids.numel() + sum(n for _, n, _ in rows)


def text_step(net, text, tokens, log):
    ids = torch.tensor([text.window() for _ in range(max(1, tokens // net.c.n_ctx))])
    logits = net.logits(net(ids)[0])
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
    log.add(wordnet=loss.item())
    return loss, ids.numel()


def keep_memory():
    """Tells glibc to keep freed memory: otherwise most of the time goes into page faults of large tensors."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((-1, 2**31 - 1), (-4, 0), (-8, 1)):  # trim threshold, most mmaps, most arenas
            mallopt(option, value)
    except (AttributeError, OSError):
        pass


class Log:
    """Running means, printed with the time left."""

    def __init__(self):
        self.mean = {}

    def add(self, **values):
        for name, v in values.items():
            if not math.isnan(v):
                self.mean[name] = v if name not in self.mean else 0.95 * self.mean[name] + 0.05 * v

    def line(self, step, tokens, start, budget):
        spent = time.time() - start
        means = " ".join(f"{name} {v:.3f}" for name, v in self.mean.items())
        return f"step {step} {means} | {tokens / spent:.0f} tok/s, {spent / 60:.1f} min, {max(0, budget - spent) / 60:.1f} left"


# ---- training

def optimizers(net, lr, muon_lr):
    """Muon for the matrices inside blocks, AdamW for the rest: about half the steps of AdamW alone."""
    hidden = [p for p in net.h.parameters() if p.ndim == 2]
    place = net.wpe.weight  # slow, or the first noisy steps would undo its sines
    rest = [p for p in net.parameters() if p is not place and not any(p is q for q in hidden)]
    groups = [dict(params=rest, lr=lr), dict(params=[place], lr=lr / 20)]
    return [torch.optim.Muon(hidden, lr=muon_lr, momentum=0.95, weight_decay=0.01),
            torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)]


def rate(share):
    """Learning rate by share of the time spent: short warm-up, flat, then down to nothing."""
    return min(1.0, share / 0.01 + 0.05, max(0.02, (1 - share) / 0.6))


def train(net, text, batches, args):
    opts = optimizers(net, args.lr, args.muon_lr)
    base = [g["lr"] for o in opts for g in o.param_groups]
    log, start, budget = Log(), time.time(), args.minutes * 60
    step = tokens = saved = 0
    while (share := args.start_share + (1 - args.start_share) * (time.time() - start) / budget) < 1:
        for g, lr in zip((g for o in opts for g in o.param_groups), base):
            g["lr"] = lr * rate(share)
        batches.tokens = args.tokens if share > 0.7 else args.tokens // 2
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not args.float32):
            if batches.rng.random() < args.text_share:
                loss, n = text_step(net, text, batches.tokens, log)
            elif batches.rng.random() < args.copy_share * (2 if share < 0.2 else 1):
                loss, n = recall_step(net, batches, batches.copies(), log, copying=True)
            else:
                most = 2 + 8 * min(1.0, share / 0.25)
                rows = batches.passages(round(1 + (most - 1) * batches.rng.random() ** 1.5))
                loss, n = recall_step(net, batches, rows, log)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        step, tokens = step + 1, tokens + n
        if step % 25 == 0 and not args.threads:
            torch.set_num_threads(os.cpu_count() if os.getloadavg()[0] < os.cpu_count() + 1.5 else 1)
        if step % 50 == 0:
            print(log.line(step, tokens, start, budget), flush=True)
        if time.time() - saved > 240:
            saved = time.time()
            save(net, args.out)
    save(net, args.out)
    print(f"done: {step} steps, {tokens} tokens, {(time.time() - start) / 60:.1f} min")


def resume(net, args):
    net.load_state_dict({k: v.float() for k, v in load_file(str(args.resume / "model.safetensors")).items()})
    for name in ("vocab.json", "merges.txt"):
        (args.out / name).write_text((args.resume / name).read_text())
    return load_tokenizer(args.out)


def save(net, folder):
    """A Hugging Face GPT-2 folder with F16 weights."""
    c = net.c
    save_file({name: p.detach().half().contiguous() for name, p in net.state_dict().items()},
              str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], activation_function="gelu_new",
                  n_positions=c.n_ctx, layer_norm_epsilon=1e-5, bos_token_id=c.vocab_size - 1, eos_token_id=c.vocab_size - 1,
                  tie_word_embeddings=True, torch_dtype="float16", **asdict(c))
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_held_out(path, seed, count):
    """Passages with names that training never shows, of 2 to 8 facts, one question each."""
    maker = PassageMaker(seed, held=True)
    with open(path, "w") as f:
        while count:
            p = maker.passage(maker.rng.randint(2, 8))
            if not p.facts:
                continue
            question, answer = maker.rng.choice(maker.rng.choice(p.facts))
            f.write(json.dumps(dict(text=p.text(), question=question, answer=answer)) + "\n")
            count -= 1


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--out", type=Path, default=HERE / "model", help="folder to write")
    a.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="folder with WordNet's data.noun")
    a.add_argument("--minutes", type=float, default=50, help="time to train; the rates follow it")
    a.add_argument("--tokens", type=int, default=3072, help="tokens a step; half of it in the first 70 %")
    a.add_argument("--threads", type=int, default=0, help="0: all cores, or one while the machine is busy with other work")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--held-out", type=int, default=400, help="held-out passages to write")
    a.add_argument("--held-out-seed", type=int, default=20)
    a.add_argument("--lr", type=float, default=2e-3, help="AdamW: embeddings, norms, biases")
    a.add_argument("--muon-lr", type=float, default=0.015, help="Muon: the blocks' matrices")
    a.add_argument("--text-share", type=float, default=0.12, help="share of steps on WordNet text")
    a.add_argument("--copy-share", type=float, default=0.2, help="share of the other steps on lists to copy; twice that in the first fifth")
    a.add_argument("--float32", action="store_true", help="no bfloat16 (for a CPU without it)")
    a.add_argument("--resume", type=Path, help="start from this folder's weights and tokenizer")
    a.add_argument("--start-share", type=float, default=0.0, help="where in the schedule to start, 0 to 1")
    return a.parse_args()


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads or os.cpu_count())
    keep_memory()
    torch.set_flush_denormal(True)  # tiny gradients of masked softmaxes are denormal, and ten times slower
    args.out.mkdir(parents=True, exist_ok=True)
    sentences = wordnet_sentences(args.wordnet)
    c = Config()
    net = GPT2(c)
    tokenizer = resume(net, args) if args.resume else train_tokenizer(sentences, c.vocab_size, args.out)
    print(f"seed {args.seed}, {sum(p.numel() for p in net.parameters())} weights, {len(sentences)} WordNet sentences", flush=True)
    write_held_out(HERE / "heldout.jsonl", args.held_out_seed, args.held_out)
    text = Text(tokenizer, sentences, c.n_ctx, random.Random(args.seed))
    train(net, text, Batches(tokenizer, PassageMaker(args.seed + 1), c.n_ctx, args.tokens), args)


if __name__ == "__main__":
    main()
