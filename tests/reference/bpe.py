"""An independent byte-level BPE tokenizer, for judging dhole's: SmolLM's way of cutting a text into
words, then merges by rank (Sennrich et al., arXiv:1508.07909)."""

import re
import unicodedata

import gguf

# 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ between single digits. Python's
# `re` lacks \p, so all but the endings is matched on the kinds of the characters.
ENDING = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
WORD = re.compile(r"N|_?L+|_?O+|[S_]+(?![LO])|[S_]+")


def kind(char):
    """Letter, Number, Space, Other, or "_" for the plain space."""
    if char == " ":
        return "_"
    if char.isspace() and char not in "\x1c\x1d\x1e\x1f":
        return "S"
    category = unicodedata.category(char)[0]
    return category if category in "LN" else "O"


def words(text):
    kinds = "".join(map(kind, text))
    for piece in re.finditer("N|[^N]+", kinds):
        at, end = piece.span()
        while at < end:
            match = ENDING.match(text, at, end) or WORD.match(kinds, at, end)
            yield text[at : match.end()]
            at = match.end()


def byte_names():
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b if b in printable else next(others)) for b in range(256)]


class Tokenizer:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.names = reader.get_field("tokenizer.ggml.tokens").contents()
        self.id = {name: token for token, name in enumerate(self.names)}
        kinds = reader.get_field("tokenizer.ggml.token_type").contents()
        self.control = [name for name, k in zip(self.names, kinds) if k == gguf.TokenType.CONTROL]
        merges = reader.get_field("tokenizer.ggml.merges").contents()
        self.rank = {tuple(merge.split(" ")): i for i, merge in enumerate(merges)}
        self.shown = byte_names()

    def merge(self, word):
        parts = [self.shown[byte] for byte in word.encode()]
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:]))
            best = min(pairs, key=lambda pair: self.rank.get(pair, len(self.rank)))
            if best not in self.rank:
                break
            merged, i = [], 0
            while i < len(parts):
                joined = tuple(parts[i : i + 2]) == best
                merged.append("".join(best) if joined else parts[i])
                i += 2 if joined else 1
            parts = merged
        return [self.id[part] for part in parts]

    def text(self, text):
        """A text in which nothing is a control token."""
        return [token for word in words(text) for token in self.merge(word)]

    def encode(self, text):
        """A text in which the names of control tokens stand for them."""
        names = "|".join(map(re.escape, sorted(self.control, key=len, reverse=True)))
        tokens = []
        for i, piece in enumerate(re.split(f"({names})", text)):
            tokens += [self.id[piece]] if i % 2 else self.text(piece)
        return tokens

    def chat(self, prompt, system):
        """ChatML, ready for the answer."""
        tokens = []
        for role, content in ("system", system), ("user", prompt):
            tokens += [self.id["<|im_start|>"], *self.text(f"{role}\n{content}")]
            tokens += [self.id["<|im_end|>"], *self.text("\n")]
        return [*tokens, self.id["<|im_start|>"], *self.text("assistant\n")]

    def spell(self, tokens):
        """The bytes that tokens stand for."""
        byte = {shown: value for value, shown in enumerate(self.shown)}
        return bytes(byte[char] for token in tokens for char in self.names[token])
