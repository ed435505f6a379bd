#!/usr/bin/env python3
"""Judges how the program behaves: its command line, its exit codes, bad files, lost ranks, what it
leaves behind and what crosses the network.

    run.py --dhole PROGRAM [--model FILE] [--asan-dhole PROGRAM] [--only TEXT]

The model is SmolLM2-135M-Instruct, by default the file that DHOLE_TEST_MODEL names. With a program
built with AddressSanitizer, the bad files, usage errors and full disks are tried on that one.
"""

import ctypes
import glob
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "reference"))

import numpy as np

import make_model
from capture import Capture, found, isolate, windows
from harness import (Dhole, Process, Skip, Suite, arguments, check, complain, sentence, session,
                     tcp_addresses, unable, wait_until)
from llama_numpy import Llama

DONE, FAILED, USAGE, LOST, BAD_FILE, INTERRUPTED = 0, 1, 2, 3, 5, 130
LIMIT = 5  # seconds in which a lost rank must have ended the others
NOBODY = 65534
PR_SET_CHILD_SUBREAPER = 36

JSON_KEYS = ["text", "tokens", "prompt_tokens", "generated", "prefill_tps", "decode_tps", "ranks",
             "parallel", "reason", "sealed_bytes", "plain_bytes", "stop"]
OPTIONS = ["--model", "--prompt", "--raw", "--system", "--max-tokens", "--ranks", "--parallel",
           "--backend", "--seal", "--threads", "--temperature", "--top-k", "--top-p", "--seed", "--stats", "--json",
           "--logits-out"]

# Arguments after `generate --model M --prompt P`, and what the complaint must quote.
BAD_OPTIONS = [
    (["--max-tokens", value], value) for value in ("-1", "x", "", "1e3", "99999999999999999999")
] + [
    (["--ranks", value], value) for value in ("0", "-1", "9", "two", "2x")
] + [
    (["--threads", value], value) for value in ("-1", "many", "1.5", "1000000000")
] + [
    (["--temperature", value], value) for value in ("-0.5", "nan", "inf", "warm", "")
] + [
    (["--top-k", value], value) for value in ("-1", "some", "1.5")
] + [
    (["--top-p", value], value) for value in ("0", "-0.1", "1.5", "nan", "most")
] + [
    (["--seed", value], value) for value in ("-1", "x", "99999999999999999999")
] + [
    (["--parallel", "both"], "both"),
    (["--backend", "mem"], "mem"),
    (["--seal", "maybe"], "maybe"),
    (["--frob"], "--frob"),
    (["-x"], "-x"),
    (["surplus"], "surplus"),
] + [
    ([option], option) for option in OPTIONS if option not in ("--raw", "--stats", "--json")
]


class Generation:
    """A long generation over several ranks, from its first text on."""

    def __init__(self, dhole, parallel, ranks, *options, model=None):
        self.stderr = tempfile.TemporaryFile()
        self.process = dhole.start("generate", "--model", model or dhole.model, "--raw", "--prompt",
                                   "Once upon a time", "--max-tokens", "2000", "--threads", "1",
                                   "--parallel", parallel, "--ranks", str(ranks), *options,
                                   stdin=subprocess.DEVNULL, stderr=self.stderr)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        """Nothing may outlive a case, whatever became of it."""
        for member in session(self.process.pid):
            os.kill(member.pid, signal.SIGKILL)
        self.process.communicate()
        self.stderr.close()

    def wait_for_text(self):
        readable, _, _ = select.select([self.process.stdout], [], [], 30)
        first = readable and os.read(self.process.stdout.fileno(), 1)
        check(first, f"no text: {self.complaints()}")

    def pids(self):
        """In the order of ranks, which is that of starting them."""
        return [member.pid for member in session(self.process.pid)]

    def complaints(self):
        self.stderr.seek(0)
        return self.stderr.read().decode(errors="replace")

    def all_gone(self, seconds):
        return wait_until(lambda: self.process.poll() is not None and not self.pids(), seconds)

    def exit_codes(self, pids, seconds):
        """Of the processes that end in time, where the system still tells."""
        codes = {}

        def ended():
            for pid in set(pids) - set(codes):
                code = exit_code(self.process, pid)
                if code is not None:
                    codes[pid] = code
            return len(codes) == len(pids)

        check(wait_until(ended, seconds),
              f"{len(pids) - len(codes)} of {len(pids)} still running after {seconds} s: "
              f"{self.complaints()}")
        return codes


