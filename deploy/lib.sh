# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034  # the tables of packages are used by those who source this
# What the scripts of this folder share: messages, Debian packages, LibTorch, configure and build.
# Source it after `set -euo pipefail`.

repo_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
log_file=

# ---- messages --------------------------------------------------------------------------------------------

say() {
  if [ -t 1 ]; then printf '\033[1m==> %s\033[0m\n' "$*"; else printf '==> %s\n' "$*"; fi
}

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# die_with_log WHAT: WHAT failed; the reason in one sentence where the log has a known one, else its last lines.
die_with_log() {
  local reason
  reason=$(reason_in "$log_file")
  [ -n "$reason" ] || { printf '%s\n' "--- the end of $log_file:" && tail -n 25 "$log_file"; } >&2
  die "$1 failed${reason:+: $reason} (everything it said: $log_file)"
}

reason_in() {
  local log=$1
  if grep -q "Operation cancelled by user" "$log"; then
    echo "it was interrupted"
  elif grep -qiE "no space left on device|enough free space" "$log"; then
    echo "the disk is full"
  elif grep -qE "DO NOT MATCH THE HASHES" "$log"; then
    echo "a downloaded file does not have the pinned hash and was thrown away; the package index or the mirror serves something else"
  elif grep -qE "Could not get lock|Unable to acquire the dpkg frontend lock" "$log"; then
    echo "another program holds apt's lock"
  elif grep -qE "(Temporary failure|Could not|failure in name) resolv|Could not connect|Cannot initiate the connection|establish a new connection|Connection (refused|reset|broken)|Connection.* timed out|ReadTimeout|Network is unreachable|No route to host|ProxyError|IncompleteRead|Failed to fetch" "$log"; then
    echo "the network cannot be reached"
  elif grep -qE "Unable to locate package|has no installation candidate" "$log"; then
    echo "apt does not know $(sed -nE "s/.*(Unable to locate package|Package) '?([^ ']+).*/\2/p" "$log" | sort -u | paste -sd' '); its lists are empty or this release does not have it"
  elif grep -qE "^dpkg: error processing" "$log"; then
    echo "dpkg cannot install $(sed -nE 's/^dpkg: error processing [a-z]+ ([^ ]+).*/\1/p' "$log" | sort -u | paste -sd' ')"
  elif grep -qE "No matching distribution found" "$log"; then
    echo "the package index cannot be reached or does not have $(sed -nE 's/.*No matching distribution found for ([^ ]+).*/\1/p' "$log" | head -n1)"
  fi
}

# The log of one noisy step; kept only where the step fails.
start_log() {
  log_file=$(mktemp "${TMPDIR:-/tmp}/mtm-$1.XXXXXX.log") || die "cannot write to ${TMPDIR:-/tmp}"
}

end_log() {
  rm -f "$log_file"
}

# ---- Debian packages -------------------------------------------------------------------------------------

# A line each: package, then how to recognise it where there is no dpkg (a command, a header or a library).
build_packages="
  g++                     command:c++
  cmake                   command:cmake
  ninja-build             command:ninja
  ccache                  command:ccache
  pkg-config              command:pkg-config
  python3                 command:python3
  protobuf-compiler       command:protoc
  protobuf-compiler-grpc  command:grpc_cpp_plugin
  libprotobuf-dev         header:google/protobuf/message.h
  libgrpc++-dev           header:grpcpp/grpcpp.h
  libabsl-dev             header:absl/status/statusor.h
  libspdlog-dev           header:spdlog/spdlog.h
  nlohmann-json3-dev      header:nlohmann/json.hpp
  libcli11-dev            header:CLI/CLI.hpp
  libssl-dev              header:openssl/ssl.h
  libpcre2-dev            header:pcre2.h
  libxxhash-dev           header:xxhash.h
  libzip-dev              header:zip.h
  libcpp-httplib-dev      header:httplib.h
  libfaiss-dev            header:faiss/Index.h
  libblas-dev             library:libblas.so
  liblapack-dev           library:liblapack.so
  libgtest-dev            header:gtest/gtest.h
  libgmock-dev            header:gmock/gmock.h
  libbenchmark-dev        header:benchmark/benchmark.h
"
test_packages="
  curl                    command:curl
  openssl                 command:openssl
  shellcheck              command:shellcheck
  python3-grpcio          python:grpc
  python3-protobuf        python:google.protobuf
  python3-yaml            python:yaml
  yamllint                command:yamllint
  haproxy                 command:haproxy
  prometheus              command:promtool
  systemd                 command:systemd-analyze
"
package_packages="
  dpkg-dev                command:dpkg-shlibdeps
  file                    command:file
"

on_debian() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null
}

prefix_path() {
  local path=${CMAKE_PREFIX_PATH:-}
  echo "${path//[:;]/ }"
}

