#!/bin/sh
# Shared by the scripts: where things are, what must be installed, how they speak.
# Sourced after `set -eu` and a change to the tree's root.

root=$PWD
build=$root/build
venv=$build/venv
model_dir=${DHOLE_MODEL_DIR:-$root/models}
# shellcheck disable=SC2034 # for the callers
model_path=$model_dir/SmolLM2-135M-Instruct.Q4_1.gguf

say() { printf '%s\n' "$*" >&2; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# help: the comment at the top of the calling script.
help() { sed -n "2,/^[^#]/s/^# \{0,1\}//p" "$0"; }

# quietly LOG COMMAND...: runs it, and shows its output only when it fails.
quietly() {
    log=$1
    shift
    mkdir -p "$(dirname "$log")"
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        die "failed: $*"
    }
}

packages_build="gcc libc6-dev cmake ninja-build pkg-config libssl-dev libjansson-dev libpcre2-dev"
packages_build="$packages_build libibverbs-dev libavahi-client-dev python3 python3-venv ca-certificates"
packages_test="g++ clang libclang-rt-14-dev lld clang-format clang-tidy shellcheck qemu-user"
packages_test="$packages_test openmpi-bin mpich openssh-server openssh-client iproute2"
packages_test="$packages_test avahi-daemon dbus iptables libfaketime libavahi-compat-libdnssd-dev"
packages_test="$packages_test swtpm tpm2-tools tpm2-openssl"
packages_rdma="qemu-system-x86 busybox-static iproute2 ibverbs-providers ibverbs-utils perftest python3"
packages_rdma="$packages_rdma systemd dbus sudo"
packages_test="$packages_test $packages_rdma"
packages_bench="g++ openmpi-bin libopenmpi-dev mpich libmpich-dev libgloo-dev"

has_package() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages PACKAGE...: those that are missing, from Debian's archive.
install_packages() {
    missing=
    for package in "$@"; do
        has_package "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "missing packages:$missing. Run as root, or install them: apt-get install$missing"
        as_root=sudo
    fi
    say "installing with ${as_root:+sudo }apt-get:$missing"
    quietly "$build/log/apt-update" $as_root apt-get update
    # shellcheck disable=SC2086 # a list of words
    quietly "$build/log/apt-install" $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing
}

# need build|test|bench|rdma: everything that building takes, or testing or bench/compare too, or
# only what script/rdma-vm takes.
need() {
    packages=$packages_build
    case $1 in
    test) packages="$packages_build $packages_test" ;;
    bench) packages="$packages_build $packages_bench" ;;
    rdma) packages=$packages_rdma ;;
    esac
    if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
        # shellcheck disable=SC2086 # a list of words
        install_packages $packages
        return 0
    fi
    case $(uname -s) in
    Darwin) hint="brew install cmake ninja pkg-config openssl@3 jansson pcre2 python3" ;;
    *) hint="install what Debian calls: $packages" ;;
    esac
    for tool in cc cmake ninja pkg-config python3; do
        command -v "$tool" >/dev/null || die "$tool is missing: $hint"
    done
    for library in "openssl >= 3.0" jansson libpcre2-8; do
        pkg-config --exists "$library" || die "$library is missing: $hint"
    done
}

# need_venv: a Python virtual environment in build/venv; nothing is installed outside of it.
need_venv() {
    [ ! -x "$venv/bin/pip" ] || return 0
    rm -rf "$venv"
    quietly "$build/log/venv" python3 -m venv "$venv"
}

# need_python PACKAGE==VERSION...: these in that environment.
need_python() {
    need_venv
    have=$("$venv/bin/pip" list --format=freeze --disable-pip-version-check)
    for wanted in "$@"; do
        if ! echo "$have" | grep -qix "$wanted"; then
            say "installing into build/venv: $*"
            quietly "$build/log/pip" "$venv/bin/pip" install --disable-pip-version-check "$@"
            return 0
        fi
    done
}
