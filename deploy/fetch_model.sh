#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

usage() {
  cat <<'END'
Downloads a GPT-2 model folder (weights, configuration, tokenizer) from the Hugging Face hub. Every file's size and
hash is checked; an interrupted download goes on where it stopped when the same command is given again.

Usage: deploy/fetch_model.sh [--revision REVISION] NAME [DIR]

  NAME        gpt2, gpt2-medium, gpt2-large, gpt2-xl (or medium, large, xl), distilgpt2, or a repository OWNER/NAME
  DIR         the folder to make; models/NAME in mtm's cache where not given
  --revision  a branch, tag or commit of the repository; main where not given

Environment:
  HF_ENDPOINT     the hub; https://huggingface.co where unset
  HF_TOKEN        sent to the hub, and only to it, as a bearer token
  MTM_CACHE_DIR   mtm's cache; ~/.cache/mtm where unset

Examples:
  deploy/fetch_model.sh gpt2
  deploy/fetch_model.sh medium ./gpt2-medium
  HF_ENDPOINT=https://hub.example.com HF_TOKEN=hf_... deploy/fetch_model.sh example/private-gpt2 ./private
END
}

endpoint=${HF_ENDPOINT:-https://huggingface.co}
endpoint=${endpoint%/}
attempts=5

repository_of() {
  case $1 in
    */*) echo "$1" ;;
    gpt2 | gpt2-medium | gpt2-large | gpt2-xl) echo "openai-community/$1" ;;
    medium | large | xl) echo "openai-community/gpt2-$1" ;;
    distilgpt2) echo distilbert/distilgpt2 ;;
    *) die "unknown model $1; known are gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2 and OWNER/NAME" ;;
  esac
}

check_tools() {
  local tool
  for tool in curl python3 sha256sum flock; do
    command -v "$tool" >/dev/null || die "$tool is needed; on Debian: apt-get install $tool"
  done
  [[ ${HF_TOKEN:-} =~ ^[A-Za-z0-9._~+/=-]*$ ]] || die "HF_TOKEN has characters that no token has"
}

# ---- transfers -------------------------------------------------------------------------------------------

# As a configuration file, so that the token stands in no process's arguments. curl drops the header where a
# redirection leaves the hub's host, port or protocol.
curl_configuration() {
  [ -z "${HF_TOKEN:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$HF_TOKEN"
}

# request URL FILE [CURL_OPTIONS...]: curl's exit status; sets http_code and curl_message.
request() {
  local url=$1 file=$2 status=0 answer redirects='=https'
  shift 2
  [[ $endpoint != http://* ]] || redirects='=http,https'
  answer=$(curl --config <(curl_configuration) --silent --fail --location --proto '=http,https' \
    --proto-redir "$redirects" --connect-timeout 30 --speed-limit 1 --speed-time 60 \
    --output "$file" --write-out '%{http_code} %{errormsg}' "$@" "$url") || status=$?
  http_code=${answer%% *} curl_message=${answer#* }
  return "$status"
}

# die_of_request STATUS WHAT: the sentence for what curl met.
die_of_request() {
  case $1:$http_code in
    22:401) die "$2: the hub wants a token for $repository, or there is no such model; HF_TOKEN is $(token_state)" ;;
    22:403) die "$2: access to $repository is refused; HF_TOKEN is $(token_state), and the model's terms must be accepted on its page" ;;
    22:404) die "$2: $endpoint has no such file in $repository at revision $revision" ;;
    22:*) die "$2: $endpoint answered with HTTP status $http_code" ;;
    5:* | 6:* | 7:* | 28:*) die "$2: the network or the hub $endpoint cannot be reached (${curl_message:-curl $1})" ;;
    23:*) die "$2: cannot write into $stage$(disk_note "$stage")" ;;
    *) die "$2: the download failed (${curl_message:-curl $1})" ;;
  esac
}

token_state() {
  if [ -n "${HF_TOKEN:-}" ]; then echo "set"; else echo "not set"; fi
}

# ---- what the hub has ------------------------------------------------------------------------------------

# Fills size_of_file, hash_of_file (sha256:... for large files, sha1:... of git's blob for others) from the hub's API.
declare -A size_of_file=() hash_of_file=()

read_listing() {
  local listing=$stage/.listing.json status=0 path size hash
  request "$endpoint/api/models/$repository/tree/${revision//\//%2F}?recursive=true" "$listing" || status=$?
  [ "$status" -ne 22 ] || [ "$http_code" -ne 404 ] || die "$endpoint has no model $repository with revision $revision"
  [ "$status" -eq 0 ] || die_of_request "$status" "listing $repository"
  while IFS=$'\t' read -r path size hash; do
    size_of_file[$path]=$size hash_of_file[$path]=$hash
  done < <(parse_listing "$listing")
  [ ${#size_of_file[@]} -gt 0 ] || die "what $endpoint answers for $repository is no list of files"
}

# Only plain names at the top: nothing that the hub says can lead out of the folder.
parse_listing() {
  python3 - "$1" 2>/dev/null <<'END'
import json, re, sys
for entry in json.load(open(sys.argv[1], encoding="utf-8")):
    if entry.get("type") != "file" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", entry["path"]):
        continue
    lfs = entry.get("lfs")
    hash = "sha256:" + lfs["oid"].removeprefix("sha256:") if lfs else "sha1:" + entry["oid"]
    print(entry["path"], int((lfs or entry)["size"]), hash, sep="\t")
END
}

has_file() { [ -n "${size_of_file[$1]:-}" ]; }

# Sets `files`: the configuration, the tokenizer and the weights, whole or the index first.
choose_files() {
  local name
  has_file config.json || die "$repository has no config.json: not a model folder"
  files=(config.json)
  for name in vocab.json merges.txt tokenizer.json; do
    ! has_file "$name" || files+=("$name")
  done
  if has_file model.safetensors; then
    files+=(model.safetensors)
  elif has_file model.safetensors.index.json; then
    download model.safetensors.index.json
    add_shards
  else
    die "$repository has no model.safetensors and no model.safetensors.index.json; other weight formats are not read"
  fi
}

add_shards() {
  local shards shard
  shards=$(python3 -c 'import json, sys
print(*sorted(set(json.load(open(sys.argv[1]))["weight_map"].values())), sep="\n")' "$stage/model.safetensors.index.json" 2>/dev/null) ||
    die "model.safetensors.index.json of $repository has no weight_map"
  while IFS= read -r shard; do
    has_file "$shard" || die "$repository has no $shard, which its model.safetensors.index.json names"
    files+=("$shard")
  done <<<"$shards"
}

check_room() {
  local name need=0 free
  for name in "${files[@]}"; do need=$((need + ${size_of_file[$name]} - $(bytes_of "$stage/$name"))); done
  free=$(df -Pk "$stage" | awk 'NR == 2 { print $4 }')
  [ $((need / 1024)) -lt "$free" ] ||
    die "the disk of $stage is too full: $((need / 1048576 + 1)) MB are to come and $((free / 1024)) MB are free"
}

# ---- one file --------------------------------------------------------------------------------------------

bytes_of() {
  stat -c %s "$1" 2>/dev/null || echo 0
}

is_intact() {
  local file=$stage/$1 size=${size_of_file[$1]} hash=${hash_of_file[$1]}
  [ "$(bytes_of "$file")" -eq "$size" ] || return 1
  case $hash in
    sha256:*) [ "$(sha256sum <"$file" | cut -d' ' -f1)" = "${hash#*:}" ] ;;
    *) [ "$({ printf 'blob %d\0' "$size" && cat "$file"; } | sha1sum | cut -d' ' -f1)" = "${hash#*:}" ] ;;
  esac
}

# A connection that broke off, or a server that has too much to do: worth another try.
is_passing() {
  case $1:$http_code in
    18:* | 28:* | 52:* | 56:* | 92:* | 22:429 | 22:50[0234]) return 0 ;;
    *) return 1 ;;
  esac
}

# download NAME into the stage: goes on with what is there, again after a broken connection, and checks the result.
download() {
  local name=$1 size=${size_of_file[$1]} file=$stage/$1 had status tries=0 restarted=
  while [ "$tries" -lt "$attempts" ]; do
    [ "$(bytes_of "$file")" -le "$size" ] || rm -f "$file"
    had=$(bytes_of "$file") status=0
    [ "$had" -eq "$size" ] || transfer "$name" || status=$?
    case $status in
      0)
        ! is_intact "$name" || return 0
        rm -f "$file"
        # What an earlier run left may belong to another revision: then once more, from the start.
        if [ "$had" -eq 0 ] || [ -n "$restarted" ]; then
          die "$name of $repository does not have the size and hash that the hub lists; the file was deleted"
        fi
        restarted=yes ;;
      33) rm -f "$file" ;; # the server cannot send a part
      *) is_passing "$status" || die_of_request "$status" "$name of $repository" ;;
    esac
    if [ "$(bytes_of "$file")" -gt "$had" ]; then tries=0; else tries=$((tries + 1)); fi
    sleep "$tries"
  done
  die "$name of $repository: gave up after $attempts tries (${curl_message:-HTTP $http_code}) with $had of $size bytes here; the same command goes on from there"
}

transfer() {
  local name=$1 size=${size_of_file[$1]} status=0 watcher=
  if [ -t 1 ]; then watch_file "$stage/$name" "$size" 9<&- & watcher=$!; fi
  request "$endpoint/$repository/resolve/${revision//\//%2F}/$name" "$stage/$name" --continue-at - || status=$?
  if [ -n "$watcher" ]; then
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    printf '\r\033[K'
  fi
  return "$status"
}

# Ends with the script, whose interrupts it does not get.
watch_file() {
  local bar have
  printf -v bar '%40s' ''
  while sleep 0.3 && kill -0 $$ 2>/dev/null; do
    have=$(bytes_of "$1")
    printf '\r    [%-40s] %3d%%  %d of %d MB\033[K' "$(head -c $((have * 40 / $2)) <<<"${bar// /#}")" \
      $((have * 100 / $2)) $((have / 1000000)) $(($2 / 1000000))
  done
}

# ---- all of it -------------------------------------------------------------------------------------------

# The folder appears whole or not at all; what is half-made lies beside it.
open_stage() {
  stage=$target.part
  mkdir -p "$stage" 2>/dev/null || die "cannot make the folder $stage"
  exec 9<"$stage"
  flock -n 9 || die "another fetch_model.sh is filling $stage"
}

close_stage() {
  local path
  for path in "$stage"/* "$stage"/.listing.json; do
    [[ " ${files[*]} model.safetensors.index.json " == *" ${path##*/} "* ]] || rm -rf "$path"
  done
  mv -T "$stage" "$target" 2>/dev/null || die "cannot rename $stage to $target"
}

