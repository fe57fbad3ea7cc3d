"""Creates the virtual environment of venv.sh, under a lock; an incomplete one is recreated."""

import fcntl
import hashlib
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    cache, requirements = Path(sys.argv[1]), Path(sys.argv[2])
    digest = hashlib.sha256(requirements.read_bytes())
    digest.update(f"{sys.version_info.major}.{sys.version_info.minor}".encode())
    target = cache / f"venv-{digest.hexdigest()[:12]}"
    python = target / "bin" / "python"
    # Written last: an environment without it is incomplete and is recreated.
    complete = target / "complete"
    # Without the lock first: the installation of another environment must not delay the use of this one.
    if not complete.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / ".lock-venv", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not complete.exists():
                create(target, python, requirements)
                complete.touch()
    print(python)


def create(target: Path, python: Path, requirements: Path) -> None:
    started = time.monotonic()
    print(f"Python packages: installing into {target}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(target)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["--require-hashes", "--requirement", str(requirements)]
    if subprocess.run(install, stdout=sys.stderr).returncode:
        sys.exit(f"could not install {requirements}; see pip's message above")
    seconds = time.monotonic() - started
    print(f"Python packages: installed in {seconds:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
