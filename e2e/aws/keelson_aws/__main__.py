"""`python -m keelson_aws`. Sets the environment before importing moto, which reads it on import."""

from keelson_aws.environment import prepare_environment

prepare_environment()

from keelson_aws.server import main  # noqa: E402

main()
