#!/bin/sh
# Prints the Python of the end-to-end environment, or of the environment of another requirements.txt (first argument);
# creates the environment first if its requirements changed. It is in the cache, named after a hash of requirements.txt.
set -eu
requirements=${1:-$(cd "$(dirname "$0")/../aws" && pwd)/requirements.txt}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/keelson

python=
for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Python 3.11 or newer is missing: https://www.python.org/downloads, or apt install python3 python3-venv" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$python cannot create virtual environments: apt install python3-venv" >&2
    exit 1
fi

exec "$python" "$(dirname "$0")/venv.py" "$cache" "$requirements"
