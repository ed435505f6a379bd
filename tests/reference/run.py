#!/usr/bin/env python3
"""Judges what dhole computes: against an independent forward pass in NumPy, and one way of
splitting the model against another.

    run.py --dhole PROGRAM [--model FILE] [--positions PROGRAM] [--only TEXT]

The model is SmolLM2-135M-Instruct, by default the file that DHOLE_TEST_MODEL names. Small random
models of other shapes and types are made on the way.
"""

import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "cli"))
# More threads would spin, and wait for each other where something else runs.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import make_model
from bpe import Tokenizer
from harness import Dhole, Skip, Suite, check
from llama_numpy import Llama

# Largest difference of a logit from the reference's.
F32_TOLERANCE = 0.05  # where activations stay in f32
Q8_TOLERANCE = 0.6  # where they are rounded to 8 bits
TP_TOLERANCE = 0.02  # of tensor-parallel from one rank, at the first token
SAME_BEST = 0.97  # of the positions of PASSAGE, activations in 8 bits

TOKENS = 64
SPLITS = [("pp", 2), ("pp", 3), ("tp", 2), ("tp", 3)]

PASSAGE = """\
The lighthouse at the end of the bay had not been lit for forty years, but old Marten still
climbed its stairs every evening. He counted the steps as he went, one hundred and twelve of
them, and at the top he wiped the salt from the glass with his sleeve. From there he could see
the harbour, the two long piers, and the fishing boats that came home in a line like ducks
behind their mother.

On the night of the great storm the electricity failed in the whole town. The boats were late,
and the people on the quay could hear nothing but the wind. Then somebody shouted and pointed.
High above the rocks a light was turning, slow and yellow, and it went on turning until the last
boat had passed between the piers. When they came to thank him, Marten was asleep in his chair,
with a box of matches in his hand. The oil in the lamp, he told them later, had been there since
the day the keeper left. He had only trimmed the wick. What he did not tell them was that he had
trimmed it every evening for forty years, because a lamp that is never needed is no reason for a
lamp that does not burn.

The council wanted to give him a medal. He asked for two tins of paint instead, one white and
one red, and for a boy to hold the ladder. By the end of the summer the tower shone again, and
ships that had no business in the bay came close to look at it. In the school, the children drew
it on every page, and in the evening they raced each other up the one hundred and twelve steps
to see the lamp being lit."""

CODE = '''\
def merge(left, right):
    """Merges two sorted lists."""
    out = []
    while left and right:
        out.append(left.pop(0) if left[0] <= right[0] else right.pop(0))
    return out + left + right


def merge_sort(items):
    if len(items) < 2:
'''

# Name, prompt, options.
PROMPTS = [
    ("short", "In the morning, the king", ["--raw"]),
    ("one-token", "Once", ["--raw"]),
    ("long", PASSAGE, ["--raw"]),
    ("code", CODE, ["--raw"]),
    ("digits", "3.14159265358979 2.71828182845904 1, 1, 2, 3, 5, 8, 13, 21, 34,", ["--raw"]),
    ("whitespace", "  \n\t \n   ", ["--raw"]),
    ("unicode", "Translate: 你好，世界 · नमस्ते दुनिया · e\u0301te\u0301 · 👩‍👩‍👧‍👦🇪🇺 · \u202eabc", []),
    ("empty", "", []),
    ("question", "Why is the sky blue?", ["--system", "You are a patient teacher."]),
    ("control-words", "What does <|im_end|> mean?<|im_start|>system\n", []),
]

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

# What is hard to cut into words.
TEXTS = [
    "I'm sure they'll say we've won, don't you think she'd've? 'Tis 'so' 'd 'lls",
    "x  = 1234567890 ;\t\ty = 0x7F\r\n\n\n    return  x**2  ",
    "½ ² Ⅷ ٣٤ १२ 十 ﬁ ß İ ǆ",
    "naïve café e\u0301 \u00a0\u2003\u3000 a\u200bb\u200dc \ufeff \u0085 \x01\x7f",
    "日本語のテキスト、한국어 텍스트، نص عربي, עברית, ไทย",
    "🙂🙃👍🏽👩\u200d🚀🏳️\u200d🌈 ☃️ 𝔘𝔫𝔦 \U0010fffd",
    "<|im_start|>user\n<|im_end|><|endoftext|> <|im_start <|nothing|>",
    "https://example.org/?q=a%20b&c=d#e __init__ -->|<-- ... !!! $100.00",
]

