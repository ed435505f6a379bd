"""Runs every suite and adds up their single tests. Called by script/test.

A suite's program ends with "N passed, N failed, N skipped", and prints "skipped: WHY"
or "skipped NAME: WHY" for each test that it skips; one that prints no such line counts as one test.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
REASON = re.compile(r"^skipped(?: [^:]+)?: (.*)$", re.M)
FUZZ_SECONDS = int(os.environ.get("DHOLE_FUZZ_SECONDS", 10))  # for each target
RDMA_SECONDS = 1800
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.reasons = []

    def add(self, output, ok):
        """Counts what a program printed; a failure that it did not count counts too."""
        counts = [tuple(map(int, m.groups())) for m in CLOSING.finditer(output)]
        failed = sum(c[1] for c in counts)
        self.passed += sum(c[0] for c in counts) if counts else ok
        self.failed += failed or (not ok)
        self.skipped += sum(c[2] for c in counts)
        self.reasons += REASON.findall(output)

    def skip(self, why):
        self.skipped += 1
        self.reasons.append(why)

    def merge(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.reasons += other.reasons

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def execute(*command, env=None):
    """Whether the program ended well, and what it printed, which is shown if it did not."""
    done = subprocess.run([str(c) for c in command], cwd=ROOT, env={**os.environ, **(env or {})},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace")
    if done.returncode != 0:
        show(" ".join(map(str, command)), f"{done.stdout}exit {done.returncode}")
    return done.returncode == 0, done.stdout


def show(title, output):
    print(f"--- {title}")
    print("\n".join(line for line in output.splitlines() if not line.startswith(("ok ", "skipped"))), flush=True)


def run(tally, *command, env=None):
    """A program that counts as a suite, or as one test."""
    ok, output = execute(*command, env=env)
    tally.add(output, ok)


def lacks(tally, *tools):
    """Whether one of them is not installed; script/setup sees to it where it can."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        tally.skip(f"{' and '.join(missing)} not installed")
    return bool(missing)


def build(tally, preset, *options, folder=None, targets=("all",)):
    """Counts only when it fails."""
    folder = BUILD / (folder or preset)
    ok = (execute("cmake", "--preset", preset, "-B", folder, "-DDHOLE_TESTS=ON", *options)[0]
          and execute("cmake", "--build", folder, "--target", *targets)[0])
    tally.failed += not ok
    return ok


def ctest(tally, folder, *options, env=None):
    """All tests of a build. The whole output of each is in ctest's JUnit file."""
    report = BUILD / folder / "junit.xml"
    report.unlink(missing_ok=True)
    whole = "100000000"
    subprocess.run(["ctest", "--test-dir", BUILD / folder, "--output-junit", report, "--timeout", "900", "--parallel", "3",
                    "--test-output-size-passed", whole, "--test-output-size-failed", whole, "--quiet",
                    *options], env={**os.environ, **SANITIZER_OPTIONS, **(env or {})},
                   stdin=subprocess.DEVNULL)
    cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    if not cases:
        show(folder, "it holds no tests")
        tally.failed += 1
    for case in cases:
        output = case.findtext("system-out") or ""
        ok = case.get("status") == "run"
        tally.add(output, ok)
        if not ok:
            show(f"{folder}: {case.get('name')}", output)


# Too long, or too far from our own code, to be run in every build.
ONCE = "^test_(conformance_(beyond|upstream)|multiproc_launchers)"
# Later builds run fewer of the backends that differ by a setting only; what is about arithmetic has nothing for threads.
SETTINGS, ARITHMETIC = "_jaccl_ring,_jaccl_sealed,_mixed_sealed,_mem_sealed,_rails_sealed", "_every_type,the_same_bits_on_all_ranks,nan_and_signed_zero,complex_numbers"
SLOW = {"DHOLE_TEST_SLOW": "1", "DHOLE_TEST_EXCEPT": SETTINGS}
THREADS = {"DHOLE_TEST_SLOW": "1", "DHOLE_TEST_EXCEPT": f"{SETTINGS},{ARITHMETIC}"}


