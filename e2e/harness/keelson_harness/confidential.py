"""The registry of confidential values that a run uses: passwords, keys and tokens, added when they are used. No I/O.

`recorder.py` saves them beside the recorded output, which a test searches for them after all other tests.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Iterator

# Shorter values occur in any text by chance.
MIN_LENGTH = 8
# A line of a key, apart from its first and last.
MIN_LINE_LENGTH = 16
# Keys of Secrets, and of JSON in them, whose values are not confidential.
PUBLIC = {
    *("address", "auths", "caData", "caFile", "certFile", "clusterName", "email", "insecure"),
    *("githubAppBaseURL", "githubAppID", "githubAppInstallationID", "githubAppInstallationOwner", "enableOCI"),
    *("known_hosts", "name", "namespace", "project", "roleARN", "server", "serverName", "trustpolicy.json", "type", "url", "username"),
}
# Suffixes of keys whose values are public keys and certificates.
PUBLIC_SUFFIXES = (".asc", ".crt", ".pub", ".sshpub")
# An environment variable with one of these in its name is confidential, unless it names a file.
VARIABLES = ("SECRET", "TOKEN", "PASSWORD")
PASSWORD = re.compile(r"://[^/@:]*:([^/@]+)@")

_lock = threading.Lock()
_known: set[str] = set()


def add(*words: str) -> None:
    """Adds each value; of a multi-line value, such as a key, its lines that are long enough."""
    with _lock:
        for word in words:
            _known.update(pieces(word))


def known() -> set[str]:
    with _lock:
        return set(_known)


def pieces(word: str) -> set[str]:
    lines = [line.strip() for line in word.strip().splitlines()]
    if len(lines) > 1:
        return {line for line in lines if len(line) >= MIN_LINE_LENGTH and not line.startswith(("-----", "#"))}
    return {word.strip()} if len(word.strip()) >= MIN_LENGTH else set()


def add_process(arguments: list[str], variables: dict[str, str]) -> None:
    """Adds a process's confidential environment variables, and the passwords in its URLs."""
    add(*(value for name, value in variables.items() if is_confidential(name)))
    add(*(found for text in (*arguments, *variables.values()) for found in PASSWORD.findall(text)))


def is_confidential(variable: str) -> bool:
    return any(part in variable for part in VARIABLES) and not variable.endswith("_FILE")


def add_secret(item: dict) -> None:
    """Adds a Secret's values, as sent to or read from an API server."""
    for key, value in (item.get("stringData") or {}).items():
        add(*values(key, str(value)))
    labels = item.get("metadata", {}).get("labels") or {}
    is_keelsons = labels.get("app.kubernetes.io/managed-by") == "keelson"
    if is_keelsons and labels.get("argocd.argoproj.io/secret-type") == "cluster":
        # It has the address of a cluster and no credential: `test_argocd_registration.py`.
        return
    for key, value in (item.get("data") or {}).items():
        # A kubeconfig that Keelson wrote has no credential: `test_kubeconfig_secret.py`.
        if key == "kubeconfig" and is_keelsons:
            continue
        try:
            add(*values(key, base64.b64decode(value or "").decode()))
        except (binascii.Error, UnicodeDecodeError):
            # Binary, such as Helm releases. Text values are added from stringData.
            continue
    user = item.get("stringData") or {}
    if "username" in user and "password" in user:
        # As in HTTP basic authentication.
        add(base64.b64encode(f"{user['username']}:{user['password']}".encode()).decode())


def values(key: str, text: str) -> Iterator[str]:
    """The confidential parts of one value: all of it, or the confidential strings of a JSON object."""
    if key in PUBLIC or key.endswith(PUBLIC_SUFFIXES):
        return
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict):
        yield from confidential_strings(parsed)
    else:
        yield text


def confidential_strings(parsed: object) -> Iterator[str]:
    if isinstance(parsed, dict):
        for key, value in parsed.items():
            # The keys below `auths` are registry names.
            if key not in PUBLIC or isinstance(value, dict):
                yield from confidential_strings(value)
    elif isinstance(parsed, list):
        for value in parsed:
            yield from confidential_strings(value)
    elif isinstance(parsed, str):
        yield parsed


def add_request(path: str, options: dict) -> None:
    """Adds the Secret in a request to an API server, if there is one."""
    if "/secrets" not in path:
        return
    body = options.get("json") or options.get("data")
    try:
        item = json.loads(body) if isinstance(body, str | bytes) else body
    except ValueError:
        return
    if isinstance(item, dict):
        add_secret(item)
