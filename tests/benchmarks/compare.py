#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mtm on this machine, in one run: against CTranslate2 (the same random weights of GPT-2 124M's shape, the same
prompts, greedy, interleaved), with memories against without, exact mode against computing all anew, and through the
server against in process. Prints tables; needs a quiet machine and, for CTranslate2, the Python package index.

    tests/benchmarks/compare.py [--build build] [--rounds 5] [--million] [--json FILE] [--plot FILE.svg]

Against CTranslate2: tokens a second of all sequences together, prompts included; of each cell the median over the
rounds. `equal` is the share of greedy tokens that are those of CTranslate2 with float32. Exit status 1 where a target
is missed: fp32 and int8 at least CTranslate2's in every cell, int8 at batch 1 at least 1.5 times; fp16 at batch 1 at
least 1.4 times CTranslate2's fp32, and 70 % of what the bandwidth of the same run allows; the others as
step_targets.py and server_overhead.py have them."""

import argparse
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import venv

import server_overhead
import step_targets

SOURCE = pathlib.Path(__file__).resolve().parents[2]
REQUIREMENTS = ("ctranslate2==4.8.5", "numpy==2.2.6")
BATCHES, PROMPT, NEW = (1, 8, 32), 16, 128
OURS = ("fp32", "fp16", "int8")
THEIRS = {"fp32": "float32", "int8": "int8"}
BANDWIDTH_SHARE = 0.7
MILLION = 1_000_000
MEMORY_TARGETS = {1000: {2: 0.95, 3: 0.85}, MILLION: {2: 0.7, 3: 0.7}}  # tokens; type; of plain's speed


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=SOURCE / "build", type=pathlib.Path)
    parser.add_argument("--shape", default="gpt2", help="as make_model takes it")
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--threads", default=len(os.sched_getaffinity(0)), type=int)
    parser.add_argument("--million", action="store_true",
                        help="also with a memory of a million tokens: minutes more, and 11 GB in TMPDIR")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path, help="needs matplotlib, which is then installed too")
    return parser.parse_args()


def run_in_environment(with_plot):
    """Again, in a virtual environment with CTranslate2."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    folder = cache / "mtm" / "compare-environment"
    python = folder / "bin" / "python"
    wanted = REQUIREMENTS + (("matplotlib",) if with_plot else ())
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True)
    os.execv(python, [str(python), *sys.argv])


def read_safetensors(file):
    import numpy

    data = file.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", name
        begin, end = entry["data_offsets"]
        tensors[name.removeprefix("transformer.")] = numpy.frombuffer(
            data[8 + size + begin:8 + size + end], numpy.float32).reshape(entry["shape"])
    return tensors


def convert(model, folder):
    """The same weights as CTranslate2 reads them."""
    import ctranslate2
    from ctranslate2.specs import common_spec, transformer_spec

    config, tensors = json.loads((model / "config.json").read_text()), read_safetensors(model / "model.safetensors")
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        config["n_layer"], config["n_head"], pre_norm=True, activation=common_spec.Activation.GELUTanh)

    def linear(target, name):
        target.weight, target.bias = tensors[name + ".weight"].T.copy(), tensors[name + ".bias"]

    def norm(target, name):
        target.gamma, target.beta = tensors[name + ".weight"], tensors[name + ".bias"]

    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = tensors["wte.weight"]
    decoder.position_encodings.encodings = tensors["wpe.weight"]
    norm(decoder.layer_norm, "ln_f")
    decoder.projection.weight = tensors["wte.weight"]
    for index, layer in enumerate(decoder.layer):
        block = f"h.{index}."
        norm(layer.self_attention.layer_norm, block + "ln_1")
        linear(layer.self_attention.linear[0], block + "attn.c_attn")
        linear(layer.self_attention.linear[1], block + "attn.c_proj")
        norm(layer.ffn.layer_norm, block + "ln_2")
        linear(layer.ffn.linear_0, block + "mlp.c_fc")
        linear(layer.ffn.linear_1, block + "mlp.c_proj")
    spec.register_vocabulary([str(i) for i in range(config["vocab_size"])])
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = str(config["vocab_size"] - 1)
    spec.validate()
    folder.mkdir()
    spec.save(str(folder))
    return ctranslate2


