"""Hosts as network namespaces of this machine, with a cable each to a switch (root, on Linux)."""

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import uuid

from harness import check

NETWORK, FILES = "10.215.0", "/mnt"
INSIDE = "DHOLE_TEST_INSIDE"
PR_SET_PDEATHSIG = 1
counter = itertools.count()


def enter():
    """Starts the calling program once more, in namespaces of its own, so that whatever happens to it
    every process, network and mount goes with it. Says why where they cannot be made."""
    if INSIDE in os.environ:
        del os.environ[INSIDE]
        return None
    missing = [tool for tool in ("unshare", "nsenter", "ip", "mount") if not shutil.which(tool)]
    if missing:
        return f"{' and '.join(missing)} not installed"
    inside = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    tried = subprocess.run([*inside, "ip", "link", "add", "br0", "type", "bridge"], capture_output=True)
    if tried.returncode != 0:
        return f"no network namespaces: {tried.stderr.decode().strip()}"
    # unshare takes its children along when it ends, but has to be killed itself.
    die_with_parent = lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    sys.exit(subprocess.run([*inside, sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"},
                            preexec_fn=die_with_parent).returncode)


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    check(done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}")
    return done.stdout


def prepare():
    """Before the first host: a folder for their files that is gone with the mounts."""
    subprocess.run(["mount", "-t", "tmpfs", "none", FILES], check=True)
    ip("link", "set", "lo", "up")


class Host:
    """A machine with a name, an address, one cable, and files of its own."""

    def __init__(self, switch, number, name):
        self.name = name
        self.address = f"{NETWORK}.{number}"
        self.port = f"{switch}.{number}"  # of the switch
        self.folder = tempfile.mkdtemp(prefix=f"{name}-", dir=FILES)
        self.running = []
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("DHOLE_")}
        for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
            self.env[variable] = self.file(variable.lower())
            os.mkdir(self.env[variable], 0o700)
        # Without a boot of its own a host would be taken for its neighbour, and reached through memory.
        boot = self.write("boot_id", f"{uuid.uuid4()}\n")
        setup = (f"hostname {name} && mount -t sysfs sysfs /sys && mount --bind {boot} "
                 "/proc/sys/kernel/random/boot_id && echo && exec sleep infinity")
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "--uts", "--propagation", "private",
                                        "sh", "-c", setup], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        check(self.holder.stdout.readline() == b"\n", "a host does not start")
        ip("link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        ip("link", "set", self.port, "master", switch, "up")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "eth0", "up")
        self.ip("addr", "add", f"{self.address}/24", "dev", "eth0")

    def file(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.file(name), "w") as file:
            file.write(text)
        return self.file(name)

    def ip(self, *words):
        done = self.run("ip", *words)
        check(done.returncode == 0, f"{self.name}: ip {' '.join(words)}: {done.stderr!r}")

    def command(self, *words):
        return ["nsenter", "-t", str(self.holder.pid), "--net", "--mount", "--uts", *map(str, words)]

    def run(self, *words, timeout=60, env=None, **options):
        return subprocess.run(self.command(*words), timeout=timeout, env={**self.env, **(env or {})},
                              **{"capture_output": True, "stdin": subprocess.DEVNULL, **options})

    def start(self, *words, env=None, **options):
        """A process of the host's, which close() ends."""
        process = subprocess.Popen(self.command(*words), env={**self.env, **(env or {})},
                                   **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                                      "stderr": subprocess.PIPE, **options})
        self.running.append(process)
        return process

    def kill(self, process, number=signal.SIGKILL):
        process.send_signal(number)
        process.wait(20)
        self.running.remove(process)

    def listening_at(self):
        """The addresses and TCP ports that somebody listens at; of IPv4."""
        with open(f"/proc/{self.holder.pid}/net/tcp") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        for address, port in (row[1].split(":") for row in rows if row[3] == "0A"):
            yield socket.inet_ntoa(struct.pack("<I", int(address, 16))), int(port, 16)

    def listening(self):
        """The ports."""
        return sorted({port for _, port in self.listening_at()})

    def add_cable(self, switch, interface, address):
        """One more, to another switch."""
        port = f"{switch}.{self.port}"
        ip("link", "add", port, "type", "veth", "peer", "name", interface, "netns", str(self.holder.pid))
        ip("link", "set", port, "master", switch, "up")
        self.ip("link", "set", interface, "up")
        self.ip("addr", "add", f"{address}/24", "dev", interface)

    def pull(self):
        ip("link", "set", self.port, "down")

    def plug(self):
        ip("link", "set", self.port, "up")

    def close(self):
        for process in reversed(self.running):
            process.kill()
            process.wait()
        self.holder.kill()
        self.holder.wait()
        subprocess.run(["ip", "link", "del", self.port], capture_output=True)  # or it went with the other end
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def switch():
    name = f"br{next(counter)}"
    ip("link", "add", name, "type", "bridge", "forward_delay", "0")
    try:
        ip("link", "set", name, "up")
        yield name
    finally:
        ip("link", "del", name)


@contextlib.contextmanager
def hosts(*names):
    """Fresh ones, NETWORK.1, .2 …, at a switch of their own."""
    made = []
    with switch() as own:
        try:
            for number, name in enumerate(names, 1):
                made.append(Host(own, number, name))
            yield made
        finally:
            for host in made:
                host.close()
