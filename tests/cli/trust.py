#!/usr/bin/env python3
"""Judges `dhole id`, `trust`, `pair` and the pairing part of `join`: one key a machine, whom it trusts, and
that a token lets one machine in, once, and nobody else.

    trust.py --dhole PROGRAM [--only TEXT]
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

from harness import Dhole, Ended, Skip, Suite, arguments, check, sentence, unable, wait_until

DONE, FAILED, USAGE, LOST, AUTH, BAD_FILE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
WAIT = 60  # for what takes a moment; long, as machines under test are busy
FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
REFUSED = "the machine that made the token refused"

# Command lines, and what the complaint must quote.
BAD = [
    (["id", "--frob"], "--frob"),
    (["id", "more"], "more"),
    (["id", "--identity"], "--identity"),
    (["trust"], "add NAME FINGERPRINT"),
    (["trust", "frob"], "add NAME FINGERPRINT"),
    (["trust", "add", "lab"], "add NAME FINGERPRINT"),
    (["trust", "remove"], "remove NAME"),
    (["trust", "list", "more"], "list"),
    (["trust", "add", "a", "b", "c", "d"], "d"),
    (["trust", "add", "lab", "sha256:" + 64 * "0", "0.0.0.0:7777"], "nobody can call 0.0.0.0:7777"),
    (["trust", "add", "lab", "sha256:" + 64 * "0", "10.0.0.1:0"], "nobody can call 10.0.0.1:0"),
    (["pair", "--valid", "0"], "--valid"),
    (["pair", "--valid", "soon"], "soon"),
    (["pair", "--listen", "7777"], "7777"),
    (["pair", "--frob"], "--frob"),
    (["pair", "more"], "more"),
]


def fake_fingerprint(number):
    return f"sha256:{number:064x}"


def listening(pid):
    """The addresses at which a process listens, as /proc/net/tcp has them."""
    sockets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    found = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/net/{table}") as lines:
            fields = [line.split() for line in lines][1:]
            found += [f[1] for f in fields if f[3] == "0A" and f"socket:[{f[9]}]" in sockets]
    return found


def decode(token):
    text = token.removeprefix("dhole1-")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def mix(token, other):
    """The first token with the secret of the other one."""
    data = decode(token)[:32] + decode(other)[32:48] + decode(token)[48:-4]
    data += hashlib.sha256(data).digest()[:4]
    return "dhole1-" + base64.urlsafe_b64encode(data).decode().rstrip("=")


def secret_of(token):
    """What a token's secret looks like in the forms in which it could leak."""
    text = token.removeprefix("dhole1-")
    secret = decode(token)[32:48]
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), text.encode(), text[43:64].encode(),
            base64.b64encode(secret)[:20], base64.urlsafe_b64encode(secret)[:20]]


OPENSSL_WITH_TPM = """
openssl_conf = all
[all]
providers = providers
alg_section = preferences
[providers]
default = active
tpm2 = active
[active]
activate = 1
[preferences]
default_properties = ?provider=tpm2,tpm2.digest!=yes,tpm2.cipher!=yes
"""


