"""The image's root filesystem as tar archives: Debian's files that the binary needs, and the binary.

The same input gives the same bytes.
"""

from __future__ import annotations

import io
import posixpath
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from debian import Package

USER = 65532
PASSWD = f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/home/nonroot:/sbin/nologin\n"
GROUP = f"root:x:0:\nnonroot:x:{USER}:\n"
# glibc has both built in; a pod's /etc/hosts counts before DNS.
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# A container runtime mounts on these, also where it may not create them: the root filesystem is read-only.
FOLDERS = ("/dev", "/etc", "/proc", "/run", "/sys", "/var/run")
# Files of the packages, besides libraries: the system's name, for scanners, and licences.
KEPT = re.compile(
    r"/(etc/(debian_version|host\.conf|os-release)|usr/lib/os-release|usr/share/common-licenses/.*|usr/share/doc/[^/]+/copyright)"
)


@dataclass
class Tree:
    """Paths with their entries; parents are added."""

    # (entry, content), by path from the root.
    entries: dict[str, tuple[tarfile.TarInfo, bytes]] = field(default_factory=dict)

    def add(self, path: str, kind: bytes, mode: int, content: bytes = b"", target: str = "", owner: int = 0) -> None:
        parent = posixpath.dirname(path)
        if parent != "/" and parent not in self.entries:
            self.add(parent, tarfile.DIRTYPE, 0o755)
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.type, entry.mode, entry.linkname, entry.size = kind, mode, target, len(content)
        entry.uid = entry.gid = owner
        self.entries[path] = (entry, content)

    def folder(self, path: str, mode: int = 0o755, owner: int = 0) -> None:
        self.add(path, tarfile.DIRTYPE, mode, owner=owner)

    def file(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        self.add(path, tarfile.REGTYPE, mode, content.encode() if isinstance(content, str) else content)

    def archive(self, time: int) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path in sorted(self.entries):
                entry, content = self.entries[path]
                entry.mtime = time
                archive.addfile(entry, io.BytesIO(content))
        return packed.getvalue()


@dataclass(frozen=True)
class Elf:
    """What a dynamically linked file needs."""

    machine: str
    interpreter: str
    libraries: tuple[str, ...]
    # The newest version of glibc's symbols.
    glibc: tuple[int, ...]

    @staticmethod
    def read(path: Path) -> Elf:
        command = ["readelf", "--wide", "--file-header", "--program-headers", "--dynamic", "--version-info", str(path)]
        text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
        machine = re.search(r"Machine:\s+(.+)", text)
        if not machine:
            sys.exit(f"{path} is no ELF file: the image needs a Linux binary")
        interpreter = re.search(r"program interpreter: ([^]]+)]", text)
        versions = re.findall(r"Name: GLIBC_(\d+(?:\.\d+)+)\s", text)
        return Elf(
            machine[1].strip(),
            interpreter[1] if interpreter else "",
            tuple(re.findall(r"\(NEEDED\)\s+Shared library: \[([^]]+)]", text)),
            max((version_numbers(version) for version in versions), default=()),
        )


MACHINES = {"Advanced Micro Devices X86-64": "amd64", "AArch64": "arm64"}


def version_numbers(text: str) -> tuple[int, ...]:
    """The numbers at the start: (2, 36) of 2.36-9+deb12u14."""
    leading = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(number) for number in leading[0].split(".")) if leading else ()


@dataclass
class Contents:
    """The files of all packages, by path; usr-merged or not."""

    members: dict[str, tuple[tarfile.TarInfo, bytes]] = field(default_factory=dict)

    @staticmethod
    def of(packages: list[Package]) -> Contents:
        contents = Contents()
        for package in packages:
            with package.files() as archive:
                for member in archive:
                    content = archive.extractfile(member).read() if member.isfile() else b""
                    contents.members[posixpath.normpath("/" + member.name)] = (member, content)
        return contents

    def library(self, name: str) -> str:
        for path, (member, _) in self.members.items():
            if (
                posixpath.basename(path) == name
                and re.fullmatch(r"(/usr)?/lib/[\w-]+-linux-gnu", posixpath.dirname(path))
                and not member.isdir()
            ):
                return path
        sys.exit(f"the binary needs {name}, which none of the image's packages has: debian.py, IMAGE_PACKAGES")

    def copy(self, path: str, tree: Tree) -> Iterator[bytes]:
        """Adds a file, with what it links to; yields its content."""
        member, content = self.members[path]
        if member.issym():
            tree.add(path, tarfile.SYMTYPE, 0o777, target=member.linkname)
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
            yield from self.copy(target, tree)
        else:
            # No file of the image is setuid or writable, whatever its package says.
            tree.file(path, content, mode=0o755 if member.mode & 0o100 else 0o644)
            yield content


def base_layer(packages: list[Package], binary: Elf, folder: Path) -> Tree:
    """All but the binary. folder: for temporary files."""
    tree, contents = Tree(), Contents.of(packages)
    for path in FOLDERS:
        tree.folder(path)
    tree.folder("/tmp", 0o1777)
    tree.folder("/root", 0o700)
    tree.folder("/home/nonroot", 0o700, USER)
    for path, text in (("/etc/passwd", PASSWD), ("/etc/group", GROUP), ("/etc/nsswitch.conf", NSSWITCH)):
        tree.file(path, text)
    for path, (member, _) in sorted(contents.members.items()):
        # libgcc-s1's licence is a link to gcc-12-base's.
        is_alias = member.issym() and posixpath.dirname(path) == "/usr/share/doc"
        if is_alias or (KEPT.fullmatch(path) and not member.isdir()):
            if member.issym():
                tree.add(path, tarfile.SYMTYPE, 0o777, target=member.linkname)
            else:
                tree.file(path, contents.members[path][1])
    certificates = sorted(path for path in contents.members if re.fullmatch(r"/usr/share/ca-certificates/mozilla/.*\.crt", path))
    tree.file(CERTIFICATES, b"".join(contents.members[path][1].rstrip(b"\n") + b"\n" for path in certificates))
    add_libraries(binary, contents, tree, folder)
    for package in packages:
        # For scanners, which then know of each package's vulnerabilities.
        tree.file(f"/var/lib/dpkg/status.d/{package.name}", package.control())
    return tree


def add_libraries(binary: Elf, contents: Contents, tree: Tree, folder: Path) -> None:
    """The dynamic loader, and every library that the binary or one of them needs."""
    waiting = [contents.library(name) for name in binary.libraries]
    if binary.interpreter:
        waiting.append(binary.interpreter)
    while waiting:
        path = waiting.pop()
        if path in tree.entries:
            continue
        if path not in contents.members:
            sys.exit(f"the binary needs {path}, which none of the image's packages has: was it built for another libc?")
        copy = folder / posixpath.basename(path)
        for content in contents.copy(path, tree):
            copy.write_bytes(content)
        waiting += [contents.library(name) for name in Elf.read(copy).libraries]


def binary_layer(binary: Path) -> Tree:
    tree = Tree()
    tree.file("/keelson", binary.read_bytes(), 0o755)
    return tree
