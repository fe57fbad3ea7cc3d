#!/usr/bin/env python3
"""Finds or builds the Kubernetes, Flux and Argo CD binaries that the end-to-end tests run.

It looks in KUBEBUILDER_ASSETS, then in the cache. It downloads what envtest publishes
if its index is reachable, and builds the rest with Go from the module proxy. Progress
goes to stderr; `--json` prints {tool: path}.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import envtest

HERE = Path(__file__).resolve().parent
KUBERNETES = "v1.36.3"
COMPONENT_BASE = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Tool:
    name: str
    version: str
    module: str
    package: str
    version_flags: str = ""
    in_envtest: bool = False

    def module_dir(self) -> Path:
        return HERE / "build" / self.module

    def cached(self) -> Path:
        """The path contains a hash of all inputs, so a changed go.mod gives a new binary."""
        digest = hashlib.sha256()
        for part in ("go.mod", "go.sum", *sorted(p.name for p in self.module_dir().glob("*.go"))):
            digest.update((self.module_dir() / part).read_bytes())
        digest.update(f"{self.package} {self.version_flags}".encode())
        folder = f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"
        return tools_dir() / folder / self.name


def kubernetes_tool(name: str, in_envtest: bool = False) -> Tool:
    major, minor, _ = KUBERNETES.lstrip("v").split(".")
    flags = {
        "gitVersion": KUBERNETES,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    return Tool(
        name,
        KUBERNETES,
        "kubernetes",
        f"k8s.io/kubernetes/cmd/{name}",
        " ".join(f"-X {COMPONENT_BASE}.{key}={value}" for key, value in flags.items()),
        in_envtest,
    )


TOOLS = [
    Tool("etcd", "v3.6.5", "etcd", "go.etcd.io/etcd/server/v3", in_envtest=True),
    kubernetes_tool("kube-apiserver", in_envtest=True),
    kubernetes_tool("kube-controller-manager"),
    Tool("source-controller", "v1.9.0", "source-controller", "github.com/fluxcd/source-controller"),
    Tool(
        "kustomize-controller",
        "v1.9.5",
        "kustomize-controller",
        "github.com/fluxcd/kustomize-controller",
    ),
    Tool("helm-controller", "v1.6.4", "helm-controller", "github.com/fluxcd/helm-controller"),
    Tool("registry", "v3.1.2", "registry", "github.com/distribution/distribution/v3/cmd/registry"),
    # One binary: argv[0] selects the Argo CD component.
    Tool(
        "argocd",
        "v3.2.11",
        "argocd",
        "github.com/argoproj/argo-cd/v3/cmd",
        "-X github.com/argoproj/argo-cd/v3/common.version=3.2.11",
    ),
    # Without the version of Kubernetes, `helm template` assumes an old one.
    Tool(
        "helm",
        "v3.22.0",
        "helm",
        "helm.sh/helm/v3/cmd/helm",
        "-X helm.sh/helm/v3/internal/version.version=v3.22.0 "
        + " ".join(
            f"-X helm.sh/helm/v3/pkg/{package}.k8sVersion{part}"
            for package in ("chartutil", "lint/rules")
            for part in (f"Major={KUBERNETES[1:].split('.')[0]}", f"Minor={KUBERNETES.split('.')[1]}")
        ),
    ),
    # `make workflows`.
    Tool("actionlint", "v1.7.12", "actionlint", "github.com/rhysd/actionlint/cmd/actionlint"),
    Tool("kubeconform", "v0.8.0", "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
    # Argo CD's cache: a small program around a Go library that implements the Redis protocol.
    Tool("redis", "v2.40.0", "redis", "."),
]


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "keelson"


def tools_dir() -> Path:
    return cache_dir() / "tools"


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(name: str):
    """Allows one build of a tool at a time on this machine; others wait and use its result."""
    tools_dir().mkdir(parents=True, exist_ok=True)
    with open(tools_dir() / f".lock-{name}", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"  {name}: another process is building it, waiting")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def find(tool: Tool) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and tool.in_envtest:
        candidate = Path(assets) / tool.name
        if os.access(candidate, os.X_OK):
            return candidate
    cached = tool.cached()
    if os.access(cached, os.X_OK):
        return cached
    return envtest.cached(tools_dir(), KUBERNETES, tool.name) if tool.in_envtest else None


def build(tool: Tool, jobs: int) -> Path:
    if not shutil.which("go"):
        sys.exit(
            f"{tool.name}: not in the cache, and Go to build it is not installed.\n"
            "Install Go 1.26 or newer: https://go.dev/doc/install, or your "
            "distribution's package `golang`."
        )
    target = tool.cached()
    target.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when complete, so that no incomplete binary is ever used.
    unfinished = target.with_name(f".{tool.name}.{os.getpid()}")
    command = ["go", "build", "-v", "-mod=readonly", "-trimpath", "-p", str(jobs)]
    command += ["-ldflags", f"-s -w {tool.version_flags}".strip()]
    command += ["-o", str(unfinished), tool.package]
    started = time.monotonic()
    log(f"  {tool.name} {tool.version}: building with Go (takes minutes the first time)")
    try:
        run_with_progress(tool, command, started)
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    log(f"  {tool.name} {tool.version}: built in {time.monotonic() - started:.0f} s")
    return target


def run_with_progress(tool: Tool, command: list[str], started: float) -> None:
    env = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
    process = subprocess.Popen(
        command,
        cwd=tool.module_dir(),
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.nice(10),
    )
    last_lines: list[str] = []
    compiled = downloaded = 0
    done = threading.Event()

    def report() -> None:
        while not done.wait(15):
            log(
                f"  {tool.name}: {time.monotonic() - started:4.0f} s, "
                f"{downloaded} modules downloaded, {compiled} packages compiled"
            )

    threading.Thread(target=report, daemon=True).start()
    try:
        for line in process.stderr:
            if line.startswith("go: downloading"):
                downloaded += 1
            elif line.startswith(("#", "go:")) or " " in line:
                last_lines = [*last_lines[-30:], line]
            else:
                compiled += 1
        code = process.wait()
    except BaseException:
        process.kill()
        raise
    finally:
        done.set()
    if code:
        sys.exit(f"{tool.name}: `{' '.join(command)}` failed:\n{''.join(last_lines)}")


def ensure(tool: Tool, jobs: int) -> Path:
    path = find(tool)
    if path:
        return path
    with locked(tool.name):
        path = find(tool)
        if not path and tool.in_envtest:
            with locked("envtest"):
                envtest.download(tools_dir(), KUBERNETES, log)
            path = find(tool)
        return path or build(tool, jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tools", nargs="*", help="names (default: all)")
    parser.add_argument("--json", action="store_true", help="print {tool: path}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    args = parser.parse_args()
    known = {tool.name: tool for tool in TOOLS}
    unknown = set(args.tools) - set(known)
    if unknown:
        sys.exit(f"unknown tool {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    wanted = [known[name] for name in args.tools] or TOOLS
    missing = [tool.name for tool in wanted if not find(tool)]
    if missing:
        log(f"building {', '.join(missing)} in {tools_dir()}")
    paths = {tool.name: str(ensure(tool, args.jobs)) for tool in wanted}
    if args.json:
        print(json.dumps(paths))


if __name__ == "__main__":
    main()
