#!/usr/bin/env bash
# `make audit`: checks licences, bans, sources and advisories of every crate against deny.toml (cargo-deny), and that each has an audit or
# an exemption in supply-chain (cargo-vet). Builds both tools into the cache, once.
# If the advisories cannot be fetched, it prints a warning and passes; for a release (--strict, or KEELSON_RELEASE=1) it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

strict=
case "${KEELSON_RELEASE:-}" in '' | 0) ;; *) strict=1 ;; esac
for argument in "$@"; do
    case "$argument" in
        --strict) strict=1 ;;
        *) echo "usage: $0 [--strict]" >&2 && exit 2 ;;
    esac
done

# Prints the path of a tool from crates.io.
tool() {
    local name=$1 version=$2
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/keelson/tools/$name-$version
    local log=$folder/build.log
    if [ ! -x "$folder/bin/$name" ]; then
        mkdir -p "$folder"
        echo "building $name $version (only once, takes several minutes; log: $log)" >&2
        # With the checkout's pinned toolchain, but in a separate target directory.
        nice -n 15 cargo install "$name" --version "$version" --locked --root "$folder" \
            --target-dir "$folder/target" >"$log" 2>&1 || {
            tail -20 "$log" >&2
            exit 1
        }
        rm -r "$folder/target"
    fi
    echo "$folder/bin/$name"
}

deny=$(tool cargo-deny 0.20.2)
"$deny" --log-level warn check licenses bans sources
echo "licences, bans, sources: no violation of deny.toml"

vet=$(tool cargo-vet 0.10.3)
# Exactly what supply-chain says, without the network.
cargo fetch --locked --quiet
# As a subcommand of cargo, which names itself.
CARGO=${CARGO:-$(command -v cargo)} "$vet" vet check --locked --frozen
echo "audits: every crate is audited or exempt (supply-chain)"

# The advisories are a Git repository on GitHub, which is not reachable everywhere.
database=https://github.com/RustSec/advisory-db
offline=
if [ "${KEELSON_AUDIT_OFFLINE:-}" ]; then
    offline="KEELSON_AUDIT_OFFLINE is set"
elif ! GIT_TERMINAL_PROMPT=0 timeout 20 git ls-remote --quiet --exit-code "$database" HEAD >/dev/null 2>&1; then
    offline="$database is not reachable"
fi
if [ "$offline" ]; then
    echo "ADVISORIES WERE NOT CHECKED: $offline. Run \`make audit\` with access to it." >&2
    if [ "$strict" ]; then
        echo "A release requires them: failed." >&2
        exit 1
    fi
    exit 0
fi
"$deny" --log-level warn check advisories
echo "advisories: none"
