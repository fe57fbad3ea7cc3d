#!/usr/bin/env bash
# Regenerates deploy/argocd/install.jsonl.gz. Needs Go and gzip only: the manifest and the converter come from the Go module
# proxy, verified against the checksum database. README.md lists the sources.
set -euo pipefail

ARGOCD=v3.2.11
YQ=v4.45.1

out=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

source=$(go mod download -json "github.com/argoproj/argo-cd/v3@$ARGOCD" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
grep -q "quay.io/argoproj/argocd:$ARGOCD\$" "$source/manifests/install.yaml" ||
  { echo "manifests/install.yaml of $ARGOCD does not install $ARGOCD" >&2; exit 1; }
cp "$source/LICENSE" "$out/LICENSE"
chmod u+w "$out/LICENSE"

GOFLAGS=-mod=mod go run "github.com/mikefarah/yq/v4@$YQ" --output-format=json --indent=0 '.' "$source/manifests/install.yaml" >install.jsonl
# Without name and time, so that the same manifest gives the same bytes.
gzip -9 -n <install.jsonl >"$out/install.jsonl.gz"
echo "install.jsonl.gz: $(wc -l <install.jsonl) objects, $(wc -c <install.jsonl) bytes, compressed $(wc -c <"$out/install.jsonl.gz")"