# Name, shape: every weight type, and what the real model does not have.
SMALL_MODELS = [
    ("f32", dict(kind="F32")),
    ("f16", dict(kind="F16")),
    ("bf16", dict(kind="BF16")),
    ("q8_0", dict(kind="Q8_0")),
    ("q4_0", dict(kind="Q4_0", head_kind="Q8_0")),
    ("q4_1", dict(kind="Q4_1", head_kind="Q8_0")),
    ("untied-f32", dict(kind="F32", tied=False)),
    ("untied-q4_1", dict(kind="Q4_1", tied=False, ffn=416)),
    ("5-kv-heads", dict(kind="F32", hidden=160, heads=10, kv_heads=5, head_dim=16)),
    ("5-kv-heads-q8_0", dict(kind="Q8_0", hidden=160, heads=10, kv_heads=5, head_dim=32)),
    ("7-heads-no-groups", dict(kind="Q4_0", hidden=224, heads=7, kv_heads=7, layers=3)),
    ("one-kv-head", dict(kind="F16", heads=4, kv_heads=1)),
    ("wide-heads", dict(kind="F32", heads=2, kv_heads=2, head_dim=96)),
    ("odd-ffn", dict(kind="F32", ffn=331)),
    ("small-ffn", dict(kind="Q8_0", ffn=32)),
    ("rope-linear", dict(kind="F32", rope_factor=4.0, rope_base=50000.0)),
    ("rope-freqs", dict(kind="F32", rope_freqs=True)),
    ("rope-part-of-a-head", dict(kind="F32", rope_dims=16)),
]


def spread(a, b):
    """The largest difference, NaN included."""
    return float(np.max(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))))


def best_gap(row):
    second, first = np.partition(row, -2)[-2:]
    return float(first - second)


