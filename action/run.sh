#!/usr/bin/env bash
# run.sh PROGRAM [ARGUMENT…] - finds the program of this checkout's own version, or gets it, and runs it.
#
# Tried in this order, and said in one line which it was:
#   1. XCACHE_BIN_DIR, a directory with the programs
#   2. what an earlier run has left: releases lie in the runner's tool cache, so that on runners of your own later jobs
#      find them too; what was built from source may be of any commit, and lives as long as the job
#   3. the release of this version, if its checksum is right
#   4. the source beside this script, built with cargo
#
# The version is the one in Cargo.toml, not the ref that the workflow names: that may be a moving tag, a branch or a
# commit. Between releases Cargo.toml carries the version to come, which has no release, so the source is built.
#
# A program that cannot be had is trouble with the cache, which fails no build unless the user asked for that.
set -euo pipefail

program=$1
shift
source=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$source/Cargo.toml" | head -n 1)
# Empty if the workflow uses the action from its own checkout.
repository=${XCACHE_ACTION_REPOSITORY:-}

say() { printf 'xcache %s: %s\n' "$version" "$*" >&2; }

is_true() { [[ $(tr '[:upper:]' '[:lower:]' <<<"${1:-}") =~ ^[[:space:]]*true[[:space:]]*$ ]]; }

# Trouble: the step goes on without the cache, but for a clean-up, which has nothing else to do.
give_up() {
  if [[ $program == xcache-gc ]] || is_true "${XCACHE_FAIL_ON_ERROR:-}" || is_true "${XCACHE_FAIL_ON_CACHE_MISS:-}"; then
    echo "::error::cannot get $program $version: $*"
    exit 1
  fi
  echo "::warning::cannot get $program $version, going on without the cache: $*"
  exit 0
}

# The name of this machine in the names of releases.
target() {
  local machine=${RUNNER_ARCH:-$(uname -m)}
  case $machine in
    X64 | x86_64 | amd64) machine=x86_64 ;;
    ARM64 | aarch64 | arm64) machine=aarch64 ;;
  esac
  echo "$machine-unknown-linux-musl"
}

sha256() { sha256sum -- "$1" | cut -d ' ' -f 1; }

# fetch URL FILE
fetch() {
  curl --silent --show-error --fail --location --proto-redir =https --connect-timeout 10 --max-time 300 --retry 3 \
    --output "$2" -- "$1"
}

# download DIRECTORY: puts the programs of the release there.
download() {
  local name wanted url
  name=xcache-$version-$(target).tar.gz
  url=${GITHUB_SERVER_URL:-https://github.com}/$repository/releases/download/v$version
  fetch "$url/SHA256SUMS" "$1/SHA256SUMS" && fetch "$url/$name" "$1/$name" || return
  wanted=$(awk -v name="$name" '$2 == name { print $1 }' "$1/SHA256SUMS")
  if [[ -z $wanted || $(sha256 "$1/$name") != "$wanted" ]]; then
    # No reason to try something else: somebody should look at this.
    give_up "the checksum of $url/$name is not the one in SHA256SUMS"
  fi
  tar -xzf "$1/$name" -C "$1" && rm -- "$1/$name" "$1/SHA256SUMS"
}

# build DIRECTORY: puts the programs there.
build() {
  local programs=(xcache-restore xcache-save xcache-gc) name
  # What is built has no business with the credentials.
  env -u XCACHE_AWS_ACCESS_KEY_ID -u XCACHE_AWS_SECRET_ACCESS_KEY -u XCACHE_AWS_SESSION_TOKEN \
    cargo build --release --locked --quiet --manifest-path "$source/Cargo.toml" --target-dir "$1/target" \
    "${programs[@]/#/--package=}" >&2 || return
  for name in "${programs[@]}"; do mv -- "$1/target/release/$name" "$1/" || return; done
  rm -rf -- "$1/target"
}

# keep STAGING DIRECTORY: makes what is staged visible, all at once.
keep() {
  mkdir -p -- "$(dirname -- "$2")"
  # Another job on this machine may have been faster; its programs are the same.
  if [[ ! -e $2 ]]; then mv -- "$1" "$2"; fi
}

# Finds or installs the programs; `directory` is where they are.
install() {
  local temp released built candidate place
  temp=${RUNNER_TEMP:-${TMPDIR:-/tmp}}
  released=${RUNNER_TOOL_CACHE:-$temp}/xcache/$version/$(target)
  built=$temp/xcache-$version-built
  for candidate in ${repository:+"$released"} "$built"; do
    if [[ -x $candidate/$program ]]; then
      directory=$candidate
      say "found in $directory"
      return
    fi
  done
  # Beside what it becomes, so that it appears all at once.
  if [[ -n $repository ]]; then place=$(dirname -- "$released"); else place=$temp; fi
  if ! { mkdir -p -- "$place" && staging=$(mktemp -d -- "$place/.installing-XXXXXX"); }; then
    give_up "cannot write to $place"
  fi
  trap 'rm -rf -- "$staging"' EXIT
  if [[ -n $repository ]] && download "$staging"; then
    directory=$released
    say "downloaded from the release of $repository"
  elif command -v cargo >/dev/null; then
    directory=$built
    say 'building from source, which takes minutes'
    build "$staging" || give_up 'the build failed'
  else
    give_up "no release for $(target) can be fetched, and there is no cargo to build the source with"
  fi
  keep "$staging" "$directory" || give_up "cannot write to $directory"
}

system=${RUNNER_OS:-$(uname -s)}
if [[ $system != Linux ]]; then give_up "xcache runs on Linux, and this runner has $system"; fi

if [[ ${XCACHE_BIN_DIR:-} == *[![:space:]]* ]]; then
  directory=$XCACHE_BIN_DIR
  [[ -x $directory/$program ]] || give_up "XCACHE_BIN_DIR has no $program"
  say "found in XCACHE_BIN_DIR, $directory"
else
  staging=
  install
  trap - EXIT
  if [[ -n $staging ]]; then rm -rf -- "$staging"; fi
fi
exec "$directory/$program" "$@"
