"""Collects the kernel modules of a guest: modules.py FOLDER-OF-ALL FOLDER-TO-FILL

In the order of their names each comes after what it needs.
"""

import lzma
import pathlib
import sys

# rdma_rxe asks the kernel for its checksums, so nothing names their modules. A kernel that has one
# of these built in has no file for it.
WANTED = """crc32_generic crc32c_generic libcrc32c virtio_pci 9p 9pnet_virtio overlay virtio_net veth
            sch_netem rdma_rxe""".split()


def content(path):
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def needs(module):
    """As the module says itself: modules.dep is written when a kernel is installed, not before."""
    for note in module.split(b"\0"):
        if note.startswith(b"depends="):
            return [name for name in note.decode().removeprefix("depends=").split(",") if name]
    return []


def collect(folder):
    """The modules' content by name, each after what it needs."""
    files = {path.name.partition(".")[0].replace("-", "_"): path for path in folder.rglob("*.ko*")}
    found = {}

    def visit(name):
        if name not in files or name in found:
            return
        module = content(files[name])
        for needed in needs(module):
            visit(needed.replace("-", "_"))
        found[name] = module

    for name in WANTED:
        visit(name)
    return found


def main():
    source, target = map(pathlib.Path, sys.argv[1:])
    target.mkdir()
    for i, (name, module) in enumerate(collect(source).items()):
        (target / f"{i:02}-{name}.ko").write_bytes(module)


main()
