#!/bin/sh
# Runs a command at the root of the checkout in a Debian 12 root, with root: what is built there has Debian 12's libc, wherever this
# machine's distribution is newer. Needs Linux, root, mmdebstrap and debian-archive-keyring.
#   sudo --preserve-env=HOME deploy/image/debian-root.sh make image
#
# Of this machine the command sees only the checkout, and the Rust toolchain of rust-toolchain.toml, read-only. rustup itself is not
# there: it would take toolchains that are links for missing, and replace them. Install the toolchain and its targets before. Crates and
# programs of `cargo install` stay in the root (KEELSON_DEBIAN_ROOT).
set -eu
checkout=$(cd "$(dirname "$0")/../.." && pwd)
root=${KEELSON_DEBIAN_ROOT:-/var/tmp/keelson-debian-12}
packages=build-essential,ca-certificates,cmake,git,make,musl-tools,python3,skopeo,umoci

# With sudo, ~/.cargo/bin is not in PATH.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
rust=$(cd "$checkout" && RUSTUP_AUTO_INSTALL=0 rustc --print sysroot)

if [ ! -e "$root/complete" ]; then
    rm -rf "$root"
    # No fsync: an interrupted root is made again.
    mmdebstrap --variant=apt --dpkgopt=force-unsafe-io --include="$packages" bookworm "$root"
    mkdir "$root/work" "$root/rust" "$root/cargo"
    touch "$root/complete"
fi

# Its own mounts, which end with the command.
# shellcheck disable=SC2016 # expanded by the inner shell
exec unshare --mount sh -c '
    set -eu
    root=$1
    mount --bind "$2" "$root/work"
    mount --bind "$3" "$root/rust"
    mount -o remount,bind,ro "$root/rust"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/tmp"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    shift 3
    # The checkout belongs to another user.
    exec chroot "$root" env -i HOME=/root CARGO_HOME=/cargo PATH=/rust/bin:/cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=/work \
        GITHUB_SERVER_URL="${GITHUB_SERVER_URL:-}" GITHUB_REPOSITORY="${GITHUB_REPOSITORY:-}" \
        sh -c "cd /work && exec \"\$@\"" sh "$@"
' sh "$root" "$checkout" "$rust" "$@"