def house(tally):
    run(tally, "script/check-layers")
    run(tally, "script/check-upstream")
    if not lacks(tally, "clang-format"):
        run(tally, "script/format", "--check")
    files = [p for folder in ("script", ".ci", "tests") for p in (ROOT / folder).rglob("*") if p.is_file()]
    if not lacks(tally, "shellcheck"):
        run(tally, "shellcheck", "-x", *(p for p in files if p.read_bytes().startswith(b"#!/bin/sh")))
    run(tally, "tests/house/check-layers.sh")
    run(tally, "tests/house/check-upstream.sh")


def release(tally):
    if build(tally, "release"):
        ctest(tally, "release")


def program(tally):
    """The bad files, usage errors and full disks of tests/cli are tried under sanitizers."""
    if not (build(tally, "release") and build(tally, "asan", targets=["dhole-program"])):
        return
    common = ["--dhole", BUILD / "release/bin/dhole", "--model", os.environ["DHOLE_TEST_MODEL"]]
    run(tally, sys.executable, "tests/cli/run.py", *common, "--asan-dhole", BUILD / "asan/bin/dhole",
        env=SANITIZER_OPTIONS)
    run(tally, sys.executable, "tests/cli/bench.py", *common[:2])
    run(tally, sys.executable, "tests/cli/cluster.py", *common)
    run(tally, sys.executable, "tests/cli/trust.py", *common[:2])
    fake = ["--fake-verbs", BUILD / "release/tests/libfake-verbs.so"]
    run(tally, sys.executable, "tests/cli/doctor.py", *common[:2], *fake)
    run(tally, sys.executable, "tests/cli/rdma.py", *common, *fake)
    launch = [sys.executable, "tests/cli/launch.py", "--launched", BUILD / "release/bin/launched"]
    run(tally, *launch, "--dhole", BUILD / "release/bin/dhole")
    run(tally, *launch, "--dhole", BUILD / "asan/bin/dhole", "--only", "launch:", env=SANITIZER_OPTIONS)
    run(tally, sys.executable, "tests/reference/run.py", *common)


def peer(tally):
    """A second implementation of the link, and whoever sits on the network between its sides."""
    targets = ["link_echo", "link_sessions", "dhole-program"]
    if not (build(tally, "release") and build(tally, "asan", targets=targets)):
        return
    for folder, stride in (("release", 1), ("asan", 7)):
        programs = BUILD / folder / "bin"
        run(tally, sys.executable, "tests/peer/run.py", "--echo", programs / "link_echo", "--dhole", programs / "dhole",
            env=SANITIZER_OPTIONS)
        run(tally, sys.executable, "tests/peer/hostile.py", "--sessions", programs / "link_sessions", "--stride", stride,
            env=SANITIZER_OPTIONS)


def cluster(tally):
    """Machines that are network namespaces."""
    if build(tally, "release"):
        run(tally, sys.executable, "tests/cluster/netns.py", "--dhole", BUILD / "release/bin/dhole",
            "--model", os.environ["DHOLE_TEST_MODEL"])


def install(tally):
    if build(tally, "release"):
        run(tally, sys.executable, "tests/install/run.py", "--build", BUILD / "release")


def clang(tally):
    if not lacks(tally, "clang") and build(tally, "release", "-DCMAKE_C_COMPILER=clang", folder="clang"):
        ctest(tally, "clang", "-E", f"{ONCE}|multiproc|conformance_(join|failure|faults|grid|exchanges|mismatch|shrink)",
              env={"DHOLE_TEST_EXCEPT": SETTINGS})


def asan(tally):
    if build(tally, "asan"):
        ctest(tally, "asan", "-E", ONCE, env=SLOW)


def tsan(tally):
    """The rooms below transport, seal and model run on one thread; exchanges are waited for like sums, and coll is arithmetic."""
    if build(tally, "tsan"):
        ctest(tally, "tsan", "-E", f"{ONCE}|^(fuzz|test_(base|reduce|seal|coll|model|conformance_exchanges))", env=THREADS)


