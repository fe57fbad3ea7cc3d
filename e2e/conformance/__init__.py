"""Conformance: the same behaviour on a real AWS account and on the emulator, and the emulator's answers held against AWS's."""
