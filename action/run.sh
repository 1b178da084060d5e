#!/bin/sh
# run.sh PROGRAM [ARGUMENT…]: gets the program that belongs to this commit of the action, and runs it.
#
# Where it comes from, in this order:
#   1. XCACHE_BIN_DIR, a directory with the programs
#   2. the source of this commit, if XCACHE_BUILD_FROM_SOURCE asks for that
#   3. the runner's tool cache, where an earlier job left it
#   4. the release: from XCACHE_RELEASES, else the server that the action came from, else github.com
#
# SHA256SUMS next to this file has the checksums of the released programs. The release workflow commits it and tags that
# commit, so whoever pins the action pins the programs: 3 and 4 may be in anybody's hands, and nothing whose checksum is
# another one is ever run. Commits between releases have no such file, hence no program.
#
# A program that cannot be had is trouble with the cache, which fails no build unless the user asked for that.
#
# POSIX sh, because container images often have no bash; tests run it with dash and with busybox.
# No word of a path or URL is a pattern.
set -euf

program=$1
shift
here=$(cd -- "$(dirname -- "$0")" && pwd -P)
sums=$here/SHA256SUMS

say() { printf 'xcache: %s\n' "$*" >&2; }

is_true() {
  case $(printf %s "${1:-}" | tr -d '[:space:]' | tr '[:upper:]' '[:lower:]') in
    true | yes | on | 1) true ;;
    *) false ;;
  esac
}

# annotate LEVEL TEXT: what the runner shows at the top of the run. Paths and URLs in it must not become commands.
annotate() { printf '::%s::%s\n' "$1" "$(printf %s "$2" | tr '\r\n' '  ' | sed 's/%/%25/g')"; }

# Trouble: the step goes on without the cache, but for a clean-up, which has nothing else to do.
give_up() {
  must_fail=${XCACHE_FAIL_ON_ERROR:-}
  case $program in
    xcache-gc) must_fail=true ;;
    xcache-restore) is_true "$must_fail" || must_fail=${XCACHE_FAIL_ON_CACHE_MISS:-} ;;
  esac
  if is_true "$must_fail"; then
    annotate error "cannot run $program: $*"
    exit 1
  fi
  annotate warning "cannot run $program, continuing without the cache: $*"
  exit 0
}

# The name of this machine in the names of released files.
target() {
  machine=${RUNNER_ARCH:-$(uname -m)}
  case $machine in
    X64 | x86_64 | amd64) machine=x86_64 ;;
    ARM64 | aarch64 | arm64) machine=aarch64 ;;
  esac
  printf %s "$machine-unknown-linux-musl"
}

# has_sum FILE NAME: whether FILE has the checksum of the released file NAME.
has_sum() {
  wanted=$(sed -n "s/^\([0-9a-f]\{64\}\)  $2\$/\1/p" "$sums")
  [ -n "$wanted" ] && [ "$(sha256sum <"$1")" = "$wanted  -" ]
}

# fetch URL FILE, bounded in time and size. With --proto-redir a redirect cannot lead back to plain HTTP.
fetch() {
  if command -v curl >/dev/null; then
    curl --silent --show-error --fail --location --proto-redir =https --connect-timeout 10 --max-time 120 \
      --speed-limit 1000 --speed-time 20 --retry 2 --retry-max-time 120 --max-filesize 100000000 --output "$2" -- "$1"
  elif command -v wget >/dev/null; then
    timeout 120 wget -q -O "$2" -- "$1"
  else
    give_up 'there is neither curl nor wget to download it with'
  fi
}

# The directories in which releases are, one to a line, best first. SHA256SUMS names the one that it was written for.
hosts() {
  repository=${XCACHE_ACTION_REPOSITORY:-${GITHUB_ACTION_REPOSITORY:-}}
  own=$(sed -n 's/^# //p' "$sums")
  if [ -n "${XCACHE_RELEASES:-}" ]; then printf '%s\n' "${XCACHE_RELEASES%/}"; fi
  if [ -n "${GITHUB_SERVER_URL:-}" ] && [ -n "$repository" ]; then
    printf '%s\n' "${GITHUB_SERVER_URL%/}/$repository/releases/download"
  fi
  printf '%s\n' "${own:-https://github.com/$repository/releases/download}"
}

# download VERSION NAME DIRECTORY: puts the program there, from the first host that has the right one.
download() {
  reason='no release can be fetched'
  tried=
  for host in $(hosts); do
    case " $tried " in *" $host "*) continue ;; esac
    tried="$tried $host"
    url=$host/v$1/$2.gz
    fetch "$url" "$3/$2.gz" || continue
    if has_sum "$3/$2.gz" "$2.gz" && gzip -dc "$3/$2.gz" >"$3/$program" && has_sum "$3/$program" "$2"; then
      chmod 755 "$3/$program"
      say "downloaded from $url"
      return
    fi
    reason="the checksum of $url is not the one that this version of the action was released with"
    say "$reason"
  done
  give_up "$reason (tried:$tried)"
}

# stage DIRECTORY…: makes a temporary directory next to the first of these that can be written to, and calls that one
# `place`. What is put into `staging` becomes visible with a rename, so that other jobs never see half of it.
stage() {
  for place in "$@"; do
    if [ -n "$place" ] && mkdir -p -- "$place" 2>/dev/null &&
      staging=$(mktemp -d -- "$place/.installing-XXXXXX" 2>/dev/null); then
      trap 'rm -rf -- "$staging"' EXIT
      # Without these, a signal would end some shells without their EXIT trap.
      trap 'exit 1' HUP INT TERM
      return
    fi
  done
  give_up "cannot write to $*"
}