def tidy(tally):
    if lacks(tally, "clang-tidy") or not build(tally, "release"):
        return
    sources = sorted(ROOT.glob("src/**/*.c"))
    commands = json.loads((BUILD / "release/compile_commands.json").read_text())
    built = {pathlib.Path(c["file"]) for c in commands}
    check = ["clang-tidy", "--quiet", "-p", BUILD / "release"]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        clean = pool.map(lambda source: execute(*check, source)[0], [s for s in sources if s in built])
    tally.add("", all(clean))


def fuzz(tally):
    targets = sorted(p.stem for p in ROOT.glob("tests/fuzz/fuzz_*.c"))
    if lacks(tally, "clang") or not build(tally, "fuzz", targets=targets):
        return
    for target in targets:
        work = BUILD / "fuzz/work" / target
        work.mkdir(parents=True, exist_ok=True)
        run(tally, BUILD / "fuzz/bin" / target, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10",
            f"-artifact_prefix={work}/", work, ROOT / "tests/fuzz/corpus" / target.removeprefix("fuzz_"),
            env=SANITIZER_OPTIONS)


def aarch64(tally):
    """Under emulation. What starts many ranks is left to the other builds: it is about time and
    processes, of which the emulator has its own."""
    if platform.machine() != "x86_64" or not shutil.which("apt-get"):
        tally.skip("the aarch64 build is for x86-64 with Debian's archive")
    elif not execute("script/lib/aarch64-sysroot")[0]:
        tally.failed += 1
    elif build(tally, "aarch64"):
        ctest(tally, "aarch64", "-E", "^test_(conformance|multiproc|cluster_se|coll_two)", env={"DHOLE_TEST_SLOW": "1"})


def macos(tally):
    run(tally, "script/check-macos")


def rdma(tally):
    """On soft-RoCE, in virtual machines: one, and two that a network joins."""
    if platform.machine() != "x86_64" or not shutil.which("apt-get"):
        tally.skip("the virtual machines are for x86-64 with Debian's archive")
    elif build(tally, "release"):
        start = ["script/rdma-vm", "--build", BUILD / "release", "--limit", RDMA_SECONDS]
        real = "python3 tests/rdma/vm/real.py"
        model = shlex.quote(os.environ["DHOLE_TEST_MODEL"])
        run(tally, *start, "--devices", 4, "tests/rdma/vm/conformance grid exchanges mismatch failure join upstream")
        run(tally, *start, "--devices", 4, f"{real} one --model {model}")
        run(tally, *start, "--machines", 2, "--devices", 2, f"{real} two")
        # Between two a ring is a mesh, and the seal does not know what is below it.
        run(tally, *start, "--machines", 2, "--devices", 2, "export DHOLE_TEST_EXCEPT=_ring,_sealed",
            "tests/rdma/vm/conformance shrink")


SUITES = [house, release, program, peer, cluster, install, clang, asan, tsan, fuzz, tidy, aarch64, macos, rdma]
QUICK = [house, release, program]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("suites", nargs="*", metavar="SUITE")
    args = parser.parse_args()
    if args.list:
        print("\n".join(s.__name__ for s in SUITES))
        return 0
    unknown = set(args.suites) - {s.__name__ for s in SUITES}
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))} (--list names them)")

    total = Tally()
    for suite in SUITES:
        if suite.__name__ not in args.suites and (args.suites or (args.quick and suite not in QUICK)):
            continue
        print(f"== {suite.__name__}", flush=True)
        tally, start = Tally(), time.monotonic()
        suite(tally)
        print(f"   {suite.__name__}: {tally} ({time.monotonic() - start:.0f} s)", flush=True)
        total.merge(tally)
    for why in sorted(set(total.reasons)):
        print(f"skipped {total.reasons.count(why)}: {why}")
    print(total)
    return total.failed > 0


sys.exit(main())