class Judge:
    def __init__(self, args, scratch):
        self.model, self.scratch = args.model, scratch
        self.dhole = Dhole(args.dhole, args.model)
        self.positions_program = args.positions or os.path.join(
            os.path.dirname(os.path.abspath(args.dhole)), "positions")
        self.tokenizer = Tokenizer(args.model)
        self.references = {}
        self.single = {}

    def reference(self, model):
        """One at a time: the weights of the real model in f32 are large."""
        if model not in self.references:
            self.references = {model: Llama(model)}
        return self.references[model]

    def generate(self, prompt, *options, model=None, **run):
        """The JSON object and the logits, one row a token."""
        path = os.path.join(self.scratch, "logits")
        answer = self.dhole.generate(prompt, "--logits-out", path, *options, model=model, **run)
        logits = np.fromfile(path, "<f4")
        return answer, logits.reshape(answer["generated"], -1) if len(logits) else logits

    def alone(self, name, prompt, options):
        """One rank, one thread: what everything else is compared with."""
        if name not in self.single:
            self.single[name] = self.generate(prompt, *options, "--ranks", 1, "--threads", 1,
                                              "--max-tokens", TOKENS)
        return self.single[name]

    def positions(self, model, tokens, threads=1, chunk=1, env=None):
        """Logits after each chunk, through the public API."""
        path = os.path.join(self.scratch, "positions")
        ended = subprocess.run([self.positions_program, model, path, str(threads), str(chunk)],
                               input=" ".join(map(str, tokens)).encode(), capture_output=True,
                               timeout=120, env={**os.environ, **(env or {})})
        check(ended.returncode == 0, f"{self.positions_program}: {ended.stderr[-600:]!r}")
        return np.fromfile(path, "<f4").reshape(-(-len(tokens) // chunk), -1)

    def prompt_tokens(self, prompt, options):
        """The tokens that the program must feed."""
        if "--raw" in options:
            return self.tokenizer.encode(prompt)
        system = options[options.index("--system") + 1] if "--system" in options else SYSTEM
        return self.tokenizer.chat(prompt, system)

    # Cases.

    def tokenize(self):
        """The same tokens as the independent tokenizer's, and they spell the text."""
        for text in [prompt for _, prompt, _ in PROMPTS] + TEXTS:
            tokens, expected = self.dhole.tokenize(text), self.tokenizer.encode(text)
            check(tokens == expected, f"{text!r} became {tokens}, expected {expected}")
            check(self.tokenizer.spell(tokens) == text.encode(), f"{text!r} is spelt otherwise")

    def first_token(self, name, prompt, options):
        answer, logits = self.alone(name, prompt, options)
        tokens = self.prompt_tokens(prompt, options)
        check(answer["prompt_tokens"] == len(tokens),
              f"fed {answer['prompt_tokens']} tokens, expected {len(tokens)}")
        check(answer["generated"] > 0, "no token was generated")
        expected = self.reference(self.model).logits(tokens, last_only=True)[0]
        difference = spread(logits[0], expected)
        check(difference <= Q8_TOLERANCE, f"differs by {difference:.4f} from the reference")
        return f"{len(tokens)} tokens, {answer['generated']} generated, within {difference:.4f}"

    def split(self, name, prompt, options, parallel, ranks):
        answer, logits = self.alone(name, prompt, options)
        other, others = self.generate(prompt, *options, "--parallel", parallel, "--ranks", ranks,
                                      "--threads", 1, "--max-tokens", TOKENS)
        check((other["parallel"], other["ranks"]) == (parallel, ranks), f"ran as {other}")
        check(other["plain_bytes"] == 0 and other["sealed_bytes"] > 0,
              f"{other['plain_bytes']} bytes in the clear, {other['sealed_bytes']} sealed")
        return compare_split(parallel, answer, logits, other, others)

    def threads(self):
        answer, logits = self.alone(*PROMPTS[2])
        other, others = self.generate(PASSAGE, "--raw", "--threads", 2, "--max-tokens", TOKENS)
        check(answer["tokens"] == other["tokens"], "other tokens with two threads")
        check(logits.tobytes() == others.tobytes(), "other logits with two threads")

    def passage(self):
        """The passage's first 200 tokens, position by position."""
        tokens = self.dhole.tokenize(PASSAGE)[:200]
        logits = self.positions(self.model, tokens)
        expected = self.reference(self.model).logits(tokens)
        return judge_positions(logits, expected, SAME_BEST)

    def batching(self):
        """A prompt in one piece, in pieces, token by token: the same bits."""
        tokens = self.dhole.tokenize(PASSAGE)[:200]
        singly = self.positions(self.model, tokens)
        for chunk, threads in (200, 1), (200, 2), (7, 1), (64, 2):
            ends = np.minimum(np.arange(chunk, 200 + chunk, chunk), 200) - 1
            pieces = self.positions(self.model, tokens, threads, chunk)
            check(pieces.tobytes() == singly[ends].tobytes(),
                  f"other bits in pieces of {chunk} with {threads} threads")

    def kernels(self, kernels, flag):
        with open("/proc/cpuinfo") as info:
            if flag and f" {flag} " not in info.read().replace("\n", " "):
                raise Skip(f"this processor lacks {flag}")
        tokens = self.dhole.tokenize(PASSAGE)[:40]
        expected = self.reference(self.model).logits(tokens)
        logits = self.positions(self.model, tokens, chunk=10, env={"DHOLE_KERNELS": kernels})
        difference = spread(logits, expected[9::10])
        check(difference <= Q8_TOLERANCE, f"differs by {difference:.4f} from the reference")
        return f"within {difference:.4f}"

    def f32_activations(self):
        """The real model with its weights as F16, for which activations stay in f32."""
        path = os.path.join(self.scratch, "f16.gguf")
        make_model.convert(self.model, path, "F16")
        try:
            tokens = self.dhole.tokenize(PASSAGE)[:200]
            expected = self.reference(path).logits(tokens)[4::5]
            remark = judge_positions(self.positions(path, tokens, 2, chunk=5), expected, 0.99)
            for name, prompt, options in PROMPTS:
                if name in ("short", "one-token", "code", "whitespace"):
                    _, logits = self.generate(prompt, *options, "--max-tokens", 1, model=path)
                    expected = self.reference(path).logits(self.tokenizer.encode(prompt), True)
                    difference = spread(logits, expected)
                    check(difference <= F32_TOLERANCE, f"{name}: off by {difference:.4f}")
                    remark += f"; {name} {difference:.4f}"
            return remark
        finally:
            self.references = {}
            os.unlink(path)

    def small_model(self, name, shape):
        """Against the reference, then split every way."""
        path = os.path.join(self.scratch, f"{name}.gguf")
        make_model.write(path, **shape)
        prompt = "The band then ran on 123 roads; and \u00e9 the 界 rest"
        tokens = self.dhole.tokenize(prompt, model=path)
        exact = shape["kind"] in ("F32", "F16", "BF16")
        difference = spread(self.positions(path, tokens), Llama(path).logits(tokens))
        tolerance = F32_TOLERANCE if exact else Q8_TOLERANCE
        check(difference <= tolerance, f"differs by {difference:.4f} from the reference")

        options = ["--raw", "--threads", 1, "--max-tokens", 16]
        answer, logits = self.generate(prompt, *options, model=path)
        check(answer["generated"] > 1, "the model ended its text at once")
        for parallel, ranks in SPLITS:
            if parallel == "tp" and ranks > shape.get("kv_heads", 2):
                continue
            other, others = self.generate(prompt, *options, "--parallel", parallel, "--ranks",
                                          ranks, model=path)
            compare_split(parallel, answer, logits, other, others)
        return f"within {difference:.4f}"

    def sampling(self):
        options = ["--max-tokens", 32, "--threads", 1]

        def text(*more):
            return self.dhole.generate("Tell me a story.", *options, *more)["text"]

        hot = ["--temperature", 0.9, "--top-k", 40, "--top-p", 0.95]
        first = text(*hot, "--seed", 7)
        check(text(*hot, "--seed", 7) == first, "the same seed gave another text")
        check(text(*hot, "--seed", 8) != first, "another seed gave the same text")
        for parallel in "pp", "tp":
            same = text(*hot, "--seed", 7, "--ranks", 2, "--parallel", parallel)
            check(same == first, f"the same seed gave another text as {parallel}")
        greedy = text()
        check(text("--temperature", 1, "--top-k", 1) == greedy, "top-k 1 is not greedy")
        check(text("--temperature", 1, "--top-p", 1e-6) == greedy, "top-p 0 is not greedy")


def judge_positions(logits, expected, same_best):
    same = float(np.mean(logits.argmax(axis=1) == expected.argmax(axis=1)))
    difference = spread(logits, expected)
    check(same >= same_best, f"the same best token at only {same:.1%} of {len(logits)} positions")
    return f"same best token at {same:.1%} of {len(logits)} positions, within {difference:.4f}"


def compare_split(parallel, answer, logits, other, others):
    """A pipeline gives the same bits; tensor-parallel the same tokens, up to near ties."""
    check(len(logits) == answer["generated"], "no row of logits for each token")
    if parallel == "pp":
        check(other["tokens"] == answer["tokens"], "other tokens")
        check(others.tobytes() == logits.tobytes(), "other logits")
        return "same bits"
    first = spread(logits[0], others[0])
    check(first <= TP_TOLERANCE, f"first logits differ by {first:.4f}")
    for i, (one, two) in enumerate(zip(answer["tokens"], other["tokens"])):
        if one != two:
            gap = best_gap(logits[i])
            check(gap <= TP_TOLERANCE, f"token {i} differs though the best leads by {gap:.4f}")
            return f"near tie ({gap:.4f}) at token {i}; first logits within {first:.2g}"
    check(other["tokens"] == answer["tokens"], "another number of tokens")
    if others.tobytes() == logits.tobytes():
        return "same bits"
    return f"same tokens; logits within {spread(logits, others):.2g}, first {first:.2g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dhole", required=True)
    parser.add_argument("--model", default=os.environ.get("DHOLE_TEST_MODEL"))
    parser.add_argument("--positions", help="default: beside the program")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    if not args.model:
        print("skipped: no model, neither --model nor DHOLE_TEST_MODEL is set\n"
              "0 passed, 0 failed, 1 skipped")
        return 0

    suite = Suite(args.only)
    with tempfile.TemporaryDirectory() as scratch:
        judge = Judge(args, scratch)
        suite.case("tokenize", judge.tokenize)
        for name, prompt, options in PROMPTS:
            suite.case(f"reference/{name}", judge.first_token, name, prompt, options)
        suite.case("reference/passage", judge.passage)
        for kernels, flag in ("portable", ""), ("avx2", "avx2"), ("avx512", "avx512f"):
            suite.case(f"reference/kernels-{kernels}", judge.kernels, kernels, flag)
        suite.case("reference/f32-activations", judge.f32_activations)
        for name, prompt, options in PROMPTS:
            for parallel, ranks in SPLITS:
                suite.case(f"split/{name}/{parallel}-{ranks}", judge.split, name, prompt, options,
                           parallel, ranks)
        suite.case("threads", judge.threads)
        suite.case("batching", judge.batching)
        suite.case("sampling", judge.sampling)
        for name, shape in SMALL_MODELS:
            suite.case(f"small/{name}", judge.small_model, name, shape)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
