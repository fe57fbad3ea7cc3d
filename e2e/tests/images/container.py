"""Runs a process on an image's root filesystem as a container runtime does: read-only, as the image's user, with the files that a
kubelet mounts. Needs Linux, and root or sudo without a password.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from keelson_harness.processes import Process

# The process has its own mounts, which go with it. $1: root, $2: folder for /tmp, $3: hosts file, then the command.
SCRIPT = """
set -e
root=$1 tmp=$2 hosts=$3
shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind "$tmp" "$root/tmp"
touch "$root/etc/hosts"
mount --bind "$hosts" "$root/etc/hosts"
mount -o remount,bind,ro "$root"
exec "$@"
"""
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def privileges() -> list[str] | None:
    """What to put before a command so that root runs it; None if nothing makes it so."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "--non-interactive"]
    works = shutil.which("sudo") and subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode == 0
    return sudo if works else None


class Container:
    def __init__(self, root: Path, config: dict, directory: Path):
        """config: of the image. directory: for the mounted files and logs."""
        self._root, self._config = root, config["config"]
        self._directory = directory
        self.tmp = directory / "tmp"
        self.tmp.mkdir(parents=True)
        self.tmp.chmod(0o777)
        self._hosts = directory / "hosts"
        self._hosts.write_text("127.0.0.1 localhost kubernetes.default.svc\n")

    def command(self, *arguments: str, env: dict[str, str] | None = None) -> list[str]:
        """arguments: instead of the image's CMD, as `args` of a container."""
        environment = dict(entry.partition("=")[::2] for entry in self._config["Env"]) | (env or {})
        process = [*self._config["Entrypoint"], *(arguments or self._config["Cmd"])]
        # Only these variables; set outside, for the image has no `env`.
        only = [shutil.which("env", path=PATH), "-i", *(f"{name}={value}" for name, value in environment.items())]
        enter = [shutil.which("chroot", path=PATH), f"--userspec={self._config['User']}", "--groups=", str(self._root)]
        mounted = [str(self._root), str(self.tmp), str(self._hosts)]
        return [*(privileges() or []), "unshare", "--mount", "sh", "-c", SCRIPT, "sh", *mounted, *only, *enter, *process]

    def output(self, *arguments: str) -> str:
        result = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=30, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def start(self, *arguments: str, env: dict[str, str]) -> Process:
        return Process("keelson in its image", self.command(*arguments, env=env), self._directory / "keelson.log")
