"""What a run uses and nobody may ever tell: passwords, keys and tokens, noted as they are used. Pure, but for what it remembers.

Who searches what was told for them is `told.py`'s reader, once all tests have run.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Iterator

# Shorter ones are words that stand in any text.
LEAST = 8
# A line of a key, apart from its first and last.
LEAST_LINE = 16
# Keys of Secrets, and of the JSON in them, whose values anybody may see.
PUBLIC = {
    *("address", "auths", "caData", "caFile", "certFile", "clusterName", "email", "insecure"),
    *("githubAppBaseURL", "githubAppID", "githubAppInstallationID", "githubAppInstallationOwner", "enableOCI"),
    *("known_hosts", "name", "namespace", "project", "roleARN", "server", "serverName", "trustpolicy.json", "type", "url", "username"),
}
# So end keys whose values are public keys and certificates.
PUBLIC_ENDS = (".asc", ".crt", ".pub", ".sshpub")
# Parts of the names of environment variables that hold what is confidential.
VARIABLES = ("SECRET", "TOKEN", "PASSWORD")
PASSWORD = re.compile(r"://[^/@:]*:([^/@]+)@")

_lock = threading.Lock()
_known: set[str] = set()


def add(*words: str) -> None:
    """Each as a whole; of several lines, such as a key's, each that is long enough as well."""
    with _lock:
        for word in words:
            _known.update(pieces(word))


def known() -> set[str]:
    with _lock:
        return set(_known)


def pieces(word: str) -> set[str]:
    lines = [line.strip() for line in word.strip().splitlines()]
    if len(lines) > 1:
        return {line for line in lines if len(line) >= LEAST_LINE and not line.startswith(("-----", "#"))}
    return {word.strip()} if len(word.strip()) >= LEAST else set()


def add_process(arguments: list[str], variables: dict[str, str]) -> None:
    """Of a process: variables that are called so, and passwords in URLs."""
    add(*(value for name, value in variables.items() if any(part in name for part in VARIABLES)))
    add(*(found for text in (*arguments, *variables.values()) for found in PASSWORD.findall(text)))


def add_secret(item: dict) -> None:
    """A Secret as it is given to an API server, or comes from one."""
    for key, value in (item.get("stringData") or {}).items():
        add(*values(key, str(value)))
    for key, value in (item.get("data") or {}).items():
        try:
            add(*values(key, base64.b64decode(value or "").decode()))
        except (binascii.Error, UnicodeDecodeError):
            # Helm's releases and the like; what was given as text is noted from there.
            continue
    user = {**(item.get("stringData") or {})}
    if "username" in user and "password" in user:
        # As HTTP sends it.
        add(base64.b64encode(f"{user['username']}:{user['password']}".encode()).decode())


def values(key: str, text: str) -> Iterator[str]:
    """The confidential part of one value: all of it, or of a JSON text the leaves that are."""
    if key in PUBLIC or key.endswith(PUBLIC_ENDS):
        return
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict):
        yield from leaves(parsed)
    else:
        yield text


def leaves(parsed: object) -> Iterator[str]:
    if isinstance(parsed, dict):
        for key, value in parsed.items():
            # Below `auths` are the names of registries.
            if key not in PUBLIC or isinstance(value, dict):
                yield from leaves(value)
    elif isinstance(parsed, list):
        for value in parsed:
            yield from leaves(value)
    elif isinstance(parsed, str):
        yield parsed


def add_request(path: str, options: dict) -> None:
    """A request to an API server: the Secret in it, if there is one."""
    if "/secrets" not in path:
        return
    body = options.get("json") or options.get("data")
    try:
        item = json.loads(body) if isinstance(body, str | bytes) else body
    except ValueError:
        return
    if isinstance(item, dict):
        add_secret(item)
