#!/bin/sh
# Builds what a release has for this architecture, into target/release-files. On Linux it runs in Debian 12 (deploy/image/debian-root.sh).
set -eu
cd "$(dirname "$0")/../.."
out=target/release-files
rm -rf "$out"
mkdir -p "$out"

# cargo-auditable writes the list of crates into the binary, where scanners find it.
cargo install --locked cargo-auditable@0.7.7 cargo-cyclonedx@0.5.9

case $(uname -sm) in
    'Linux x86_64') name=linux-amd64 target=x86_64-unknown-linux-musl ;;
    'Linux aarch64') name=linux-arm64 target=aarch64-unknown-linux-musl ;;
    'Darwin arm64') name=darwin-arm64 target=aarch64-apple-darwin ;;
    *) echo "no release for $(uname -sm)" >&2 && exit 1 ;;
esac

# The command line: on Linux static, so that it runs on any distribution. The workflow has added the target.
# The C of aws-lc includes headers of Linux, which musl's own folder lacks.
headers="-idirafter /usr/include -idirafter /usr/include/$(uname -m)-linux-gnu"
export CFLAGS_x86_64_unknown_linux_musl="$headers" CFLAGS_aarch64_unknown_linux_musl="$headers"
cargo auditable build --locked --release --target "$target"
cp "target/$target/release/keelson" LICENSE "$out"
tar -C "$out" -czf "$out/keelson-$name.tar.gz" keelson LICENSE
rm "$out/keelson" "$out/LICENSE"

if [ "$(uname -s)" = Linux ]; then
    rm -rf target/image
    KEELSON_RELEASE=1 make image CARGO_BUILD='cargo auditable build'
    # A file, because artifacts of GitHub keep neither modes nor links.
    tar -C target/image -cf "$out/image.tar" .
    cargo cyclonedx --format json --target "$(uname -m)-unknown-linux-gnu" --override-filename keelson.cdx
    mv keelson.cdx.json "$out"
fi
