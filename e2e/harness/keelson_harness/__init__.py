"""Starts the local cloud on this machine: AWS, two Kubernetes API servers, Git, Flux."""