# A system without dpkg: is the file there, in the usual places or under CMAKE_PREFIX_PATH?
is_found() {
  local kind=${1%%:*} what=${1#*:} dir
  case $kind in
    command) command -v "$what" >/dev/null ;;
    python) python3 -c "import $what" 2>/dev/null ;;
    header)
      for dir in /usr /usr/local $(prefix_path); do
        [ ! -e "$dir/include/$what" ] || return 0
      done
      return 1 ;;
    library)
      for dir in /usr /usr/local $(prefix_path); do
        ! compgen -G "$dir/lib*/$what" >/dev/null && ! compgen -G "$dir/lib/*/$what" >/dev/null || return 0
      done
      return 1 ;;
  esac
}

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# missing_of TABLE: the names, one a line.
missing_of() {
  local package probe
  while read -r package probe; do
    [ -n "$package" ] || continue
    if on_debian; then is_installed "$package"; else is_found "$probe"; fi || echo "$package"
  done <<<"$1"
}

# need_packages TABLE...: installs what is missing, or says what to install.
need_packages() {
  local missing
  mapfile -t missing < <(missing_of "$(printf '%s\n' "$@")")
  [ ${#missing[@]} -gt 0 ] || return 0
  on_debian || die "this system has no apt; please install these yourself (Debian's names): ${missing[*]}"
  say "Installing Debian packages: ${missing[*]}"
  apt_install "${missing[@]}"
  stop_services "${missing[@]}"
}

# The tests start these themselves, on ports of their own; as services nobody asked for them.
stop_services() {
  local package
  [ -d /run/systemd/system ] || return 0
  for package in "$@"; do
    case $package in haproxy | prometheus) as_root systemctl disable --now --quiet "$package" ;; esac
  done
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo ${sudo_options[@]+"${sudo_options[@]}"} "$@"; fi
}

# Asks for sudo's password once, before its output goes to a log; never asks where nobody can answer.
check_root() {
  sudo_options=()
  [ "$(id -u)" -ne 0 ] || return 0
  [ -t 0 ] || sudo_options=(-n)
  { command -v sudo >/dev/null && sudo ${sudo_options[@]+"${sudo_options[@]}"} true; } ||
    die "installing packages takes root; run this as root, or first: apt-get install --no-install-recommends $*"
}

apt_install() {
  local options=(-y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o APT::Status-Fd=3)
  check_root "$@"
  start_log apt
  # A third-party source that cannot be read is no reason to stop: the installation says whether the packages came.
  as_root apt-get update >"$log_file" 2>&1 || true
  # The descriptor is opened beyond sudo, which would close it.
  as_root sh -c 'DEBIAN_FRONTEND=noninteractive exec apt-get "$@" 3>&1' sh install "${options[@]}" "$@" 2>&1 | apt_progress ||
    die_with_log "installing Debian packages"
  end_log
}

# apt's machine-readable status becomes a line that is rewritten; everything goes to the log.
apt_progress() {
  local line phase percent
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log_file"
    case $line in
      dlstatus:*) phase=downloading ;;
      pmstatus:*) phase=installing ;;
      *) continue ;;
    esac
    percent=$(cut -d: -f3 <<<"$line")
    [ ! -t 1 ] || printf '\r    %s %3.0f%% \033[K' "$phase" "${percent:-0}"
  done
  [ ! -t 1 ] || printf '\r\033[K'
}

# ---- LibTorch --------------------------------------------------------------------------------------------

libtorch_version=2.15.0

cache_dir() {
  local base=${XDG_CACHE_HOME:-${HOME:-}/.cache}
  echo "${MTM_CACHE_DIR:-$base/mtm}"
}

libtorch_flavour() {
  case ${MTM_CUDA:-0} in 0 | '') echo cpu ;; *) echo cuda ;; esac
}

libtorch_prefix() {
  echo "$(cache_dir)/libtorch-$libtorch_version-$(libtorch_flavour)/torch"
}

# A LibTorch of the user's own, on CMAKE_PREFIX_PATH, is left to CMake.
has_own_libtorch() {
  local dir
  for dir in $(prefix_path); do
    ! compgen -G "$dir/lib*/libtorch_cpu.so" >/dev/null || return 0
  done
  return 1
}

need_libtorch() {
  ! has_own_libtorch || return 0
  [ ! -e "$(libtorch_prefix)/lib/libtorch_cpu.so" ] || return 0
  [ "$(uname -sm)" = "Linux x86_64" ] ||
    die "LibTorch is fetched for Linux on x86_64 only, this is $(uname -sm): unpack LibTorch 2.15 or newer yourself and name its folder in CMAKE_PREFIX_PATH"
  find_pip
  mkdir -p "$(cache_dir)" 2>/dev/null || die "cannot make $(cache_dir); MTM_CACHE_DIR names another place"
  ( # The lock lets two builds share a cache; in a subshell, so that it and the trap end with it.
    flock 9 || die "cannot lock $(cache_dir)/.lock"
    [ -e "$(libtorch_prefix)/lib/libtorch_cpu.so" ] || fetch_libtorch
  ) 9>"$(cache_dir)/.lock"
}

