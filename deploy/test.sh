#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

usage() {
  cat <<'END'
Installs what is missing, builds, and runs the tests with ctest.

Usage: deploy/test.sh [--long | --preset NAME] [-- CTEST_OPTIONS]

  --long          also the tests labelled `long`, then everything again with sanitizers (asan-ubsan, tsan)
  --preset NAME   release (the default), dev, asan-ubsan or tsan

Examples:
  deploy/test.sh
  deploy/test.sh --preset asan-ubsan
  deploy/test.sh -- -R Tokenizer
END
}

# ThreadSanitizer does not see the barriers of an OpenMP runtime that is built without it: one thread.
sanitizer_environment() {
  case $1 in
    asan-ubsan)
      export UBSAN_OPTIONS="print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}" ;;
    tsan)
      export OMP_NUM_THREADS=1 ;;  # the rest: tests/support/tsan_suppressions.cc
  esac
}

# run_tests PRESET CTEST_OPTIONS...; in a subshell, so that one preset's environment is not the next one's.
run_tests() (
  local preset=$1
  shift
  configure "$preset"
  build "$preset"
  local jobs
  jobs=$(nproc)  # before the environment says one thread, which nproc heeds
  sanitizer_environment "$preset"
  say "Testing $(build_dir "$preset")/"
  ctest --test-dir "$repo_root/$(build_dir "$preset")" --output-on-failure -j"$jobs" "$@"
)

main() {
  local presets=(release) selection=(-LE long)
  while [ $# -gt 0 ]; do
    case $1 in
      --long) presets=(release asan-ubsan tsan) selection=() ;;
      --preset) [ $# -gt 1 ] || die "--preset takes a name"; presets=("$2") && shift ;;
      --) shift && break ;;
      -h | --help) usage && exit ;;
      *) die "unknown option $1; see deploy/test.sh --help" ;;
    esac
    shift
  done
  set_up "$build_packages" "$test_packages"
  local preset
  for preset in "${presets[@]}"; do
    [ "$preset" != tsan ] || selection=(-L threads)  # the others have one thread, and take long
    run_tests "$preset" ${selection[@]+"${selection[@]}"} "$@"
    selection=(-LE long)
  done
}

main "$@"
