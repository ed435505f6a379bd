"""Judges the way from two machines that do not know each other to an answer of both, and that nothing
of it is in the open: neither on the wire nor in a log."""

import base64
import glob
import importlib.util
import json
import os
import re
import sys

from capture import Capture, found, windows
from harness import Skip, check
from hosts import hosts
from machines import PORT, PROMPT, Machines

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(HERE, "../reference"))

ACTIVATIONS = 50000  # bytes, at least, of a request
VECTOR = re.compile(r"^(?:exporter-master|lane-\S+|key|next-\S+|record-\S+) +([0-9a-f]{32})", re.M)


def pieces_of_key(path):
    """Of a private key as it is in the file, and as bytes: the P-256 scalar is 32 of them, after the
    first OCTET STRING of that size."""
    with open(path) as file:
        lines = file.read().split("-----")[2].split()
    der = base64.b64decode("".join(lines))
    at = der.index(b"\x04\x20") + 2
    scalar = der[at : at + 32]
    text = "".join(lines).encode()[at * 4 // 3 : (at + 32) * 4 // 3]
    return [scalar[:16], scalar[16:], *windows(scalar.hex().encode(), 8), *windows(text, 8)]


def pieces_of_token(token):
    """The token's text, and the secret in it, which follows 32 bytes of fingerprint."""
    text = token.removeprefix("dhole1-")
    secret = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))[32:48]
    return [text[40:].encode(), secret, secret.hex().encode()]


def published():
    """What comes of the published keys of docs/protocol-vectors.md, which nobody ever uses."""
    with open(os.path.join(HERE, "../../docs/protocol-vectors.md")) as page:
        return [bytes.fromhex(text) for text in VECTOR.findall(page.read())]


def known_of(model, tokens, logits, answer, silent):
    """What would tell of the request."""
    import numpy as np
    from llama_numpy import Llama

    rows = np.fromfile(logits, "<f4").reshape(answer["generated"], -1)
    known = {
        "prompt": windows(PROMPT.encode(), 8),
        "prompt's tokens": windows(np.array(tokens, "<i4").tobytes(), 8),
        "logits": [piece for row in rows for piece in windows(row.tobytes())],
    }
    if silent:  # it says nothing in particular
        embedding = Llama(model).weight("token_embd.weight")[tokens]
        known["activations"] = [piece for row in embedding for piece in windows(row.tobytes())]
    else:
        known["answer"] = windows(answer["text"].encode(), 4)
    return known


def silent_model(path):
    """Its activations between layers are the embedding rows, bit for bit."""
    import make_model

    make_model.write(path, kind="F32", silent=True)
    return path


class FirstLight:
    def __init__(self, program, model):
        self.program, self.model = program, model

    def run(self, parallel, silent):
        if not self.model:
            raise Skip("no model, neither --model nor DHOLE_TEST_MODEL is set")
        for module in "numpy", "gguf":
            if not importlib.util.find_spec(module):
                raise Skip(f"Python's {module} is not installed")
        with hosts("near", "far") as (near, far):
            model = silent_model(near.file("silent.gguf")) if silent else self.model
            them = Machines(self.program, model, near, far)
            for host in near, far:
                host.env["DHOLE_LOG"] = "debug"
            with Capture(far.port) as capture:
                token = self.pair(them)
                them.shows("ready")
                answer = self.answer(them, parallel)
                self.plant(near, far)
            check(capture.dropped == 0, f"the capture lost {capture.dropped} packets")
            tokens = [int(word) for word in them.must(near, "tokenize", "--model", model, "--text", PROMPT).split()]
            known = known_of(model, tokens, near.file("logits"), answer, silent)
            known["token"] = pieces_of_token(token)
            known["keys"] = [piece for host in (near, far) for piece in pieces_of_key(key_of(host))]
            known["published keys"] = published()
            return self.judge(them, answer, known, capture)

    def pair(self, them):
        """Both ways in one step; the worker goes on to listen."""
        maker = them.near.start(them.program, "pair", "--listen", "0.0.0.0:0", "--json",
                                stderr=open(them.near.file("pair.log"), "w"))
        token = json.loads(maker.stdout.readline())["token"]
        them.start_worker(token, "--hide")
        check(maker.wait(10) == 0, "dhole pair ended well")
        check(f"{them.far.address}:{PORT}" in them.must(them.near, "trust", "list"), "the worker's address is known")
        return token

    def answer(self, them, parallel):
        """The same as that of one rank."""
        options = ["--max-tokens", "16", "--logits-out"]
        ended = them.dhole(them.near, *them.arguments("--peers", "far", "--parallel", parallel, "--json", *options,
                                                      them.near.file("logits")))
        them.near.write("generate.log", ended.err.decode())
        check(ended.code == 0, f"{ended}")
        answer = json.loads(ended.out)
        alone = them.answer(*options, them.near.file("alone"), peers=None)
        check(answer["text"] == alone["text"] and answer["tokens"] == alone["tokens"], f"{answer}, alone {alone}")
        with open(them.near.file("logits"), "rb") as ours, open(them.near.file("alone"), "rb") as theirs:
            check(ours.read() == theirs.read(), "the logits differ")
        check(answer["ranks"] == 2 and answer["parallel"] == parallel, f"{answer}")
        check(answer["plain_bytes"] == 0, f"{answer}")
        check(answer["sealed_bytes"] > ACTIVATIONS, f"the activations went another way: {answer}")
        return answer

    def plant(self, near, far):
        """Something in the clear, which must be found."""
        listener = far.start("python3", "-c", "import socket; s = socket.create_server(('', 9)); print(flush=True);"
                             "s.accept()[0].recv(1000)")
        listener.stdout.readline()
        near.run("python3", "-c", "import socket, sys; socket.create_connection(('%s', 9)).sendall(sys.stdin.read()."
                 "encode())" % far.address, input=PROMPT.encode(), stdin=None, check=True)
        listener.wait(10)

    def judge(self, them, answer, known, capture):
        streams = capture.streams()
        planted = {ports: streams.pop(ports) for ports in list(streams) if 9 in ports}
        check(found(known["prompt"], planted), "the search misses what was sent in the clear")
        volume = sum(map(len, streams.values()))
        check(volume >= answer["sealed_bytes"], f"captured {volume} bytes, sealed {answer['sealed_bytes']}")
        check(any(b"\x16\x03" in stream[:64] for stream in streams.values()), "no TLS handshake")
        logs = {path: open(path, "rb").read() for host in (them.near, them.far)
                for path in glob.glob(host.file("*log"))}
        check(b"takes a request" in b"".join(logs.values()), f"the logs say little: {logs}")
        for what, patterns in known.items():
            check(patterns, f"too little is known of the {what}")
            check(not found(patterns, streams), f"the {what} crossed in the clear")
            check(not found(patterns, logs), f"the {what} is in a log")
        return f"{volume} bytes captured, {sum(map(len, logs.values()))} bytes of logs"



def key_of(host):
    (path,) = glob.glob(os.path.join(host.env["XDG_CONFIG_HOME"], "dhole", "identity*.pem"))
    return path
