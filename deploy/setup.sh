#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

usage() {
  cat <<'END'
Installs what building mtm needs: Debian packages by apt (as root or with sudo), and LibTorch into a cache that
all builds of this user share. What is there already is left as it is.

Usage: deploy/setup.sh [--tests] [--package]

  --tests     also what the tests need (Python's gRPC, shellcheck, curl)
  --package   also what `cpack -G DEB` needs

Environment:
  MTM_CUDA=1          fetch LibTorch with CUDA (2.7 GB) instead of the parts that a CPU needs (550 MB)
  MTM_CACHE_DIR       where LibTorch goes; ~/.cache/mtm where unset
  CMAKE_PREFIX_PATH   a LibTorch of your own, 2.15 or newer: then none is fetched

Examples:
  deploy/setup.sh
  MTM_CUDA=1 deploy/setup.sh
  CMAKE_PREFIX_PATH=/opt/libtorch deploy/setup.sh --tests
END
}

main() {
  local tables=("$build_packages")
  while [ $# -gt 0 ]; do
    case $1 in
      --tests) tables+=("$test_packages") ;;
      --package) tables+=("$package_packages") ;;
      -h | --help) usage && exit ;;
      *) die "unknown option $1; see deploy/setup.sh --help" ;;
    esac
    shift
  done
  set_up "${tables[@]}"
  say "Everything that the build needs is there"
  if has_own_libtorch; then echo "cmake --preset release && cmake --build build"; else
    echo "cmake --preset release -DCMAKE_PREFIX_PATH=$(libtorch_prefix) && cmake --build build"
  fi
}

main "$@"
