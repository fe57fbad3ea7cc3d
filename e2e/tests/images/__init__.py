"""The operator's image: built, pushed, pulled, unpacked, run."""