def exit_code(leader, pid):
    """None while it runs, "unknown" when its parent has taken note of its end already."""
    if pid == leader.pid:
        return leader.poll()
    try:
        process = Process(pid)
    except (FileNotFoundError, ProcessLookupError):
        return "unknown"
    if process.state != "Z":
        return None
    if process.parent == os.getpid():
        os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(process.status)


class Judge:
    def __init__(self, args, scratch):
        self.dhole = Dhole(args.dhole, args.model)
        self.small = os.path.join(scratch, "small.gguf")
        make_model.write(self.small, kind="Q8_0", context=64)
        checks = {"ASAN_OPTIONS": "detect_leaks=1:exitcode=99", "UBSAN_OPTIONS": "exitcode=99"}
        self.careful = Dhole(args.asan_dhole or args.dhole, self.small, checks)
        self.scratch = scratch

    def path(self, name, content=None):
        path = os.path.join(self.scratch, name)
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
        return path

    def try_generate(self, *options, model=None, prompt="Hello", **run):
        return self.careful.run("generate", "--model", model or self.small, "--prompt", prompt,
                                *options, **run)

    # The command line.

    def help_and_version(self):
        for words in ["help"], ["--help"], ["help", "generate"], ["generate", "--help"]:
            ended = self.careful.run(*words)
            check(ended.code == DONE and ended.out and not ended.err, f"{words}: {ended}")
        listing = self.careful.run("help").out.decode()
        for command in "generate", "tokenize", "version", "help":
            check(command in listing, f"help does not name {command}")
            check(self.careful.run("help", command).code == DONE, f"no help for {command}")
        page = self.careful.run("help", "generate").out.decode()
        for option in OPTIONS:
            check(option in page, f"help generate does not explain {option}")
        for code in range(6):
            check(re.search(rf"\b{code}\b", listing + page), f"exit code {code} is not documented")
        version = self.careful.run("version")
        check(re.search(rb"\d+\.\d+\.\d+", version.out), str(version))
        described = json.loads(self.careful.run("version", "--json").out)
        check(described["version"].encode() in version.out, f"{described} is not {version}")
        check({"ring", "shm", "mem"} <= set(described["backends"]), f"{described}")

    def usage(self):
        tries = [
            ([], "help"),
            (["frobnicate"], "frobnicate"),
            (["help", "frobnicate"], "frobnicate"),
            (["version", "--frob"], "--frob"),
            (["generate"], "--model"),
            (["generate", "--model", self.small], "--prompt"),
            (["generate", "--prompt", "x"], "--model"),
            (["tokenize", "--text", "x"], "--model"),
            (["tokenize", "--model", self.small], "--text"),
        ]
        start = ["generate", "--model", self.small, "--prompt", "x"]
        tries += [(start + options, quoted) for options, quoted in BAD_OPTIONS]
        for words, quoted in tries:
            try:
                sentence(self.careful.run(*words), USAGE, quoted, "help")
            except AssertionError as error:
                raise AssertionError(f"{words}: {error}")
        return f"{len(tries)} command lines"

    def json_object(self):
        options = ["--max-tokens", 8, "--threads", 1, "--ranks", 2]
        answer = self.dhole.generate("Hello", *options)
        check(sorted(answer) == sorted(JSON_KEYS), f"keys {list(answer)}")
        check(answer["generated"] == len(answer["tokens"]) == 8, f"{answer}")
        check((answer["stop"], answer["ranks"]) == ("length", 2), f"{answer}")
        check(answer["parallel"] in ("tp", "pp") and answer["reason"], f"{answer}")
        check(answer["prefill_tps"] > 0 and answer["decode_tps"] > 0, f"{answer}")
        check(answer["plain_bytes"] == 0 and answer["sealed_bytes"] > 0, f"{answer}")
        clear = self.dhole.generate("Hello", *options, "--seal", "off")
        check(clear["sealed_bytes"] == 0 and clear["plain_bytes"] > 0, f"{clear}")
        memory = answer["sealed_bytes"]
        sealed = self.dhole.generate("Hello", *options, "--seal", "on")
        check(sealed["plain_bytes"] == 0 and sealed["sealed_bytes"] > memory + 10000,
              f"{memory} sealed bytes become {sealed}")
        ring = self.dhole.generate("Hello", *options, "--backend", "ring")
        check(ring["plain_bytes"] == 0 and ring["sealed_bytes"] > memory + 10000,
              f"{memory} sealed bytes become {ring}")
        check(clear["text"] == answer["text"], "without a seal they say something else")
        alone = self.dhole.generate("Hello", "--max-tokens", 8, "--threads", 1)
        check((alone["parallel"], alone["ranks"]) == ("single", 1), f"{alone}")
        check(alone["sealed_bytes"] == alone["plain_bytes"] == 0, f"{alone}")
        check(alone["text"] == answer["text"], "two ranks say something else")

    def text(self):
        """The text goes to stdout, what --stats says to stderr; a prompt comes from stdin too."""
        options = ["generate", "--model", self.dhole.model, "--max-tokens", "48", "--threads", "1"]
        prompt = "Write a line of emoji and one of Chinese."
        answer = self.dhole.generate(prompt, *options[3:])
        said = self.dhole.run(*options, "--prompt", prompt, "--stats")
        check(said.code == DONE and said.err, f"{said}")
        check(said.out.decode().strip() == answer["text"].strip(), f"{said} is not {answer}")
        piped = self.dhole.run(*options, "--prompt", "-", stdin=prompt.encode())
        check(piped.out == said.out, f"{piped} is not {said}")
        check(not piped.err, f"chatter on stderr: {piped}")
        invalid = self.dhole.run(*options[:3], "--max-tokens", "4", "--raw", "--json",
                                 "--prompt", b"\xc3( caf\xc3")
        check(invalid.code == DONE and json.loads(invalid.out)["generated"] == 4, f"{invalid}")

    def terminal(self):
        """What comes next there begins on a line of its own."""
        near, far = os.openpty()
        answer = self.dhole.generate("Hello", "--max-tokens", "4")
        said = subprocess.run([self.dhole.path, "generate", "--model", self.dhole.model, "--prompt",
                               "Hello", "--max-tokens", "4"], stdout=far, stderr=subprocess.PIPE,
                              timeout=60)
        os.close(far)
        check(said.returncode == DONE and not said.stderr, f"{said}")
        shown = os.read(near, 4096).replace(b"\r\n", b"\n").decode()
        os.close(near)
        check(shown == answer["text"] + "\n", f"{shown!r} is not {answer}")

    def empty_prompt(self):
        for text in "", "-":
            ended = self.try_generate("--raw", prompt=text)
            check(ended.code in (FAILED, USAGE), f"{ended}")
            sentence(ended, ended.code, "prompt")
        ended = self.try_generate("--max-tokens", 1, prompt="")
        check(ended.code == DONE, f"refused with a template: {ended}")

    def context(self):
        """The small model's is 64 tokens."""
        sentence(self.try_generate("--raw", prompt="x" * 200), FAILED, "200", "64")
        sentence(self.try_generate("--raw", "--ranks", 2, prompt="x" * 200), FAILED, "200", "64")
        for options in [], ["--ranks", 2, "--parallel", "pp"], ["--ranks", 2, "--parallel", "tp"]:
            ended = self.try_generate("--raw", "--json", "--max-tokens", 500, *options,
                                      prompt="x" * 60)
            check(ended.code == DONE, f"{ended}")
            answer = json.loads(ended.out)
            check(answer["stop"] in ("context", "end"), f"{answer}")
            check(answer["generated"] <= 5, f"{answer}")
        none = json.loads(self.try_generate("--json", "--max-tokens", 0).out)
        check((none["generated"], none["stop"]) == (0, "length"), f"{none}")

    def long_word(self):
        """A megabyte without a space: refused, and soon."""
        ended = self.dhole.run("generate", "--model", self.dhole.model, "--raw", "--prompt", "-",
                               stdin=b"ab" * 500_000, timeout=30)
        sentence(ended, FAILED, "8192")

    def impossible_splits(self):
        """Refused in words; an explicit choice is never changed."""
        for parallel, ranks in ("single", 2), ("tp", 3), ("pp", 5):
            ended = self.try_generate("--parallel", parallel, "--ranks", ranks)
            check(ended.code in (FAILED, USAGE), f"{parallel} on {ranks}: {ended}")
            sentence(ended, ended.code, parallel)
        ended = self.try_generate("--ranks", 3, "--json", "--max-tokens", 2)
        check(ended.code == DONE and json.loads(ended.out)["parallel"] == "pp", f"{ended}")

    # Output that cannot be written.

    def unwritable(self):
        for path in os.path.join(self.scratch, "no", "such"), self.scratch, "/dev/full":
            for ranks in 1, 2:
                ended = self.try_generate("--logits-out", path, "--ranks", ranks, "--max-tokens", 4)
                complain(ended, FAILED, path)
        with open("/dev/full", "wb") as full:
            for options in [], ["--json"], ["--ranks", 2]:
                complain(self.try_generate("--max-tokens", 4, *options, stdout=full), FAILED)
            for words in (["help"], ["version"], ["version", "--json"],
                          ["tokenize", "--model", self.small, "--text", "x"]):
                complain(self.careful.run(*words, stdout=full), FAILED)

    def logits_over_model(self):
        """Must not destroy the file that it reads."""
        with open(self.small, "rb") as file:
            content = file.read()
        copy = self.path("copy.gguf", content)
        sentence(self.try_generate("--logits-out", copy, model=copy), FAILED, copy)
        with open(copy, "rb") as file:
            check(file.read() == content, "the model was overwritten")

    def closed_stdout(self):
        complain(self.try_generate("--max-tokens", 4, "--ranks", 2, stdout=None,
                                   preexec_fn=lambda: os.close(1)), FAILED)

    def reader_gone(self):
        """As in `dhole generate ... | head -c 1`."""
        with Generation(self.dhole, "pp", 2) as run:
            run.wait_for_text()
            run.process.stdout.close()
            run.process.stdout = None
            check(run.all_gone(LIMIT), "still running without a reader")
            check(run.process.returncode in (FAILED, -signal.SIGPIPE),
                  f"exit code {run.process.returncode}")

    def as_nobody(self):
        """Files that may not be read or written, for a user to whom that applies."""
        if os.geteuid() != 0:
            raise Skip("needs root, to become another user")
        nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        os.chmod(self.scratch, 0o755)
        try:
            check(self.careful.run("version", **nobody).code == DONE, "cannot run")
        except (PermissionError, AssertionError):
            raise Skip("another user cannot run the program where it lies")
        with open(self.small, "rb") as file:
            secret = self.path("unreadable.gguf", file.read())
        os.chmod(secret, 0)
        sentence(self.try_generate(model=secret, **nobody), BAD_FILE, secret, "ermission")
        out = self.path("forbidden")
        complain(self.try_generate("--logits-out", out, **nobody), FAILED, out, "ermission")

    # Bad files.

    def cut_in_use(self):
        """By whoever writes it anew while it is read."""
        with open(self.dhole.model, "rb") as file:
            model = self.path("used.gguf", file.read())
        with Generation(self.dhole, "auto", 1, model=model) as run:
            run.wait_for_text()
            os.truncate(model, 4096)
            check(run.all_gone(LIMIT), "still running without a model")
            check(run.process.returncode == BAD_FILE, f"exit code {run.process.returncode}: {run.complaints()}")
            check("was cut short" in run.complaints(), run.complaints())

    def bad_file(self, path, what):
        try:
            sentence(self.try_generate("--max-tokens", 1, model=path, timeout=20), BAD_FILE, path)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}")

    def not_a_model(self):
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        absent = os.path.join(self.scratch, "absent")
        for path in absent, self.scratch, fifo, "/dev/null", "/dev/zero":
            self.bad_file(path, path)
        contents = {
            "empty": b"", "one byte": b"G", "magic only": b"GGUF", "text": b"Hello, world\n" * 999,
            "zeros": bytes(4096), "ELF": open(sys.executable, "rb").read(1 << 16),
            "safetensors": struct.pack("<Q", 64) + b'{"a":{"dtype":"F32","shape":[1]}}'.ljust(128),
        }
        for name, content in contents.items():
            self.bad_file(self.path("bad", content), name)
        ended = self.try_generate("--ranks", 2, model=self.path("bad", b"GGUF"))
        sentence(ended, BAD_FILE)
        ended = self.careful.run("tokenize", "--text", "x", "--model", self.path("bad", b"GGUF"))
        sentence(ended, BAD_FILE)

    def truncated(self):
        """Everywhere in the header, and in the data."""
        with open(self.small, "rb") as file:
            content = file.read()
        header = content.index(b"output_norm.weight")
        cuts = [*range(4, 64, 5), *range(64, header, header // 48), header + 20, header + 100]
        cuts += [*range(header + 4000, len(content), len(content) // 12), len(content) - 1]
        for cut in cuts:
            self.bad_file(self.path("cut.gguf", content[:cut]), f"cut to {cut} bytes")
        with open(self.dhole.model, "rb") as file:
            beginning = file.read(4 << 20)
        for cut in 1 << 10, 1 << 20, 4 << 20:
            self.bad_file(self.path("cut.gguf", beginning[:cut]), f"cut to {cut} bytes")
        return f"{len(cuts) + 3} cuts"

    def corrupt(self):
        """Numbers in the header that lie."""
        with open(self.small, "rb") as file:
            content = file.read()

        def after(name):
            """Where the bytes begin that follow a key, or a tensor's name."""
            length_and_name = struct.pack("<Q", len(name)) + name.encode()
            return content.index(length_and_name) + len(length_and_name)

        big = [1 << 20, 1 << 31, 1 << 32, 1 << 40, 1 << 62, 1 << 63, (1 << 64) - 1]
        tensor = after("token_embd.weight")
        words = after("tokenizer.ggml.tokens")
        huge = (1 << 31, (1 << 32) - 1)
        fields = [
            ("version", 4, "I", (0, 1, 4, 3 << 24)),
            ("tensor count", 8, "Q", big),
            ("key count", 16, "Q", big),
            ("key length", 24, "Q", big),
            ("value type", after("llama.block_count"), "I", (8, 9, 13, 99)),
            ("string length", after("general.name") + 4, "Q", big),
            ("array type", words + 4, "I", (4, 9, 99)),
            ("array length", words + 8, "Q", [0, *big]),
            ("layers", after("llama.block_count") + 4, "I", (0, 5, *huge)),
            ("hidden size", after("llama.embedding_length") + 4, "I", (0, 3, *huge)),
            ("feed-forward size", after("llama.feed_forward_length") + 4, "I", (0, 3, *huge)),
            ("heads", after("llama.attention.head_count") + 4, "I", (0, 3, *huge)),
            ("KV heads", after("llama.attention.head_count_kv") + 4, "I", (0, 3, *huge)),
            ("context", after("llama.context_length") + 4, "I", (0,)),
            ("rope dimensions", after("llama.rope.dimension_count") + 4, "I", (7, 1 << 20, *huge)),
            ("dimensions", tensor, "I", (0, 1, 5, *huge)),
            ("columns", tensor + 4, "Q", [0, 1, 33, *big]),
            ("rows", tensor + 12, "Q", [0, 1, *big]),
            ("tensor type", tensor + 20, "I", (0, 4, 14, 255, *huge)),
            ("offset", tensor + 24, "Q", [1, *big]),
        ]
        tries = 0
        for what, at, form, values in fields:
            for value in values:
                changed = bytearray(content)
                struct.pack_into("<" + form, changed, at, value)
                self.bad_file(self.path("corrupt.gguf", changed), f"{what} = {value:#x}")
                tries += 1
        renamed = content.replace(b"llama", b"gpt2x")
        self.bad_file(self.path("corrupt.gguf", renamed), "another architecture")
        missing = content.replace(b"blk.3.ffn_down", b"blk.3.ffn_xxxx")
        self.bad_file(self.path("corrupt.gguf", missing), "a tensor is missing")
        return f"{tries + 2} changes"

    # Ranks that are lost.

    def lost_rank(self, parallel, ranks, victim, how):
        """The others end in time, with the code and a sentence that names the victim."""
        with Generation(self.dhole, parallel, ranks) as run:
            run.wait_for_text()
            pids = run.pids()
            check(len(pids) == ranks, f"{len(pids)} processes for {ranks} ranks")
            start = time.monotonic()
            os.kill(pids[victim], how)
            codes = run.exit_codes(pids[:victim] + pids[victim + 1 :], LIMIT)
            seconds = time.monotonic() - start
            wrong = {pids.index(pid): code for pid, code in codes.items()
                     if code not in (LOST, "unknown")}
            check(not wrong, f"exit codes by rank: {wrong}: {run.complaints()}")
            if victim == 0:
                check("unknown" not in codes.values(), "an exit code was missed")
            check(re.search(rf"\brank {victim}\b", run.complaints()),
                  f"rank {victim} is not named: {run.complaints()!r}")
            if victim == 0 and how == signal.SIGSTOP:
                os.kill(pids[0], signal.SIGCONT)
                check(run.exit_codes(pids[:1], LIMIT)[pids[0]] == LOST, "rank 0 went on alone")
            check(run.all_gone(2), f"left behind: {run.pids()} of {pids}")
            return f"after {seconds:.2f} s"

    def interrupted(self, parallel, ranks, everyone, number=signal.SIGINT):
        """As Ctrl-C does it, which reaches every process of the terminal, or rank 0 alone."""
        with Generation(self.dhole, parallel, ranks) as run:
            run.wait_for_text()
            (os.killpg if everyone else os.kill)(run.process.pid, number)
            check(run.all_gone(LIMIT), f"left behind: {run.pids()}")
            code = run.process.returncode
            check(code == 128 + number, f"exit code {code}: {run.complaints()}")
            check(not re.search("lost|rank|rror", run.complaints()), run.complaints())

    def interrupted_json(self):
        logits = self.path("growing")
        with Generation(self.dhole, "pp", 2, "--json", "--logits-out", logits) as run:
            begun = wait_until(lambda: size_of(logits + "*"), 30)
            check(begun, f"no logits: {run.complaints()}")
            os.killpg(run.process.pid, signal.SIGINT)
            out, _ = run.process.communicate(timeout=LIMIT)
            check(run.process.returncode == INTERRUPTED, f"exit code {run.process.returncode}")
            answer = json.loads(out)
            check(answer["stop"] == "interrupted", f"{answer}")
            rows = size_of(logits) / 4 / 49152
            check(rows == answer["generated"] > 0, f"{rows} rows for {answer['generated']} tokens")

    def interrupted_early(self):
        """While the ranks are still being started."""
        with Generation(self.dhole, "tp", 3) as run:
            check(wait_until(lambda: len(run.pids()) > 1, 10), "no second process")
            os.killpg(run.process.pid, signal.SIGINT)
            check(run.all_gone(LIMIT), f"left behind: {run.pids()}")
            check(run.process.returncode in (INTERRUPTED, -signal.SIGINT),
                  f"exit code {run.process.returncode}: {run.complaints()}")

    # What others can see.

    def secrets(self):
        """No key and no prompt in a started rank's arguments or environment, and no socket beyond
        the loopback interface."""
        prompt = b"The owl flies at midnight, and the fox knows why."
        command = ["generate", "--model", self.dhole.model, "--prompt", "-", "--max-tokens", "2000",
                   "--ranks", "3", "--parallel", "pp", "--threads", "1", "--raw"]
        process = self.dhole.start(*command)
        try:
            process.stdin.write(prompt)
            process.stdin.close()
            check(os.read(process.stdout.fileno(), 1), "no text")
            given = {os.fsencode(f"{name}={value}") for name, value in self.dhole.env.items()}
            ranks = session(process.pid)
            check(len(ranks) == 3, f"{len(ranks)} processes")
            for rank in ranks:
                arguments = read(f"/proc/{rank.pid}/cmdline")
                environment = read(f"/proc/{rank.pid}/environ")
                added = set(filter(None, environment.split(b"\0"))) - given
                check(not added, f"added to the environment: {added}")
                check(prompt not in arguments, f"the prompt is in {arguments!r}")
                check(not re.search(rb"PRIVATE|-----|[A-Za-z0-9+=]{32}", arguments),
                      f"what looks like a key is in {arguments!r}")
                for address in tcp_addresses(rank.pid):
                    check(address in LOOPBACK, f"rank with pid {rank.pid} uses {address}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.stdin = None
            process.communicate()

    def wire(self, parallel, model, prompt):
        """Nothing that is known of the computation crosses in the clear. The silent model's
        activations between layers are the embedding rows, bit for bit."""
        tokens = self.dhole.tokenize(prompt, model=model)
        logits_path = self.path("wire-logits")
        isolate()
        with Capture() as capture:
            answer = self.dhole.generate(prompt, "--raw", "--ranks", 2, "--parallel", parallel,
                                         "--backend", "ring", "--threads", 1, "--max-tokens", 8,
                                         "--logits-out", logits_path, model=model)
        rows = np.fromfile(logits_path, "<f4").reshape(answer["generated"], -1)
        embedding = Llama(model).weight("token_embd.weight")[tokens]
        known = {
            "prompt": windows(prompt.encode(), 8),
            "prompt's tokens": windows(np.array(tokens, "<i4").tobytes(), 8),
            "logits": [piece for row in rows for piece in windows(row.tobytes())],
            "activations": [piece for row in embedding for piece in windows(row.tobytes())],
        }
        streams = capture.streams()
        volume = sum(map(len, streams.values()))
        check(capture.dropped == 0, f"the capture lost {capture.dropped} packets")
        check(volume >= answer["sealed_bytes"] > 0,
              f"captured {volume} bytes, sealed {answer['sealed_bytes']}")
        check(any(b"\x16\x03" in stream[:64] for stream in streams.values()), "no TLS handshake")
        check(answer["plain_bytes"] == 0, f"{answer['plain_bytes']} bytes in the clear")
        for what, patterns in known.items():
            check(patterns, f"too little is known of the {what}")
            check(not found(patterns, streams), f"the {what} crossed in the clear")
        plant(known)
        return f"{volume} bytes captured"


LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def size_of(pattern):
    """Of the files that match, all together."""
    return sum(os.path.getsize(path) for path in glob.glob(pattern))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def plant(known):
    """The search finds what is sent in the clear: it can fail."""
    with Capture() as capture, socket.create_server(("127.0.0.1", 0)) as server:
        for patterns in known.values():
            with socket.create_connection(server.getsockname()) as sender:
                sender.sendall(b"padding" + patterns[0])
            server.accept()[0].close()
    for what, patterns in known.items():
        check(found(patterns, capture.streams()), f"the search misses the {what} sent in the clear")


def main():
    parser = arguments(__doc__)
    parser.add_argument("--model", default=os.environ.get("DHOLE_TEST_MODEL"))
    parser.add_argument("--asan-dhole", help="the program built with AddressSanitizer")
    args = parser.parse_args()
    missing = None if args.model else "no model, neither --model nor DHOLE_TEST_MODEL is set"
    if unable(missing):
        return 0
    # Ranks whose parent was killed become this process's, so that their exit codes can be seen.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    suite = Suite(args.only)
    with tempfile.TemporaryDirectory() as scratch:
        judge = Judge(args, scratch)
        suite.case("help-and-version", judge.help_and_version)
        suite.case("usage", judge.usage)
        suite.case("json", judge.json_object)
        suite.case("text", judge.text)
        suite.case("terminal", judge.terminal)
        suite.case("empty-prompt", judge.empty_prompt)
        suite.case("context", judge.context)
        suite.case("long-word", judge.long_word)
        suite.case("impossible-splits", judge.impossible_splits)
        suite.case("unwritable", judge.unwritable)
        suite.case("logits-over-model", judge.logits_over_model)
        suite.case("closed-stdout", judge.closed_stdout)
        suite.case("reader-gone", judge.reader_gone)
        suite.case("as-nobody", judge.as_nobody)
        suite.case("file/not-a-model", judge.not_a_model)
        suite.case("file/truncated", judge.truncated)
        suite.case("file/cut-in-use", judge.cut_in_use)
        suite.case("file/corrupt", judge.corrupt)
        for how in signal.SIGKILL, signal.SIGSTOP:
            for parallel, ranks, victim in (("pp", 2, 1), ("pp", 2, 0), ("tp", 2, 1), ("tp", 2, 0),
                                            ("pp", 3, 1), ("pp", 3, 2), ("tp", 3, 2), ("tp", 3, 0)):
                suite.case(f"lost/{parallel}-{ranks}/{how.name}-rank-{victim}", judge.lost_rank,
                           parallel, ranks, victim, how)
        for parallel, ranks in ("single", 1), ("pp", 2), ("tp", 3):
            for everyone in True, False:
                whom = "everyone" if everyone else "rank-0"
                suite.case(f"interrupt/{parallel}-{ranks}/{whom}", judge.interrupted, parallel,
                           ranks, everyone)
        suite.case("interrupt/json", judge.interrupted_json)
        suite.case("interrupt/early", judge.interrupted_early)
        suite.case("secrets", judge.secrets)
        silent = os.path.join(scratch, "silent.gguf")
        make_model.write(silent, kind="F32", silent=True)
        prompt = "the owl flies at midnight, and only the old red fox in the barn knows the reason"
        suite.case("wire/pp", judge.wire, "pp", silent, prompt)
        suite.case("wire/tp", judge.wire, "tp", args.model, prompt)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())
