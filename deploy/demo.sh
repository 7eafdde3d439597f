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
# How the memories are used, as `--memory NAME:...` takes it: what was measured to be best for this model.
memory_use=method=2,k=8,ts=1,r=0.1
questions_per_text=2
server_pid=
work=

clean_up() {
  if [ -n "$server_pid" ]; then
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
  fi
  [ -z "$work" ] || rm -rf "$work"
}

# The server chooses a free port of the loopback interface and writes it down once it is ready.
start_server() {
  say "Starting the server with the model that the repository carries"
  "$server" serve --model "$demo/model" --store "$work/store" --listen 127.0.0.1:0 --port-file "$work/port" --threads 1 \
    >"$work/server.log" 2>&1 &
  server_pid=$!
  local deadline=$((SECONDS + 60))
  until [ -s "$work/port" ]; do
    kill -0 "$server_pid" 2>/dev/null || die_of_server "did not start"
    [ "$SECONDS" -lt "$deadline" ] || die_of_server "is not ready after 60 s"
    sleep 0.05
  done
  MTM_SERVER=127.0.0.1:$(cat "$work/port")
  export MTM_SERVER
  run model
}

die_of_server() {
  tail -n 20 "$work/server.log" >&2
  die "the server $1; the end of its log is above"
}

# What is shown is what is run.
run() {
  local argument
  printf '\n$ mtm'
  for argument in "$@"; do
    [[ $argument =~ ^[A-Za-z0-9_./:=,@-]+$ ]] || argument="\"$argument\""
    printf ' %s' "$argument"
  done
  printf '\n'
  "$mtm" "$@"
}

remember_texts() {
  local text
  say "Making a memory out of each text in deploy/demo_model/texts"
  cd "$repo_root"
  for text in deploy/demo_model/texts/*.txt; do
    run remember "$(basename "$text" .txt)" "$text"
  done
}

# MEMORY<tab>PROMPT<tab>ANSWER for the first questions on each text; the two texts on cats share a prompt.
prompts() {
  printf 'cats_good\tI think that cats are\t\ncats_bad\tI think that cats are\t\n'
  python3 - "$demo/texts/questions.jsonl" "$questions_per_text" <<'END'
import collections, json, sys
shown = collections.Counter()
for question in map(json.loads, open(sys.argv[1], encoding="utf-8")):
    shown[question["memory"]] += 1
    if shown[question["memory"]] <= int(sys.argv[2]):
        print(question["memory"].removesuffix(".txt"), question["question"], question["answer"].strip(), sep="\t")
END
}

compare_prompts() {
  local memory prompt answer
  say "The same prompts without and with a memory"
  while IFS=$'\t' read -r memory prompt answer <&3; do
    run compare --memory "$memory${memory_use:+:$memory_use}" --temperature 0 --max-tokens 8 "$prompt"
    [ -z "$answer" ] || echo "(the text says: $answer)"
  done 3< <(prompts)
}

show_lookups() {
  local memory prompt answer
  IFS=$'\t' read -r memory prompt answer < <(prompts | tail -n 1)
  say "What the memory did for the first token after the last prompt"
  run trace --memory "$memory${memory_use:+:$memory_use}" --temperature 0 --max-tokens 1 --max-entries 20 "$prompt"
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
  start_server
  remember_texts
  compare_prompts
  show_lookups
  say "Done. To go on by yourself: build/server/mtm_server serve --help, build/client/mtm --help"
}

main "$@"
