#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What fewer bits for the weights or for the key-value caches cost the demo model, through the real server: perplexity of the held-out passages,
log-probabilities and greedy tokens against float32, and how often the held-out answers come. Needs what measure.py needs.

  deploy/demo_model/measure_weights.py
  deploy/demo_model/measure_weights.py --limit 50 --json
"""
import argparse
import json
import math
import sys
import tempfile

import measure

KEPT = {"fp32": ("fp32", "fp32"), "fp16": ("fp16", "fp32"), "int8": ("int8", "fp32"), "fp32, cache fp16": ("fp32", "fp16")}


def score(asker, text):
    """[(log-probability, most probable token)] of a passage behind its first word."""
    begin = text.index(" ")
    reply = asker.inference.Score(asker.pb.ScoreRequest(prompt=text[:begin], continuation=text[begin:], top_logprobs=1))
    return [(token.chosen.logprob, token.top[0].token_id) for token in reply.tokens]


def run(args, cases, kept):
    args.weights, args.cache = KEPT[kept]
    with tempfile.TemporaryDirectory() as folder:
        server, channel = measure.start_server(args, folder)
        try:
            asker = measure.Asker(channel)
            layers = list(asker.inference.GetModel(asker.pb.GetModelRequest()).default_layers)
            scores = []
            for i, case in enumerate(cases):
                asker.remember(f"case/{i}", case["text"])
                scores += score(asker, case["text"])
                print(f"\r{kept}: passage {i + 1}/{len(cases)}", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            in_prompt = sum(asker.ask(c["text"] + "\n" + c["question"], c["answer"])[0] for c in cases) / len(cases)
            return scores, in_prompt, measure.measure(asker, cases, {}, layers)[0]
        finally:
            server.terminate()
            server.wait()


def compare(scores, exact):
    errors = [abs(a[0] - b[0]) for a, b in zip(scores, exact)]
    return dict(perplexity=math.exp(-sum(s[0] for s in scores) / len(scores)), mean_error=sum(errors) / len(errors),
                most_error=max(errors), equal=sum(a[1] == b[1] for a, b in zip(scores, exact)) / len(scores))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--server", default=str(measure.ROOT / "build/server/mtm_server"))
    a.add_argument("--model", default=str(measure.HERE / "model"))
    a.add_argument("--cases", default=str(measure.HERE / "heldout.jsonl"))
    a.add_argument("--limit", type=int, help="only the first so many cases")
    a.add_argument("--json", action="store_true", help="print JSON")
    args = a.parse_args()
    cases = [json.loads(line) for line in open(args.cases)][: args.limit]
    with tempfile.TemporaryDirectory() as folder:
        measure.make_stubs(folder)
        rows, exact = {}, None
        for kept in KEPT:
            scores, in_prompt, in_memory = run(args, cases, kept)
            exact = exact or scores
            rows[kept] = dict(compare(scores, exact), in_prompt=in_prompt, in_memory=in_memory)
    if args.json:
        return json.dump(dict(cases=len(cases), tokens=len(exact), weights=rows), sys.stdout, indent=1)
    print(f"{len(cases)} passages, {len(exact)} tokens\n\n| weights | perplexity | a log-probability is off by, mean / most | "
          "equal greedy tokens | answer with the text in the prompt | in a memory |\n" + "| --- " * 6 + "|")
    for kept, row in rows.items():
        print(f"| {kept} | {row['perplexity']:.3f} | {row['mean_error']:.4f} / {row['most_error']:.3f} | {row['equal']:.1%} | "
              f"{row['in_prompt']:.1%} | {row['in_memory']:.1%} |")


if __name__ == "__main__":
    main()
