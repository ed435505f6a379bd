#!/usr/bin/env python3
"""Compares `dhole tokenize` with an independent tokenizer.

Usage: tokenizer_reference.py DHOLE MODEL

Builds the byte-level BPE tokenizer of the model file (tokenizer.ggml.pre smollm: digits one by
one, then GPT-2's pattern) with the PyPI packages `gguf` and `tokenizers`, and compares the ids that
both give for many texts. Ends with "N passed, N failed"; exit code 1 when one failed, 2 when the
file cannot be compared.
"""

import random
import subprocess
import sys
import unicodedata

from gguf import GGUFReader
from tokenizers import Tokenizer, models, pre_tokenizers

TEXTS = [
    "",
    " ",
    "  ",
    "\n",
    "a",
    "Hello, world!",
    " leading and trailing ",
    "tabs\tand\nlines\r\nand\n\n\nempty   ones  \n  ",
    "It's we're they'll I'd you've I'm don't 'tis 's'S'LL",
    "0 12 345 6789 1,234.56 3.14e-10 0xdeadbeef 2024-01-31",
    "spaces before  1 and   22   333",
    "a1b22c333 \t4",
    "int main(void)\n{\n    for (int i = 0; i < 10; i++)\n        printf(\"%d\\n\", i);\n}\n",
    "def f(x):\n\treturn {'a': [x ** 2 for _ in range(3)]}\n",
    "<html><body class=\"x\">&nbsp;</body></html>",
    "== != <= >= -> => :: ... ??? !!! ---- ____ ****",
    "The quick brown fox jumps over the lazy dog. " * 20,
    "Grüße aus Köln, Ærøskøbing, São Tomé, Łódź, Ōsaka",
    "Привет, мир! Как дела?",
    "Καλημέρα κόσμε",
    "你好，世界。今天天气怎么样？",
    "こんにちは世界、カタカナ ひらがな",
    "안녕하세요 세계",
    "שלום עולם مرحبا بالعالم",
    "नमस्ते दुनिया १२३ สวัสดี ๑๒๓",
    "Ⅷ ½ ² ³ ① ٣ 〇 五 ᠐",
    "👋🌍 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️",
    "e\u0301 é a\u0308\u0323 \u200b\u200d zero\u00adwidth \ufeffbom",
    "\u00a0nbsp\u2003em\u3000wide\u2028line\u2029par\u0085nel \u1680x\u180ey",
    "𝒳𝓎𝓏 𐍈 𒀀 \U000e0041",
    "mixedЯзыкиand数字123and😀emoji",
    "a" * 3000,
    " " * 3000 + "x",
    "ab" * 1500,
    "\n \n" * 500,
    "'" * 200,
]


def reference(path):
    """The tokenizer, and the bytes that its vocabulary can express."""
    fields = GGUFReader(path).fields
    pre = fields["tokenizer.ggml.pre"].contents()
    if pre != "smollm":
        print(f"the pre-tokenizer is {pre}, this reference knows smollm")
        sys.exit(2)
    vocab = {t: i for i, t in enumerate(fields["tokenizer.ggml.tokens"].contents())}
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), byte_level]
    )
    return tokenizer, {byte for byte, letter in alphabet().items() if letter in vocab}


def alphabet():
    """GPT-2's letters for the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def random_texts(rng, known_bytes):
    """Texts of assigned code points that the vocabulary can express."""
    blocks = [(0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x1FFF), (0x2000, 0x2BFF)]
    blocks += [(0x3000, 0x9FFF), (0xA000, 0xFFFF), (0x10000, 0x1FFFF)]
    spaces = " \n\t\u00a0\u3000"

    def char(first, last):
        while True:
            c = chr(rng.randint(first, last))
            # Unassigned, surrogate and private characters are left out.
            if unicodedata.category(c) not in ("Cn", "Cs", "Co") and set(c.encode()) <= known_bytes:
                return c

    for _ in range(150):
        first, last = rng.choice(blocks)
        yield "".join(
            rng.choice(spaces + "0123456789'.,") if rng.random() < 0.25 else char(first, last)
            for _ in range(rng.randint(1, 200))
        )


def main():
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    program, model = sys.argv[1:]
    tokenizer, known_bytes = reference(model)
    passed = failed = 0
    for text in TEXTS + list(random_texts(random.Random(1), known_bytes)):
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        run = subprocess.run(
            [program, "tokenize", "--model", model, "--text", text], capture_output=True, text=True
        )
        if run.returncode == 0 and [int(x) for x in run.stdout.split()] == expected:
            passed += 1
            continue
        failed += 1
        print(f"{text[:60]!r}: exit code {run.returncode} {run.stderr.strip()}")
        print(f"  got      {run.stdout.strip()[:200]}\n  expected {' '.join(map(str, expected))[:200]}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
