"""The environment variables of this process that moto reads, partly on import. I/O: none but the environment."""

import os


def prepare_environment() -> None:
    """Call before the first import of moto."""
    os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    # moto also reads the credentials of its own process, which must not affect callers.
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "MOTO_ACCOUNT_ID"):
        os.environ.pop(name, None)
