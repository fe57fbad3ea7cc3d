"""Helpers for the tests of Flux sources that no package provides: age and SOPS encryption, signatures, a GitHub API."""
