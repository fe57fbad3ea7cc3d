#!/bin/sh
# Joins the images of all architectures into an index and pushes it as NAME:VERSION. Prints `name=` and `digest=`.
#   push-image.sh NAME VERSION IMAGE.tar...
set -eu
name=$1 version=$2
shift 2
here=$(dirname "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

number=0
for archive; do
    number=$((number + 1))
    mkdir "$folder/$number"
    tar -C "$folder/$number" -xf "$archive"
    set -- "$@" "$folder/$number"
    shift
done
digest=$(python3 "$here/../image/index.py" --output "$folder/index" "$@")
# shellcheck disable=SC2086 # options, for tests
skopeo copy --all --preserve-digests ${SKOPEO_OPTIONS:-} "oci:$folder/index:$version" "docker://$name:$version" >&2
echo "name=$name"
echo "digest=$digest"
