#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

usage() {
  cat <<'END'
Shows what mtm does: installs what is missing, builds, starts the server with the small model of this repository,
makes memories out of short texts, and generates with and without them. The server and the memories are gone after.

Usage: deploy/demo.sh

Environment: as deploy/setup.sh --help says.

Examples:
  deploy/demo.sh
  MTM_CUDA=1 deploy/demo.sh
END
}

demo=$repo_root/deploy/demo_model
server=$repo_root/build/server/mtm_server
mtm=$repo_root/build/client/mtm
server_pid=
work=

clean_up() {
  if [ -n "$server_pid" ]; then
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
  fi
  [ -z "$work" ] || rm -rf "$work"
}

# The server chooses a free port of the loopback interface and writes its address down once it listens.
start_server() {
  say "Starting the server"
  "$server" serve --model "$demo/model" --store "$work/store" --listen 127.0.0.1:0 --port-file "$work/port" \
    >"$work/server.log" 2>&1 &
  server_pid=$!
  local port
  until [ -s "$work/port" ] && "$mtm" --server "$(address)" model >/dev/null 2>&1; do
    kill -0 "$server_pid" 2>/dev/null || { tail -n 20 "$work/server.log" >&2 && die "the server did not start"; }
    [ "$SECONDS" -lt "$deadline" ] || { tail -n 20 "$work/server.log" >&2 && die "the server is not ready after 60 s"; }
    sleep 0.1
  done
  MTM_SERVER=$(address)
  export MTM_SERVER
}

address() {
  local port
  port=$(cat "$work/port")
  echo "127.0.0.1:${port##*:}"
}

# What is shown is what is run.
run() {
  printf '\n$ mtm'
  printf ' %q' "$@"
  printf '\n'
  "$mtm" "$@"
}

remember_texts() {
  local text
  say "Making a memory out of each text in deploy/demo_model/texts"
  for text in "$demo"/texts/*.txt; do
    run remember "$(basename "$text" .txt)" "$text"
  done
}

# demo.tsv has a line for each comparison: a memory as `--memory` takes it, a tab, a prompt.
compare_prompts() {
  local memory prompt first=
  say "The same prompts without and with a memory"
  while IFS=$'\t' read -r memory prompt <&3; do
    run compare --memory "$memory" --temperature 0 --max-tokens 12 "$prompt"
    [ -n "$first" ] || first=$memory first_prompt=$prompt
  done 3<"$demo/demo.tsv"
  say "What the memory did: the lookups of the first prompt's first tokens"
  run trace --memory "$first" --temperature 0 --max-tokens 2 --max-entries 24 "$first_prompt"
}

main() {
  case ${1:-} in
    '') ;;
    -h | --help) usage && exit ;;
    *) die "unknown option $1; see deploy/demo.sh --help" ;;
  esac
  set_up "$build_packages"
  configure release
  build release mtm_server mtm
  work=$(mktemp -d "${TMPDIR:-/tmp}/mtm-demo.XXXXXX")
  trap clean_up EXIT
  deadline=$((SECONDS + 60))
  start_server
  remember_texts
  compare_prompts
  say "Done. To go on by yourself: build/server/mtm_server serve --help, build/client/mtm --help"
}

main "$@"
