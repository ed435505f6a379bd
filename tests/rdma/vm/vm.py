"""Runs commands in one or two virtual machines with soft-RoCE devices. Called by script/rdma-vm."""

import argparse
import fcntl
import os
import pathlib
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import initramfs

HERE = pathlib.Path(__file__).resolve().parent
PROBE_SECONDS = 15
HUNG, DIED = 124, 125  # beside the exit statuses of the commands
# A timer that an emulator on a busy machine delivers late is not broken.
KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 no_timer_check clocksource=tsc tsc=reliable"


class Guest:
    """One machine. What it prints is printed, until a line that says how its commands ended."""

    def __init__(self, args, machine, accelerator, folder, cables):
        self.prefix = "other| " if machine else ""
        self.silent = args.silent
        self.mark = secrets.token_hex(8)
        self.status = None
        image = folder / f"initramfs.{machine}"
        image.write_bytes(initramfs.build(args.kernel / "modules", self.job(args, machine)))
        self.process = subprocess.Popen(
            qemu(args, machine, accelerator, image, cables), pass_fds=cables,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def job(self, args, machine):
        variables = {
            "MACHINE": machine, "MACHINES": args.machines, "DEVICES": args.devices,
            "SYSTEMD": "yes" if args.systemd else "", "FOLDER": os.getcwd(), "MARK": self.mark,
            "HOME": "/root", "LC_ALL": "C.UTF-8",
            "PATH": f"{args.build.resolve()}/bin:/usr/local/bin:/usr/bin:/usr/sbin",
        }
        lines = [f"export {name}={shlex.quote(str(value))}\n" for name, value in variables.items()]
        return {"variables": "".join(lines), "start": (HERE / "start").read_text(),
                "commands": "\n".join([*args.commands, ""])}

    def read(self):
        for line in self.process.stdout:
            text = line.decode(errors="replace").replace("\r", "").rstrip("\n")
            if text.startswith(self.mark):
                self.status = int(text.split()[1])
                self.silent = True
            elif not self.silent:
                print(self.prefix + text, flush=True)

    def finish(self, deadline):
        """How the commands ended, once they have or the time is over."""
        try:
            self.process.wait(max(0, deadline - time.monotonic()))
            unknown = DIED
        except subprocess.TimeoutExpired:
            unknown = HUNG
        self.end()
        return unknown if self.status is None else self.status

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()


def qemu(args, machine, accelerator, image, cables):
    words = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", accelerator,
             "-cpu", "max", "-smp", args.cpus, "-m", args.memory, "-nodefaults", "-no-reboot",
             "-display", "none", "-serial", "stdio", "-kernel", args.kernel / "vmlinuz", "-initrd",
             image, "-append", KERNEL_OPTIONS, "-virtfs",
             "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]
    for i, cable in enumerate(cables):
        words += ["-netdev", f"socket,id=cable{i},fd={cable}", "-device",
                  f"virtio-net-pci,netdev=cable{i},mac=52:54:00:00:{i:02x}:{machine:02x},romfile="]
    return [str(word) for word in words]


def run(args, accelerator):
    """The exit status of each machine."""
    cables = [socket.socketpair() for _ in range(args.devices if args.machines > 1 else 0)]
    deadline = time.monotonic() + args.limit
    guests = []
    with tempfile.TemporaryDirectory(prefix="rdma-vm.") as folder:
        try:
            for machine in range(args.machines):
                ends = [cable[machine].fileno() for cable in cables]
                guests.append(Guest(args, machine, accelerator, pathlib.Path(folder), ends))
            return [guest.finish(deadline) for guest in guests]
        finally:
            for guest in guests:
                guest.end()


def accelerator(args):
    """KVM where it runs a guest: a device that opens may yet be dead. Tried once a boot."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = args.kernel / f"accelerator-{boot}"
    if not known.exists():
        probe = argparse.Namespace(**{**vars(args), "machines": 1, "devices": 1, "commands": ["true"],
                                      "systemd": False, "limit": PROBE_SECONDS, "silent": True})
        works = os.access("/dev/kvm", os.R_OK | os.W_OK) and run(probe, "kvm") == [0]
        known.write_text("kvm" if works else "tcg,thread=multi")
    return known.read_text()


def alone(args):
    """A lock: two runs would take each other's time. The system frees it when this process ends."""
    lock = open(args.kernel / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waiting for another virtual machine to end", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def main():
    parser = argparse.ArgumentParser(prog="script/rdma-vm", add_help=False)
    parser.add_argument("--kernel", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--machines", type=int, choices=(1, 2), default=1)
    parser.add_argument("--devices", type=int)
    parser.add_argument("--cpus", type=int)
    parser.add_argument("--memory", type=int, default=1024)
    parser.add_argument("--systemd", action="store_true")
    parser.add_argument("--limit", type=float, default=300)
    parser.add_argument("commands", nargs="+")
    args = parser.parse_args()
    args.silent = False
    args.devices = args.devices or 3 - args.machines
    args.cpus = args.cpus or 3 - args.machines

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    with alone(args):
        statuses = run(args, accelerator(args))
    for machine, status in enumerate(statuses):
        what = {HUNG: f"did not end within {args.limit:g} s", DIED: "stopped by itself"}.get(status)
        if what:
            print(f"script/rdma-vm: machine {machine} {what}", file=sys.stderr)
    return next((status for status in statuses if status), 0)


try:
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(130)
