"""Shared by the operator's end-to-end tests: manifests, an AWS reader, and the test environment."""

API = "keelson.dev/v1alpha1"
