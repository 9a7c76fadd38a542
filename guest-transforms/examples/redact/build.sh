#!/usr/bin/env bash
# Builds module.c into a module that the host makes a component of.
#
#   build.sh [OUT.wasm]
#
# Needs clang, lld and wasi-libc (Debian: apt-get install clang lld wasi-libc). What `wit-bindgen c` made of the contract
# lies in bindings/: the tool is needed for another version of the contract alone.
set -euo pipefail
out=$(realpath -m "${1:-module.wasm}")
cd "$(dirname "$0")"

# -nostdlib: without the start files, which import WASI. The linker takes from the C library what is used.
clang --target=wasm32-wasi --sysroot="${SYSROOT:-/usr}" -Oz -Wall -Wextra -nostdlib -Ibindings \
  -Wl,--no-entry -Wl,--strip-debug -o "$out.part" \
  module.c bindings/transform_module.c bindings/transform_module_component_type.o -lc
mv "$out.part" "$out"
