#!/usr/bin/env bash
# Builds module.js, what it imports, and a JavaScript engine into one component.
#
#   build.sh [OUT.wasm]
#
# Needs Node.js 20 or later with npm. componentize-js comes from npm into TOOLS (./build).
set -euo pipefail
out=$(realpath -m "${1:-module.wasm}")
tools=$(realpath -m "${TOOLS:-build}")
cd "$(dirname "$0")"
wit=$(realpath -e wit 2>/dev/null || realpath ../../wit)

mkdir -p "$tools"
if ! cmp -s package.json "$tools/package.json"; then
  cp package.json "$tools/package.new"
  rm -rf "$tools/node_modules" "$tools/package-lock.json"
  (cd "$tools" && mv package.new package.json && npm install --silent --no-audit --no-fund >&2) || { rm -f "$tools/package.json"; exit 1; }
fi
# Node looks for packages beside the program.
cp build.mjs ./*.js "$tools/"
node "$tools/build.mjs" "$tools/module.js" "$wit" "$out.part"
mv "$out.part" "$out"