unstage() {
  rm -rf -- "$staging"
  trap - EXIT HUP INT TERM
}

# Finds the released program or downloads it; `file` is where it is.
released() {
  [ -f "$sums" ] || give_up "this commit of the action is not a release: use a tag such as v1, or set XCACHE_BIN_DIR or \
XCACHE_BUILD_FROM_SOURCE"
  for tool in sha256sum gzip; do
    command -v "$tool" >/dev/null || give_up "there is no $tool"
  done
  target=$(target)
  version=$(sed -n "s/^[0-9a-f]\{64\}  $program-\(.*\)-$target\$/\1/p" "$sums")
  [ -n "$version" ] || give_up "there is no program for $target"
  name=$program-$version-$target
  below=xcache/$version/$target
  temp=${RUNNER_TEMP:-${TMPDIR:-/tmp}}
  for directory in "${RUNNER_TOOL_CACHE:-$temp}/$below" "$temp/$below"; do
    file=$directory/$program
    if [ -f "$file" ] && [ -x "$file" ]; then
      if has_sum "$file" "$name"; then
        say "version $version found in $directory"
        return
      fi
      annotate warning "$file is not the released program and is not run; it is downloaded again"
    fi
  done
  stage "${RUNNER_TOOL_CACHE:+$RUNNER_TOOL_CACHE/$below}" "$temp/$below"
  download "$version" "$name" "$staging"
  file=$place/$program
  mv -f -- "$staging/$program" "$file" || give_up "cannot write to $place"
  unstage
}

# Builds the source next to this script; `file` is the program. What is built is of one commit, so it lives as long as
# the job.
#
# The step has secrets in its environment, and the workspace may be what a stranger proposes in a pull request. Cargo
# takes orders from both: from variables such as RUSTC_WRAPPER, and from .cargo/config.toml in the working directory and
# in every one above it. So cargo runs in the directory of the source, which must have no such file above it, with an
# empty CARGO_HOME and none of the variables of the step. Only the download of the dependencies, which runs no code of
# theirs, may know proxies and certificates.
built() {
  source=$(dirname -- "$here")
  kept=${RUNNER_TEMP:+$RUNNER_TEMP/xcache-built-$(printf %s "$source" | cksum | cut -d ' ' -f 1)}
  file=$kept/$program
  if [ -n "$kept" ] && [ -x "$file" ]; then
    say "found in $kept"
    return
  fi
  command -v cargo >/dev/null || give_up 'XCACHE_BUILD_FROM_SOURCE is set, and there is no cargo'
  above=$source
  while [ "$above" != / ]; do
    above=$(dirname -- "$above")
    for config in "${above%/}/.cargo/config.toml" "${above%/}/.cargo/config"; do
      [ ! -e "$config" ] || give_up "not built from source, because $config would change the build"
    done
  done
  stage "${RUNNER_TEMP:-${TMPDIR:-/tmp}}"
  say 'building from source, which takes minutes'
  (
    cd -- "$source" &&
      cargo_with ${HTTPS_PROXY:+"HTTPS_PROXY=$HTTPS_PROXY"} ${https_proxy:+"https_proxy=$https_proxy"} \
        ${NO_PROXY:+"NO_PROXY=$NO_PROXY"} ${SSL_CERT_FILE:+"SSL_CERT_FILE=$SSL_CERT_FILE"} cargo fetch --locked --quiet &&
      cargo_with cargo build --release --locked --offline --quiet --target-dir "$staging/target" \
        --package xcache-restore --package xcache-save --package xcache-gc
  ) >&2 || give_up 'the build failed'
  kept=${kept:-$(mktemp -d)}
  mkdir -p -- "$kept"
  for name in xcache-restore xcache-save xcache-gc; do
    mv -f -- "$staging/target/release/$name" "$kept/" || give_up "the build left no $name"
  done
  file=$kept/$program
  unstage
}

# cargo_with [VARIABLE=VALUE…] COMMAND…: in an environment that has only what rustup and cargo need.
cargo_with() {
  env -i PATH="$PATH" HOME="$staging" TMPDIR="$staging" CARGO_HOME="$staging/cargo" \
    RUSTUP_HOME="${RUSTUP_HOME:-${HOME:-}/.rustup}" "$@"
}

system=${RUNNER_OS:-$(uname -s)}
[ "$system" = Linux ] || give_up "xcache runs on Linux only, and this runner has $system"

case ${XCACHE_BIN_DIR:-} in
  *[![:space:]]*)
    file=$XCACHE_BIN_DIR/$program
    [ -x "$file" ] || give_up "XCACHE_BIN_DIR has no $program"
    say "found in XCACHE_BIN_DIR, $XCACHE_BIN_DIR"
    ;;
  *) if is_true "${XCACHE_BUILD_FROM_SOURCE:-}"; then built; else released; fi ;;
esac

# A program for another machine, or on a disk from which none may be run, would end the step with 126 or 127.
"$file" --version >/dev/null 2>&1 || give_up "$file does not run on this machine (exit code $?)"
exec "$file" "$@"
