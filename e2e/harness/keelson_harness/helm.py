"""Runs the real Helm with its own empty configuration."""

import os
import subprocess
from pathlib import Path

import yaml

from .paths import tools

SECONDS = 120


class HelmError(Exception):
    """What Helm wrote to standard error."""


class Helm:
    """kubeconfig: of the cluster; commands that need none work without."""

    def __init__(self, directory: Path, kubeconfig: Path | None = None):
        self._tool = tools("helm")["helm"]
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "HELM_CACHE_HOME": str(directory / "helm-cache"),
            "HELM_CONFIG_HOME": str(directory / "helm-config"),
            "HELM_DATA_HOME": str(directory / "helm-data"),
            # Without a kubeconfig, no cluster that happens to run here.
            "KUBECONFIG": str(kubeconfig or directory / "no-kubeconfig"),
        }

    def run(self, *arguments: str | Path, values: dict | None = None) -> str:
        """Standard output. values: like a file for `--values`."""
        command = [self._tool, *arguments, *(["--values", "-"] if values is not None else [])]
        given = yaml.safe_dump(values) if values is not None else None
        result = subprocess.run(
            command, env=self._env, input=given, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if result.returncode:
            raise HelmError(result.stderr.strip())
        return result.stdout
