#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

usage() {
  cat <<'END'
Builds the Debian package of mtm_server and mtm, with the LibTorch that they were built with: installs what is missing,
builds in build/package/ without the tests, and packs.

Usage: deploy/package.sh [FOLDER]

  FOLDER   where mtm_VERSION_ARCHITECTURE.deb goes; build/package/ where not given

Environment: as deploy/setup.sh --help says.

Examples:
  deploy/package.sh
  MTM_CUDA=1 deploy/package.sh /srv/packages
END
}

main() {
  case ${1:-} in
    -h | --help) usage && exit ;;
    -*) die "unknown option $1; see deploy/package.sh --help" ;;
  esac
  local build folder
  build=$repo_root/$(build_dir package)
  mkdir -p "${1:-$build}"
  folder=$(cd "${1:-$build}" && pwd)
  set_up "$build_packages" "$package_packages"
  configure package
  build package
  say "Packing"
  start_log cpack
  (cd "$build" && cpack -G DEB -B "$folder") >"$log_file" 2>&1 || die_with_log "cpack"
  end_log
  rm -rf "$folder/_CPack_Packages"
  ls -sh "$folder"/mtm_*.deb
}

main "$@"
