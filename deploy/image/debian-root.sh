#!/bin/sh
# Runs a command at the root of the checkout in a Debian 12 root, with root: what is built there has Debian 12's libc, wherever this
# machine's distribution is newer. Needs Linux, root, mmdebstrap and debian-archive-keyring; Rust is the calling user's ($HOME).
#   sudo --preserve-env=HOME deploy/image/debian-root.sh make image
set -eu
checkout=$(cd "$(dirname "$0")/../.." && pwd)
root=${KEELSON_DEBIAN_ROOT:-/var/tmp/keelson-debian-12}
packages=build-essential,ca-certificates,cmake,git,make,musl-tools,python3,skopeo,umoci

if [ ! -e "$root/complete" ]; then
    rm -rf "$root"
    # No fsync: an interrupted root is made again.
    mmdebstrap --variant=apt --dpkgopt=force-unsafe-io --include="$packages" bookworm "$root"
    touch "$root/complete"
fi
cargo=${CARGO_HOME:-$HOME/.cargo} rustup=${RUSTUP_HOME:-$HOME/.rustup}
mkdir -p "$root/work" "$root/cargo" "$root/rustup"

# Its own mounts, which end with the command.
# shellcheck disable=SC2016 # expanded by the inner shell
exec unshare --mount sh -c '
    set -eu
    root=$1
    mount --rbind "$2" "$root/work"
    mount --bind "$3" "$root/cargo"
    mount --bind "$4" "$root/rustup"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/tmp"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    shift 4
    # The checkout belongs to another user.
    exec chroot "$root" env -i HOME=/root CARGO_HOME=/cargo RUSTUP_HOME=/rustup PATH=/cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=/work \
        GITHUB_SERVER_URL="${GITHUB_SERVER_URL:-}" GITHUB_REPOSITORY="${GITHUB_REPOSITORY:-}" \
        sh -c "cd /work && exec \"\$@\"" sh "$@"
' sh "$root" "$checkout" "$cargo" "$rustup" "$@"
