#!/usr/bin/env bash
# Builds app.py and Python itself into one component.
#
#   build.sh [OUT.wasm]
#
# Needs Python 3.10 or later with venv. componentize-py comes from PyPI into TOOLS (./build).
set -euo pipefail
out=$(realpath -m "${1:-module.wasm}")
tools=$(realpath -m "${TOOLS:-build}")
cd "$(dirname "$0")"
wit=$(realpath -e wit 2>/dev/null || realpath ../../wit)
version=0.25.1

if [ "$(cat "$tools/version" 2>/dev/null)" != "$version" ]; then
  rm -rf "$tools/venv"
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "componentize-py==$version"
  echo "$version" > "$tools/version"
fi
# --stub-wasi: the host has no WASI. Whoever calls a clock, a file or a socket ends the sandbox.
"$tools/venv/bin/componentize-py" --wit-path "$wit" --world transform-module componentize --stub-wasi app --output "$out.part" >&2
mv "$out.part" "$out"
