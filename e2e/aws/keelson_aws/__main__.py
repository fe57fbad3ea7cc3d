"""`python -m keelson_aws`. Sets the environment before importing moto, which reads it on import."""

import os

os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
# moto also reads the credentials of its own process, which must not affect callers.
for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "MOTO_ACCOUNT_ID"):
    os.environ.pop(name, None)

from keelson_aws.server import main  # noqa: E402

main()
