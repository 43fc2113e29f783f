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

# run_lit BUILD RESULTS
run_lit() {
  say "lit"
  "$LLVM_BIN/lit" -q -j "$JOBS" --xunit-xml-output "$2/lit.xml" "$1/test"
}

# run_gtests BUILD RESULTS [NAME...]: all test programs of a build, or some. One that dies leaves no file, which
# sum_results takes for a failure: the names are listed before anything runs.
run_gtests() {
  local build=$1 results=$2 binary name
  shift 2
  while read -r binary; do
    name=$(basename "$binary")
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    echo "$name" >>"$results/expected"
    say "$name"
    "$binary" --gtest_brief=1 --gtest_output="xml:$results/$name.xml"
  done < <(find "$build/runtime/test" "$build/test" -name '*_tests' -type f -perm -u+x 2>/dev/null | sort)
}

# run_pytest BUILD RESULT.xml ARGUMENT...: every N-th test, from the I-th, where LATHE_TEST_SHARD is I/N.
run_pytest() {
  local build=$1 result=$2
  shift 2
  LATHE_BUILD_DIR=$build LATHE_BUILD=$build LATHE_OPT=$build/tools/lathe-opt/lathe-opt \
    PYTHONPATH=$ROOT/python:$ROOT/scripts \
    "$VENV/bin/python" -m pytest -q -p no:cacheprovider -p pytest_shard --junit-xml "$result" "$@"
}

# sum_results RESULTS [--budgets]: of everything in the folder, and of what should be there.
sum_results() {
  local names
  names=$({ cat "$1/expected" 2>/dev/null; find "$1" -name '*.xml' -printf '%f\n' | sed 's/\.xml$//'; } | sort -u)
  # shellcheck disable=SC2086
  "$VENV/bin/python" "$ROOT/scripts/sum-results.py" ${2:-} "$1" $names
}
