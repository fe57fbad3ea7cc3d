#!/usr/bin/env bash
# Deletes what up.sh created.
set -euo pipefail
state=${XDG_CACHE_HOME:-$HOME/.cache}/keelson/kind
docker rm --force keelson-aws >/dev/null 2>&1 || true
kind delete cluster --name keelson-workload
kind delete cluster --name keelson-management
rm -rf "$state"