# Sets `pip`, installing Debian's where there is none.
find_pip() {
  local python
  for python in python3 /usr/bin/python3; do
    pip=("$python" -m pip)
    ! "${pip[@]}" --version >/dev/null 2>&1 || return 0
  done
  need_packages "python3-pip command:pip3"
  pip=(/usr/bin/python3 -m pip)
  "${pip[@]}" --version >/dev/null 2>&1 || die "python3 has no pip, which downloads LibTorch; please install it"
}

fetch_libtorch() {
  local cache flavour stage requirements
  cache=$(cache_dir) flavour=$(libtorch_flavour) requirements=libtorch-requirements.txt
  [ "$flavour" = cpu ] || requirements=libtorch-cuda-requirements.txt
  rm -rf "$cache"/.fetch.*
  check_space "$cache" "$flavour"
  stage=$(mktemp -d "$cache/.fetch.XXXXXX") || die "cannot write to $cache"
  # shellcheck disable=SC2064  # the value of now is what is to be removed
  trap "rm -rf '$stage'" EXIT
  mkdir "$stage/wheels" "$stage/tmp" "$stage/tree"
  download_wheels "$requirements" "$stage"
  say "Unpacking LibTorch into $cache"
  start_log unpack
  "${pip[0]}" "$repo_root/deploy/unpack_libtorch.py" "$flavour" "$stage/wheels" "$stage/tree" >"$log_file" 2>&1 ||
    die_with_log "unpacking LibTorch"
  end_log
  mv -T "$stage/tree" "$cache/libtorch-$libtorch_version-$flavour"
}

# check_space FOLDER FLAVOUR: for a while every wheel is there twice (pip copies it), later beside what is unpacked.
check_space() {
  local need free
  case $2 in cpu) need=1200 ;; cuda) need=5600 ;; esac
  free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$need" ] ||
    die "the disk of $1 is too full: fetching LibTorch takes $need MB and $free MB are free; MTM_CACHE_DIR names another place"
}

# Any python's pip does: the platform is named, nothing is installed.
download_wheels() {
  local requirements=$1 stage=$2 size minor platform=()
  case $requirements in *cuda*) size="2.7 GB" ;; *) size="550 MB" ;; esac
  for minor in $(seq 28 -1 5); do platform+=(--platform "manylinux_2_${minor}_x86_64"); done
  for minor in 2014 2010 1; do platform+=(--platform "manylinux${minor}_x86_64"); done
  say "Downloading LibTorch $libtorch_version ($(libtorch_flavour), $size) from the Python package index"
  start_log pip
  local run=("${pip[@]}" download --no-cache-dir --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes
    -r "$repo_root/deploy/$requirements" -d "$stage/wheels" --python-version 3.11 --implementation cp
    --abi cp311 --abi none "${platform[@]}")
  if [ -t 1 ]; then # pip draws its progress bars on a terminal only, and writes its errors to stderr
    { TMPDIR=$stage/tmp "${run[@]}" 2>&1 >&3 | tee "$log_file" >&2; } 3>&1
  else
    TMPDIR=$stage/tmp "${run[@]}" >"$log_file" 2>&1
  fi || die_with_log "downloading LibTorch"
  end_log
}

# ---- configure and build ---------------------------------------------------------------------------------

# build_dir PRESET, as CMakePresets.json has it.
build_dir() {
  case $1 in release) echo build ;; *) echo "build/$1" ;; esac
}

# Compiling a file that includes LibTorch takes up to 2 GB.
build_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable/ { print int($2 / 2000000) }' /proc/meminfo)
  [ "$memory" -ge 1 ] || memory=1
  echo $((cores < memory ? cores : memory))
}

set_up() {
  need_packages "$@"
  need_libtorch
}

configure() {
  local preset=$1 options=(-U 'LibTorch_*')
  if has_own_libtorch; then options+=(-U CMAKE_PREFIX_PATH); else options+=("-DCMAKE_PREFIX_PATH=$(libtorch_prefix)"); fi
  ! command -v ccache >/dev/null || options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  # The tests' Python modules are Debian's, so their Python is Debian's too.
  ! on_debian || options+=(-DPython3_EXECUTABLE=/usr/bin/python3)
  say "Configuring $(build_dir "$preset")/"
  start_log cmake
  cmake --preset "$preset" -S "$repo_root" "${options[@]}" >"$log_file" 2>&1 || die_with_log "cmake --preset $preset"
  end_log
}

# build PRESET [TARGET...]: all targets where none is named. Ninja shows how far it is.
build() {
  local preset=$1 dir targets=()
  dir=$(build_dir "$preset")
  shift
  [ $# -eq 0 ] || targets=(--target "$@")
  say "Building $dir/"
  cmake --build "$repo_root/$dir" --parallel "$(build_jobs)" ${targets[@]+"${targets[@]}"} ||
    die "the build in $dir/ failed; what the compiler says is above$(disk_note "$repo_root")"
}

disk_note() {
  local free
  free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge 50 ] || echo " (the disk of $1 is full)"
}
