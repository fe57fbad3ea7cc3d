"""`python -m keelson_aws`. The environment is set before moto is imported: it reads it then."""

import os

os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
# moto looks at the credentials it is itself run with; the caller's are not its business.
for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "MOTO_ACCOUNT_ID"):
    os.environ.pop(name, None)

from keelson_aws.server import main  # noqa: E402

main()
