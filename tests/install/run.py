"""Installs the project, shared and static, and uses it from outside: the C example of
README.md and a C++ program, found with pkg-config and with find_package.

usage: run.py --build DIR   a release build with shared libraries; the static one is
                            made beside it
"""

import argparse
import configparser
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/install"
passed = failed = 0


def output(*command, env=None, **options):
    done = subprocess.run([str(c) for c in command], env={**os.environ, **(env or {})}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, **options)
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, command))}: exit {done.returncode}\n{done.stdout}")
    return done.stdout


def check(name, test, *args):
    global passed, failed
    try:
        test(*args)
    except (AssertionError, OSError, subprocess.SubprocessError) as problem:
        failed += 1
        print(f"FAILED  {name}: {problem}")
    else:
        passed += 1
        print(f"ok      {name}")


def readme_example(target):
    """The one C program in README.md, written to target."""
    programs = re.findall(r"^```c\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    programs = [p for p in programs if "int main(" in p]
    assert len(programs) == 1, f"README.md holds {len(programs)} C programs, expected one"
    target.write_text(programs[0])
    return target


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def alone(program):
    assert "rank 0 of 1" in output(program), "no group of one"


def two_ranks(program, work):
    """Two processes that find each other by the environment, as README.md tells."""
    hostfile = work / "hosts.json"
    hostfile.write_text(str([[f"127.0.0.1:{port}"] for port in free_ports(2)]).replace("'", '"'))
    ranks = [subprocess.Popen([program], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**os.environ, "DHOLE_HOSTFILE": str(hostfile), "DHOLE_RANK": str(rank)})
             for rank in range(2)]
    for rank, process in enumerate(ranks):
        text, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and f"rank {rank} of 2: the sum is 3" in text, text


def with_pkg_config(prefix, work, example, static):
    env = {"PKG_CONFIG_PATH": str(next(prefix.glob("lib*/**/pkgconfig")))}
    for compiler, source, package in (("cc -std=c17", example, "dhole"),
                                      ("c++ -std=c++17", HERE / "outside.cc", "dhole-infer")):
        flags = output("pkg-config", "--cflags", "--libs", *(["--static"] if static else []), package,
                       env=env)
        program = work / source.stem
        output(*compiler.split(), "-Wall", "-Wextra", "-Werror", "-o", program, source,
               *shlex.split(flags), f"-Wl,-rpath,{prefix}/lib")
    both_work(work, work)


def with_find_package(prefix, work, example):
    output("cmake", "-S", HERE, "-B", work, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}",
           f"-DREADME_C={example}", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror",
           "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror", "-DCMAKE_BUILD_TYPE=Release")
    output("cmake", "--build", work)
    both_work(work, work)


def both_work(folder, work):
    alone(folder / "readme")
    two_ranks(folder / "readme", work)
    assert output(folder / "outside") == "ok\n"


def program_runs(prefix):
    text = output(prefix / "bin/dhole", "version")
    version = output("pkg-config", "--modversion", "dhole",
                     env={"PKG_CONFIG_PATH": str(next(prefix.glob("lib*/**/pkgconfig")))}).strip()
    assert version in text, text


def unit_is_sound(built_prefix, prefix, work):
    """systemd's own verdict on the worker's unit, where it can be had; it must name the program."""
    text = (prefix / "lib/systemd/system/dhole-join.service").read_text()
    assert f"ExecStart={built_prefix}/bin/dhole join " in text, text
    unit = work / "dhole-join.service"
    unit.write_text(text.replace(str(built_prefix), str(prefix)))
    sections = configparser.RawConfigParser(strict=False)
    sections.optionxform = str
    sections.read(unit)
    service = sections["Service"]
    assert service["Type"] == "notify" and service["User"] == "dhole", text
    assert (prefix / "lib/sysusers.d/dhole.conf").read_text().startswith("u dhole "), "no user"
    if shutil.which("systemd-analyze"):
        said = output("systemd-analyze", "verify", "--man=no", unit)
        assert said == "", said


def exports_are_ours(prefix):
    """Nothing but dhole_* leaves the shared libraries."""
    for library in prefix.glob("lib*/**/libdhole*.so"):
        names = [line.split()[-1] for line in output("nm", "-D", "--defined-only", library).splitlines()]
        foreign = [n for n in names if not n.startswith(("dhole_", "DHOLE_"))]
        assert names and not foreign, f"{library.name} exports {foreign}"


def check_kind(kind, build, work):
    static = kind == "static"
    built_prefix, prefix = work / f"{kind}-installed", work / f"{kind} moved".replace(" ", "-")
    output("cmake", "--install", build, "--prefix", built_prefix)
    built_prefix.rename(prefix)
    example = readme_example(work / "readme.c")
    check(f"{kind}: program", program_runs, prefix)
    for name, test, args in (("pkg-config", with_pkg_config, (static,)),
                             ("find_package", with_find_package, ())):
        folder = work / f"{kind}-{name}"
        folder.mkdir()
        check(f"{kind}: {name}", test, prefix, folder, example, *args)
    if not static and sys.platform == "linux":
        check(f"{kind}: exports", exports_are_ours, prefix)
        check(f"{kind}: systemd unit", unit_is_sound, built_prefix, prefix, work)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    shared = parser.parse_args().build
    static = shared.parent / "static"
    work = pathlib.Path(tempfile.mkdtemp(prefix="dhole-install-"))
    try:
        output("cmake", "--preset", "release", "-B", static, "-DBUILD_SHARED_LIBS=OFF", "-DDHOLE_TESTS=OFF",
               "-DDHOLE_BENCH=OFF", cwd=ROOT)
        output("cmake", "--build", static)
        check_kind("shared", shared, work)
        check_kind("static", static, work)
    finally:
        shutil.rmtree(work)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed > 0


sys.exit(main())