class Mtm:
    def __init__(self, options, model, weights):
        self.name, self.weights = "mtm", weights
        self.process = subprocess.Popen(
            [options.build / "benchmarks" / "generate_benchmark", model, weights, str(options.threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.load_seconds = json.loads(self.process.stdout.readline())["load_seconds"]

    def run(self, prompts, kind=0, memory_tokens=0):
        """`kind`: the type of a memory that each uses; 0: none."""
        task = {"prompts": prompts, "max_tokens": NEW, "type": kind, "memory_tokens": memory_tokens}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        result = json.loads(self.process.stdout.readline())
        return result["seconds"], result["tokens"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class CTranslate2:
    def __init__(self, options, ctranslate2, folder, weights):
        self.name, self.weights = "CTranslate2", weights
        self.generator = ctranslate2.Generator(str(folder), device="cpu", compute_type=THEIRS[weights],
                                               inter_threads=1, intra_threads=options.threads)

    def run(self, prompts):
        import time

        words = [[str(token) for token in prompt] for prompt in prompts]
        start = time.perf_counter()
        results = self.generator.generate_batch(words, max_length=NEW, min_length=NEW, sampling_topk=1,
                                                include_prompt_in_result=False, end_token=[])
        seconds = time.perf_counter() - start
        return seconds, [result.sequences_ids[0] for result in results]

    def close(self):
        pass


def prompts_of(batch):
    return [[(i * 7919 + row * 104729 + 17) % 50000 for i in range(PROMPT)] for row in range(batch)]


def share_equal(tokens, expected):
    pairs = [(a, b) for row, expected_row in zip(tokens, expected) for a, b in zip(row, expected_row)]
    return sum(a == b for a, b in pairs) / len(pairs)


def measure(contenders, rounds):
    """{(name, weights, batch): {"tokens_per_second", "equal"}}"""
    seconds, tokens = {}, {}
    for contender in contenders:
        contender.run(prompts_of(1))
    total = len(BATCHES) * rounds
    for index, batch in enumerate(BATCHES):
        for number in range(rounds):
            print(f"\rround {index * rounds + number + 1} of {total} ", end="", file=sys.stderr, flush=True)
            for contender in contenders:
                key = contender.name, contender.weights, batch
                taken, made = contender.run(prompts_of(batch))
                assert all(len(row) == NEW for row in made), key
                seconds.setdefault(key, []).append(taken)
                tokens[key] = made
    print(file=sys.stderr)
    return {key: {"tokens_per_second": key[2] * NEW / statistics.median(times), "seconds": times,
                  "equal": share_equal(tokens[key], tokens["CTranslate2", "fp32", key[2]])}
            for key, times in seconds.items()}


def table(results):
    print("| weights | batch | mtm, tokens/s | CTranslate2 | ratio | equal |\n| --- | --- | --- | --- | --- | --- |")
    for weights in OURS:
        for batch in BATCHES:
            ours = results["mtm", weights, batch]
            theirs = results.get(("CTranslate2", weights, batch))
            cells = [f"{theirs['tokens_per_second']:.0f}",
                     f"{ours['tokens_per_second'] / theirs['tokens_per_second']:.2f}"] if theirs else ["", ""]
            print(f"| {weights} | {batch} | {ours['tokens_per_second']:.0f} | {' | '.join(cells)} | "
                  f"{100 * ours['equal']:.0f} % |")


def targets(results, generations, steps, model):
    """(name, value, at least)"""
    def ratio(weights, batch, against):
        return (results["mtm", weights, batch]["tokens_per_second"] /
                results["CTranslate2", against, batch]["tokens_per_second"])

    for weights in THEIRS:
        for batch in BATCHES:
            yield (f"{weights}, batch {batch}, against CTranslate2", ratio(weights, batch, weights),
                   1.5 if (weights, batch) == ("int8", 1) else 1.0)
    yield "fp16 against CTranslate2's fp32, batch 1", ratio("fp16", 1, "fp32"), 1.4
    read = (model / "model.safetensors").stat().st_size / 2  # of float32; the head's matrix is that of the embedding
    yield ("fp16, batch 1, share of the bandwidth", results["mtm", "fp16", 1]["tokens_per_second"] * read /
           steps.bandwidth(), BANDWIDTH_SHARE)
    for some in generations:
        yield from some.targets()
    yield from steps.targets()


def judge(at_least, at_most):
    met = [(name, value, f"at least {least}", value >= least) for name, value, least in at_least]
    met += [(name, value, f"at most {most:.2f}", value <= most) for name, value, most in at_most]
    print()
    for name, value, wanted, is_met in met:
        print(f"{'met   ' if is_met else 'MISSED'}  {name}: {value:.2f}, wanted {wanted}")
    return all(is_met for *_, is_met in met)


def plot(results, file):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    figure, axes = pyplot.subplots(1, len(BATCHES), figsize=(10, 3))
    for axis, batch in zip(axes, BATCHES):
        bars = [(f"{name}\n{weights}", result["tokens_per_second"], "C0" if name == "mtm" else "C7")
                for (name, weights, size), result in results.items() if size == batch]
        axis.bar([bar[0] for bar in bars], [bar[1] for bar in bars], color=[bar[2] for bar in bars])
        axis.set_title(f"batch {batch}")
        axis.tick_params(axis="x", labelsize=6)
    axes[0].set_ylabel("tokens/s")
    figure.tight_layout()
    figure.savefig(file)


def main():
    options = parse_arguments()
    try:
        import ctranslate2  # noqa: F401
        import numpy  # noqa: F401
        if options.plot:
            import matplotlib  # noqa: F401
    except ImportError:
        run_in_environment(options.plot is not None)
    with tempfile.TemporaryDirectory() as folder:
        model, converted = pathlib.Path(folder) / "model", pathlib.Path(folder) / "converted"
        subprocess.run([options.build / "tests" / "make_model", options.shape, model], check=True,
                       stdout=subprocess.DEVNULL)
        ctranslate2 = convert(model, converted)
        contenders = [Mtm(options, model, weights) for weights in OURS]
        contenders += [CTranslate2(options, ctranslate2, converted, weights) for weights in THEIRS]
        try:
            results = measure(contenders, options.rounds)
        finally:
            for contender in contenders:
                contender.close()
        table(results)
        generations = with_memories(options, model)
        steps = step_targets.Steps(options.build, options.rounds, options.threads)
        steps.table()
        overhead = through_the_server(options, model)
        is_met = judge(targets(results, generations, steps, model), [server_overhead.target(overhead)])
    if options.json:
        options.json.write_text(json.dumps(
            {"against_ctranslate2": [{"name": key[0], "weights": key[1], "batch": key[2], **result}
                                     for key, result in results.items()],
             "generations": [one for some in generations for one in some.json()], **steps.json(), "server": overhead}))
    if options.plot:
        plot(results, options.plot)
    sys.exit(0 if is_met else 1)


def with_memories(options, model):
    mtm, generations = Mtm(options, model, "fp32"), []
    try:
        for memory_tokens, least in MEMORY_TARGETS.items():
            if memory_tokens == MILLION and not options.million:
                continue
            generations.append(step_targets.Generations(mtm, prompts_of, NEW, options.rounds, memory_tokens, least))
            generations[-1].table()
    finally:
        mtm.close()
    return generations


def through_the_server(options, model):
    in_process, server = Mtm(options, model, "fp32"), server_overhead.Server(options.build, model, options.threads)
    try:
        overhead = server_overhead.measure(server, in_process, prompts_of(1), NEW, options.rounds)
    finally:
        in_process.close()
        server.close()
    print(f"\na token of one client: {overhead['in_process_ms']:.2f} ms in process, {overhead['server_ms']:.2f} ms "
          "through the server")
    return overhead


if __name__ == "__main__":
    main()