@contextlib.contextmanager
def simulated_tpm(folder):
    """A TPM with a P-256 key at the handle 0x81000001; gives the variables that lead OpenSSL to it."""
    os.makedirs(folder)
    path = os.path.join(folder, "tpm")
    tcti = f"swtpm:path={path}"
    conf = os.path.join(folder, "openssl.cnf")
    with open(conf, "w") as file:
        file.write(OPENSSL_WITH_TPM)
    tpm = subprocess.Popen(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--server",
                            f"type=unixio,path={path}", "--ctrl", f"type=unixio,path={path}.ctrl", "--flags",
                            "not-need-init,startup-clear"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    env = {**os.environ, "TPM2TOOLS_TCTI": tcti}
    key = os.path.join(folder, "key.ctx")
    make = [["tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc256", "-c", key, "-a",
             "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"],
            ["tpm2_evictcontrol", "-Q", "-C", "o", "-c", key, "0x81000001"], ["tpm2_flushcontext", "-t"]]
    try:
        for command in make:  # the first fails until swtpm listens
            check(wait_until(lambda: subprocess.run(command, env=env, capture_output=True, timeout=WAIT).returncode == 0,
                             WAIT), f"{command}")
        yield {"TPM2OPENSSL_TCTI": tcti, "OPENSSL_CONF": conf}
    finally:
        tpm.kill()
        tpm.wait()


OPENSSL_WITH_TOKEN = """
openssl_conf = all
[all]
providers = providers
[providers]
default = active
pkcs11 = token
[active]
activate = 1
[token]
pkcs11-module-path = {module}
activate = 1
"""
SOFTHSM = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"]
PIN, WRONG_PIN = "432100", "765400"


def soft_token(folder, module):
    """The token `pack` of SoftHSM with P-256 keys named maker and joiner and an RSA key named rsa; gives the variables
    that lead OpenSSL to it."""
    os.makedirs(os.path.join(folder, "tokens"))
    conf, keys, pem = (os.path.join(folder, name) for name in ("openssl.cnf", "softhsm2.conf", "key.pem"))
    with open(conf, "w") as file:
        file.write(OPENSSL_WITH_TOKEN.format(module=module))
    with open(keys, "w") as file:
        file.write(f"directories.tokendir = {folder}/tokens\n")
    commands = [["softhsm2-util", "--init-token", "--free", "--label", "pack", "--so-pin", PIN, "--pin", PIN]]
    p256 = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    for number, name, kind in ("01", "maker", p256), ("02", "joiner", p256), ("03", "rsa", ["RSA"]):
        commands += [["openssl", "genpkey", "-out", pem, "-algorithm", *kind],
                     ["softhsm2-util", "--import", pem, "--token", "pack", "--label", name, "--id", number, "--pin", PIN]]
    for command in commands:
        made = subprocess.run(command, env={**os.environ, "SOFTHSM2_CONF": keys}, capture_output=True, timeout=WAIT)
        check(made.returncode == 0, f"{command}: {made}")
    return {"SOFTHSM2_CONF": keys, "OPENSSL_CONF": conf}


def has_provider(name):
    shown = subprocess.run(["openssl", "version", "-m"], capture_output=True, text=True).stdout
    folder = os.environ.get("OPENSSL_MODULES") or "".join(re.findall('"(.*)"', shown))
    return os.path.exists(os.path.join(folder, f"{name}.so"))


class Machine:
    """A configuration directory of its own."""

    def __init__(self, path, scratch, name):
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("DHOLE_", "XDG_"))}
        self.home = os.path.join(scratch, name)
        self.name = name
        self.dhole = Dhole(path, None)
        self.dhole.env = {**clean, "HOME": self.home, "DHOLE_LOG": "debug"}
        self.config = os.path.join(self.home, ".config", "dhole")
        self.trusted = os.path.join(self.config, "trusted")
        self.pem = os.path.join(self.config, "identity.pem")

    def run(self, *args, code=DONE, **options):
        ended = self.dhole.run(*args, **options)
        check(ended.code == code, f"{args}: expected exit {code}: {ended}")
        return ended

    def refuses(self, *args, code, why, **options):
        ended = self.run(*args, code=code, **options)
        check(why in ended.err.decode(), f"{args}: {why!r} is not in {ended}")
        return ended

    def id(self):
        return self.run("id").out.decode().strip()

    def list(self):
        return json.loads(self.run("trust", "list", "--json").out)["trusted"]

    def write_trusted(self, text):
        os.makedirs(self.config, mode=0o700, exist_ok=True)
        with open(self.trusted, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def read_trusted(self):
        with open(self.trusted) as file:
            return file.read()

    @contextlib.contextmanager
    def pairing(self, *args, **options):
        """dhole pair under way; its first line is read."""
        process = self.dhole.start("pair", "--name", self.name, *args, **options)
        try:
            process.first = process.stdout.readline()
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


class Judge:
    def __init__(self, path, scratch):
        self.path, self.scratch, self.count = path, scratch, 0

    def machine(self, name):
        self.count += 1
        return Machine(self.path, os.path.join(self.scratch, str(self.count)), name)

    # Keys.

    def identity(self):
        machine = self.machine("a")
        first = machine.id()
        check(FINGERPRINT.fullmatch(first), first)
        check(machine.id() == first, "another key the second time")
        check(stat.S_IMODE(os.stat(machine.pem).st_mode) == 0o600, "mode of the key")
        check(stat.S_IMODE(os.stat(machine.config).st_mode) == 0o700, "mode of its directory")
        shown = json.loads(machine.run("id", "--json").out)
        check(list(shown) == ["name", "fingerprint"] and shown["fingerprint"] == first, f"{shown}")

    def where(self):
        machine = self.machine("a")
        path = os.path.join(machine.home, "elsewhere", "key.pem")
        one = machine.run("id", "--identity", path).out
        check(machine.run("id", "--identity", f"file:{path}").out == one, "another key behind the URI")
        check(machine.run("id", env={**machine.dhole.env, "DHOLE_IDENTITY": path}).out == one, "DHOLE_IDENTITY")
        check(not os.path.exists(machine.config), "the default was made as well")
        machine.refuses("id", "--identity", "pkcs11:object=x?pin-value=4321", code=FAILED, why="pkcs11:object=x:",
                        env={**machine.dhole.env, "OPENSSL_CONF": os.devnull})

    def bad_keys(self):
        machine = self.machine("a")
        machine.id()
        os.chmod(machine.pem, 0o644)
        machine.refuses("id", code=AUTH, why="chmod 600")
        with open(machine.pem, "w") as file:
            file.write("no key\n")
        os.chmod(machine.pem, 0o600)
        machine.refuses("id", code=BAD_FILE, why=machine.pem)

    def one_key(self):
        """Processes that all come first show one key."""
        machine = self.machine("a")
        started = [machine.dhole.start("id") for _ in range(8)]
        shown = {process.communicate()[0] for process in started}
        check(len(shown) == 1 and shown == {machine.id().encode() + b"\n"}, f"{shown}")

    def tpm(self):
        """A key that no program can read: in a (simulated) TPM, by way of OpenSSL's provider for those."""
        if not all(map(shutil.which, ("swtpm", "tpm2_createprimary", "openssl"))) or not has_provider("tpm2"):
            raise Skip("no swtpm, tpm2-tools or tpm2-openssl")
        a, b = self.machine("maker"), self.machine("joiner")
        with simulated_tpm(os.path.join(self.scratch, "tpm")) as variables:
            a.dhole.env.update(variables)
            with a.pairing("--identity", "handle:0x81000001") as process:
                b.run("join", process.first.decode().strip(), "--name", "joiner")
                _, err = process.communicate(timeout=WAIT)
                check(process.returncode == DONE, f"exit {process.returncode}: {err}")
            shown = a.run("id", "--identity", "handle:0x81000001").out.decode().strip()
        check(b.list() == [{"name": "maker", "fingerprint": shown, "address": None}], f"{b.list()}")
        check(not os.path.exists(a.pem), "a key in a file as well")

    def token(self):
        """Keys in a token, by way of OpenSSL's provider for PKCS #11: both sides sign with one."""
        module = next(filter(os.path.exists, SOFTHSM), None)
        if module is None or not all(map(shutil.which, ("softhsm2-util", "openssl"))) or not has_provider("pkcs11"):
            raise Skip("no softhsm2, or no pkcs11-provider, which Debian has from 13 on")
        variables = soft_token(os.path.join(self.scratch, "token"), module)
        a, b = self.machine("maker"), self.machine("joiner")
        for machine in (a, b):
            machine.dhole.env.update(variables, DHOLE_IDENTITY=f"pkcs11:token=pack;object={machine.name}?pin-value={PIN}")
        with a.pairing() as process:
            joined = b.run("join", process.first.decode().strip(), "--name", "joiner")
            _, err = process.communicate(timeout=WAIT)
            check(process.returncode == DONE, f"exit {process.returncode}: {err}")
            check(PIN not in (err + joined.err).decode(), "the PIN is in a log")
        check(b.list()[0]["fingerprint"] == a.id() and a.list()[0]["fingerprint"] == b.id(), f"{a.list()} {b.list()}")
        check(not os.path.exists(a.pem) and not os.path.exists(b.pem), "a key in a file as well")
        self.refused_keys(a, os.path.join(self.scratch, "nowhere"))

    def refused_keys(self, machine, nowhere):
        """None of these asks for a PIN, shows one, waits, or takes the program down."""
        maker = "pkcs11:token=pack;object=maker"
        for code, why, uri in ((BAD_FILE, "PIN is missing", maker),
                               (BAD_FILE, "PIN is missing or wrong", f"{maker}?pin-value={WRONG_PIN}"),
                               (BAD_FILE, "PIN is missing or wrong", f"{maker};pin-value={WRONG_PIN}"),
                               (BAD_FILE, "none of that name", f"pkcs11:token=none;object=maker?pin-value={PIN}"),
                               (BAD_FILE, "none of that name", f"pkcs11:token=pack;object=none?pin-value={PIN}"),
                               (BAD_FILE, "not a P-256 key", f"pkcs11:token=pack;object=rsa?pin-value={PIN}"),
                               (BAD_FILE, "several private keys", f"pkcs11:token=pack?pin-value={PIN}"),
                               (FAILED, "cannot open the key store", f"{maker}?pin-source=file:{nowhere}")):
            self.refuses_key(machine, uri, code, why)
        machine.dhole.env["OPENSSL_CONF"] = os.devnull
        self.refuses_key(machine, f"{maker}?pin-value={PIN}", FAILED, "no provider for the key store")

    def refuses_key(self, machine, uri, code, why):
        process = machine.dhole.start("id", "--identity", uri)
        try:
            process.wait(WAIT)  # its stdin stays open, and nothing comes of it
        finally:
            process.kill()
            out, err = process.communicate()
        ended = Ended(process.returncode, out, err, 0)
        sentence(ended, code, why)
        check(not any(pin in err.decode() for pin in (PIN, WRONG_PIN)), f"a PIN is shown: {ended}")

    # Whom it trusts.

    def trust(self):
        machine = self.machine("a")
        check(machine.list() == [], "not empty at first")
        machine.run("trust", "add", "lab1", fake_fingerprint(1), "10.0.0.1:7777")
        machine.run("trust", "add", "lab2", fake_fingerprint(2))
        machine.run("trust", "add", "lab1", fake_fingerprint(1), "[::1]:7778")
        check(machine.list() == [
            {"name": "lab1", "fingerprint": fake_fingerprint(1), "address": "[::1]:7778"},
            {"name": "lab2", "fingerprint": fake_fingerprint(2), "address": None}], f"{machine.list()}")
        check(machine.run("trust", "list").out.decode() == machine.read_trusted(), "the list is not the file")
        machine.run("trust", "remove", "lab1")
        check(machine.read_trusted() == f"lab2 {fake_fingerprint(2)}\n", machine.read_trusted())
        machine.refuses("trust", "remove", "lab1", code=FAILED, why="lab1")
        machine.refuses("trust", "add", "lab3", "sha256:12", code=FAILED, why="sha256:12")
        machine.refuses("trust", "add", "a b", fake_fingerprint(3), code=FAILED, why="a b")
        other = os.path.join(machine.home, "other")
        machine.run("trust", "--trust", other, "add", "x", fake_fingerprint(9))
        check("x " in open(other).read() and len(machine.list()) == 1, "--trust")

    def comments(self):
        machine = self.machine("a")
        machine.write_trusted(f"# mine\n\nb {fake_fingerprint(2)}  # two\n")
        machine.run("trust", "add", "a", fake_fingerprint(1))
        machine.run("trust", "add", "b", fake_fingerprint(2), "h:1")
        machine.run("trust", "remove", "a")
        check(machine.read_trusted() == f"# mine\n\nb {fake_fingerprint(2)} h:1  # two\n", machine.read_trusted())

    def changed_key(self):
        machine = self.machine("a")
        machine.run("trust", "add", "lab", fake_fingerprint(1))
        machine.refuses("trust", "add", "lab", fake_fingerprint(2), code=AUTH, why="dhole trust remove lab")
        check(machine.list()[0]["fingerprint"] == fake_fingerprint(1), "the key was replaced")

    def bad_files(self):
        machine = self.machine("a")
        for text, why in [("a\n", "line 1"), (f"a {fake_fingerprint(1)}\nb sha256:0\n", "line 2"),
                          (f"a {fake_fingerprint(1)}\n\na {fake_fingerprint(2)}\n", "line 3"),
                          (b"\0\xff\x1b[2J\n", "line 1"), (b"\n" * 2000000, "longer than")]:
            machine.write_trusted(text)
            for args in (["list"], ["add", "b", fake_fingerprint(2)], ["remove", "a"]):
                ended = machine.refuses("trust", *args, code=BAD_FILE, why=why)
                check(b"\x1b" not in ended.err, "an escape sequence on the terminal")
            machine.refuses("pair", code=BAD_FILE, why=why)
        machine.write_trusted("")
        os.chmod(machine.trusted, 0o666)
        machine.refuses("trust", "list", code=AUTH, why="chmod go-w")

    def many_writers(self):
        machine = self.machine("a")
        started = [machine.dhole.start("trust", "add", f"m{i}", fake_fingerprint(i + 1)) for i in range(20)]
        for process in started:
            _, err = process.communicate()
            check(process.returncode == DONE, f"exit {process.returncode}: {err}")
        check({m["name"] for m in machine.list()} == {f"m{i}" for i in range(20)}, f"{machine.list()}")

    # Pairing.

    def pair(self, *args):
        """Two machines that have paired; returns them, and all that was printed."""
        a, b = self.machine("maker"), self.machine("joiner")
        with a.pairing(*args) as process:
            token = json.loads(process.first)["token"] if "--json" in args else process.first.decode().strip()
            joined = b.run("join", "-", "--name", b.name, stdin=f"{token}\n".encode())
            out, err = process.communicate(timeout=WAIT)
            check(process.returncode == DONE, f"exit {process.returncode}: {err}")
        return a, b, token, out, err + joined.err + joined.out

    def pairs(self):
        a, b, _, out, _ = self.pair()
        check(a.list() == [{"name": "joiner", "fingerprint": b.id(), "address": None}], f"{a.list()}")
        check(b.list() == [{"name": "maker", "fingerprint": a.id(), "address": None}], f"{b.list()}")
        check(out.decode() == f"joiner {b.id()}\n", f"{out}")

    def pairs_json(self):
        before = time.time()
        a, b, _, out, _ = self.pair("--json", "--valid", "100")
        check(json.loads(out) == {"name": "joiner", "fingerprint": b.id(), "address": None}, f"{out}")
        with a.pairing("--json", "--valid", "100") as process:
            shown = json.loads(process.first)
            check(list(shown) == ["token", "expires"], f"{shown}")
            check(before + 99 <= shown["expires"] <= time.time() + 101, f"{shown}")

    def no_secrets(self):
        """Neither the token's secret nor a private key is in a log, or in a file where it does not belong."""
        a, b, token, out, err = self.pair()
        check(b"dhole" in err, "nothing was logged")
        check(sum(form in token.encode() for form in secret_of(token)) >= 2, "the token itself has no secret")
        for machine in (a, b):
            pem = open(machine.pem, "rb").read()
            forms = secret_of(token) + [line for line in pem.splitlines() if not line.startswith(b"-")]
            check(len(forms) > 8, "no key to look for")
            texts = {"log": err, "stdout": out}
            texts.update({name: open(os.path.join(machine.config, name), "rb").read()
                          for name in os.listdir(machine.config) if name != "identity.pem"})
            for where, text in texts.items():
                for form in forms:
                    check(form not in text, f"a secret in {where}")

    def local_only(self):
        a = self.machine("maker")
        with a.pairing() as process:
            ours = listening(process.pid)
            check(ours and all(address.startswith("0100007F:") for address in ours), f"{ours}")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=WAIT)
            check(process.returncode == INTERRUPTED and b"--listen" in err, f"{process.returncode} {err}")

    def wrong_token(self):
        """A wrong one is refused, and nothing tells why; the right one works after it."""
        a, b = self.machine("maker"), self.machine("joiner")
        with a.pairing() as process:
            token = process.first.decode().strip()
            with a.pairing() as other:  # same key, same machine, another secret
                mixed = mix(token, other.first.decode().strip())
            wrong = b.refuses("join", mixed, code=AUTH, why=REFUSED)
            check("secret" not in wrong.err.decode(), f"{wrong}")
            b.refuses("join", token[:-1], code=BAD_FILE, why="damaged")
            b.refuses("join", "rubbish", code=BAD_FILE, why="dhole1-")
            for cut in (b"", token.encode()):
                b.refuses("join", "-", code=BAD_FILE, why="one line", stdin=cut)
            b.run("join", token)
            process.communicate(timeout=WAIT)
            check(process.returncode == DONE, f"exit {process.returncode}")

    def used_token(self):
        _, _, token, _, _ = self.pair()
        late = self.machine("late")
        late.run("join", token, code=LOST)
        check(not os.path.exists(late.trusted), "it trusts somebody")

    def expired_token(self):
        a, b = self.machine("maker"), self.machine("joiner")
        with a.pairing("--valid", "1") as process:
            _, err = process.communicate(timeout=WAIT)
            check(process.returncode == LOST and b"expired" in err, f"{process.returncode} {err}")
            b.refuses("join", process.first.decode().strip(), code=LOST, why="expired")
        check(a.list() == [] and b.list() == [], "somebody is trusted")

    def worn_token(self):
        a, b = self.machine("maker"), self.machine("joiner")
        with a.pairing() as process:
            token = process.first.decode().strip()
            with a.pairing() as other:
                mixed = mix(token, other.first.decode().strip())
            for _ in range(5):
                b.refuses("join", mixed, code=AUTH, why=REFUSED)
            _, err = process.communicate(timeout=WAIT)
            check(process.returncode == AUTH and b"void" in err, f"{process.returncode} {err}")
        check(a.list() == [], "somebody is trusted")

    def changed_joiner(self):
        """A known name with another key is not taken over."""
        a, b = self.machine("maker"), self.machine("joiner")
        a.run("trust", "add", "joiner", fake_fingerprint(1))
        with a.pairing() as process:
            b.run("join", process.first.decode().strip(), "--name", "joiner")
            _, err = process.communicate(timeout=WAIT)
            check(process.returncode == AUTH and b"dhole trust remove joiner" in err, f"{process.returncode} {err}")
        check(a.list()[0]["fingerprint"] == fake_fingerprint(1), "the key was replaced")

    def strangers(self):
        """Those who say nothing, and those who talk rubbish."""
        a, b = self.machine("maker"), self.machine("joiner")
        b.id()
        with a.pairing() as process:
            token = process.first.decode().strip()
            host, _, port = decode(token)[58:-4].decode().rpartition(":")
            calls = [socket.create_connection((host, int(port))) for _ in range(300)]
            for i, call in enumerate(calls):
                with contextlib.suppress(OSError):
                    if i % 3:
                        call.sendall([b"GET / HTTP/1.0\r\n\r\n" * 20, b"dhole\0l\1" + bytes(24)][i % 2])
            ended = b.run("join", token)
            process.communicate(timeout=WAIT)
            check(process.returncode == DONE, f"exit {process.returncode}")
            for call in calls:
                call.close()
        return f"joined in {ended.seconds:.2f} s"

    def interrupted(self):
        a = self.machine("maker")
        for number in (signal.SIGINT, signal.SIGTERM):
            with a.pairing() as process:
                process.send_signal(number)
                process.communicate(timeout=WAIT)
                check(process.returncode == 128 + number, f"exit {process.returncode}")

    def usage(self):
        machine = self.machine("a")
        for args, why in BAD:
            machine.refuses(*args, code=USAGE, why=why)
        for command in ("id", "trust", "pair"):
            text = machine.run(command, "--help").out.decode()
            check("Example" in text and text.startswith(f"Usage: dhole {command}"), text)
        with open("/dev/full", "wb") as full:
            for args in (["id"], ["id", "--json"], ["pair"], ["pair", "--json"]):
                ended = machine.dhole.run(*args, stdout=full)
                check(ended.code == FAILED, f"{args}: {ended}")


CASES = [Judge.identity, Judge.where, Judge.bad_keys, Judge.one_key, Judge.tpm, Judge.token, Judge.trust, Judge.comments, Judge.changed_key,
         Judge.bad_files, Judge.many_writers, Judge.pairs, Judge.pairs_json, Judge.no_secrets, Judge.local_only,
         Judge.wrong_token, Judge.used_token, Judge.expired_token, Judge.worn_token, Judge.changed_joiner,
         Judge.strangers, Judge.interrupted, Judge.usage]


def main():
    args = arguments(__doc__).parse_args()
    if unable():
        return 0
    suite = Suite(args.only)
    with tempfile.TemporaryDirectory() as scratch:
        judge = Judge(args.dhole, scratch)
        for case in CASES:
            suite.case(case.__name__, case, judge)
    return suite.finish()


sys.exit(main())
