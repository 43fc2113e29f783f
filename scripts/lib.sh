# Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

# What the scripts share: where things are, and what they are called. Sourced, not run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${LATHE_BUILD_DIR:-$ROOT/build}
VENV=$BUILD/venv
JOBS=${LATHE_JOBS:-$(nproc)}
LLVM_BIN=/usr/lib/llvm-22/bin

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() {
  echo "error: $*" >&2
  exit 1
}
