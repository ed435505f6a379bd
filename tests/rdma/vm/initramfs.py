"""The initramfs of a guest: kernel modules, busybox, and the scripts that it runs."""

import pathlib
import stat

HERE = pathlib.Path(__file__).resolve().parent


class Archive:
    """A cpio archive of the format that the kernel unpacks, "newc"."""

    def __init__(self):
        self.parts, self.entries = [], 0

    def _add(self, name, mode, content=b""):
        self.entries += 1
        fields = [self.entries, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self.parts += [head, bytes(-len(head) % 4), content, bytes(-len(content) % 4)]

    def folder(self, name):
        self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name, content):
        self._add(name, stat.S_IFREG | 0o755, content)

    def content(self):
        self._add("TRAILER!!!", 0)
        return b"".join(self.parts)


def build(modules, job):
    """The archive's bytes. The texts in `job`, by name, come to lie in the guest's /run/job."""
    archive = Archive()
    for folder in "bin", "dev", "proc", "sys", "host", "lower", "upper", "modules", "job":
        archive.folder(folder)
    archive.file("init", (HERE / "init").read_bytes())
    archive.file("bin/busybox", pathlib.Path("/bin/busybox").read_bytes())
    for path in modules.iterdir():
        archive.file(f"modules/{path.name}", path.read_bytes())
    for name, text in job.items():
        archive.file(f"job/{name}", text.encode())
    return archive.content()