fetch() {
  local name
  open_stage
  say "Asking $endpoint for $repository"
  read_listing
  choose_files
  check_room
  for name in "${files[@]}"; do
    say "$name ($(((${size_of_file[$name]} + 999) / 1000)) kB)"
    download "$name"
  done
  close_stage
}

main() {
  revision=main
  while [ $# -gt 0 ]; do
    case $1 in
      --revision) [ $# -gt 1 ] || die "--revision takes a branch, tag or commit"; revision=$2 && shift ;;
      -h | --help) usage && exit ;;
      -*) die "unknown option $1; see deploy/fetch_model.sh --help" ;;
      *) break ;;
    esac
    shift
  done
  [ $# -eq 1 ] || [ $# -eq 2 ] || die "which model? see deploy/fetch_model.sh --help"
  check_tools
  repository=$(repository_of "$1")
  [[ $repository/$revision =~ ^[A-Za-z0-9._/-]+$ ]] || die "$repository at revision $revision is no name that the hub can have"
  target=${2:-$(cache_dir)/models/${repository##*/}}
  target=${target%/}
  if [ -e "$target/config.json" ]; then
    say "$target is there already; delete it to fetch it again"
    return
  fi
  [ ! -e "$target" ] || [ -z "$(ls -A "$target" 2>/dev/null || echo file)" ] || die "$target is there and is no model folder"
  fetch
  say "Ready in $target"
}

main "$@"
