#!/usr/bin/env bash
# Installs the outside tools that a group of targets needs: deps.sh [run|test|conformance|lint|bench|image-bench]...
#
# A tool that is already there is left alone, so a second call does nothing and costs milliseconds.
# Debian and Ubuntu; a Rust toolchain and Node.js are taken for granted. What the distribution does
# not package goes to $CARGO_TARGET_DIR/tools, never into the system.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools="${CARGO_TARGET_DIR:-target}/tools"
PATH="$PATH:$tools/bin"
missing=()

die() { printf 'deps: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# need COMMAND PACKAGE...: remember the packages when the command is not on the machine.
need() {
  local command=$1
  shift
  have "$command" || missing+=("$@")
}

as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"
  elif have sudo; then sudo "$@"
  else die "need root or sudo to install: ${missing[*]}"
  fi
}

apt_updated=
apt_update() {
  [[ -n $apt_updated ]] || as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  apt_updated=yes
}

# Debian starts a daemon as soon as its package is installed; nginx and Varnish would take ports
# of this machine. policy-rc.d is the documented way to say no, for the length of this one call.
install_missing() {
  [[ ${#missing[@]} -gt 0 ]] || return 0
  have apt-get || die "please install these by hand (no apt-get here): ${missing[*]}"
  printf 'deps: installing %s\n' "${missing[*]}"
  apt_update
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Use-Pty=0 "${missing[@]}" >/dev/null
  [[ -z $(trap -p EXIT) ]] || { as_root rm -f "$policy"; trap - EXIT; }
  missing=()
}

# promtool comes in the package of the whole Prometheus server, which would be enabled as a daemon;
# unpack the one file instead.
install_promtool() {
  have promtool && return 0
  have apt-get || die "please install promtool by hand (no apt-get here)"
  printf 'deps: unpacking promtool\n'
  apt_update
  local scratch
  scratch=$(mktemp -d)
  (cd "$scratch" && apt-get download -qq prometheus 2>/dev/null && dpkg -x prometheus_*.deb .)
  mkdir -p "$tools/bin"
  install -m 755 "$scratch/usr/bin/promtool" "$tools/bin/promtool"
  rm -rf "$scratch"
}

# The newest Prometheus and Alertmanager, to be compared with: from Debian's unstable, whose programs run on stable releases too.
# The lists of packages and all else are apart from the system's.
install_prometheus() {
  [[ -x $tools/bin/prometheus && -x $tools/bin/prometheus-alertmanager ]] && return 0
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg scratch name mirror
  [[ -e $keyring ]] || die "please put prometheus and prometheus-alertmanager into $tools/bin by hand (no keyring of Debian here)"
  printf 'deps: unpacking Prometheus and Alertmanager\n'
  scratch=$(mktemp -d)
  mkdir -p "$scratch"/state/lists/partial "$scratch"/cache/archives/partial "$tools/bin"
  # The mirror that this machine takes Debian from.
  mirror=$(sed -nE 's#^(deb .*|URIs:.*) ?(https?://[^ ]+/debian)/?( .*)?$#\2#p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1) || true
  [[ -n $mirror ]] || die "no mirror of Debian in /etc/apt"
  printf 'deb [signed-by=%s] %s sid main\n' "$keyring" "$mirror" >"$scratch/sources.list"
  cat >"$scratch/apt.conf" <<CONF
Dir::Etc::SourceList "$scratch/sources.list";
Dir::Etc::SourceParts "-";
Dir::State "$scratch/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$scratch/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
CONF
  APT_CONFIG="$scratch/apt.conf" apt-get update -qq
  (cd "$scratch" && APT_CONFIG="$scratch/apt.conf" apt-get download -qq prometheus promtool prometheus-alertmanager 2>/dev/null)
  for name in "$scratch"/*.deb; do dpkg -x "$name" "$scratch/unpacked"; done
  for name in prometheus promtool prometheus-alertmanager amtool; do
    install -m 755 "$scratch/unpacked/usr/bin/$name" "$tools/bin/$name"
  done
  # Debian's Alertmanager reads its templates from this place and no other.
  [[ -e /usr/share/prometheus/alertmanager/default.tmpl ]] ||
    as_root install -D -m 644 -t /usr/share/prometheus/alertmanager "$scratch"/unpacked/usr/share/prometheus/alertmanager/*.tmpl
  rm -rf "$scratch"
}

# Debian packages Chromium; Ubuntu only as a snap, which containers cannot run. There the browser that
# playwright-core brings is used.
install_chromium() {
  scripts/find-chromium.sh >/dev/null && return 0
  if have apt-get; then
    apt_update
    if grep -qi '^ID=debian' /etc/os-release; then
      missing+=(chromium fonts-dejavu-core)
      install_missing
      return 0
    fi
  fi
  (cd tests/browser && npx playwright-core install --with-deps chromium)
}

# install_node_modules DIR: what DIR's lock file names.
install_node_modules() {
  local dir=$1 stamp=$1/node_modules/.package-lock.json
  [[ $stamp -nt $dir/package-lock.json ]] && return 0
  printf 'deps: npm packages of %s\n' "$dir"
  (cd "$dir" && npm ci --no-audit --no-fund --loglevel=error)
  touch "$stamp"
}

install_typos() {
  have typos && return 0
  printf 'deps: installing typos\n'
  have python3 && python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
  install_missing
  mkdir -p "$tools/bin"
  python3 -m venv "$tools/typos"
  "$tools/typos/bin/pip" install --quiet --disable-pip-version-check typos
  ln -sf ../typos/bin/typos "$tools/bin/typos"
}

install_cargo_deny() {
  have cargo-deny && return 0
  printf 'deps: building cargo-deny (a few minutes, once)\n'
  cargo install --quiet --locked --root "$tools" --target-dir "$tools/build" cargo-deny
  rm -rf "$tools/build"
}

# A real S3 server for the tests: an implementation of its own, which checks signatures. Unoptimised, as that builds in
# half the time.
install_s3s_fs() {
  have s3s-fs && return 0
  printf 'deps: building s3s-fs (a minute or two, once)\n'
  cargo install --quiet --locked --debug --features binary --version 0.14.1 \
    --root "$tools" --target-dir "$tools/build" s3s-fs
  rm -rf "$tools/build"
}

# Real photos, without installing them as wallpapers.
install_photos() {
  [[ -d $tools/photos ]] && return 0
  have apt-get || die "please unpack Debian's lomiri-wallpapers-16.04 to $tools/photos by hand (no apt-get here)"
  printf 'deps: unpacking photos\n'
  apt_update
  local scratch
  scratch=$(mktemp -d)
  (cd "$scratch" && apt-get download -qq lomiri-wallpapers-16.04 2>/dev/null && dpkg -x lomiri-wallpapers-16.04_*.deb photos)
  mkdir -p "$tools"
  mv "$scratch/photos" "$tools/photos"
  rm -rf "$scratch"
}

deps_run() {
  have cargo || die 'no cargo: install a Rust toolchain first'
  have node || die 'no node: install Node.js 20 or newer first'
  local version
  version=$(node -p 'process.versions.node.split(".")[0]')
  ((version >= 20)) || die "Node.js $version is too old: 20 or newer is needed"
  need ffmpeg ffmpeg
  need cc gcc libc6-dev
  need cmake cmake make
  need nasm nasm
  need autoreconf autoconf automake libtool # for ISA-L
  need curl curl ca-certificates
  need jpegtran libjpeg-turbo-progs # the one progressive image of the demo library
  install_missing
}

deps_test() {
  need jq jq
  need ps procps
  need nginx nginx-light
  need redis-server redis-server
  need haproxy haproxy
  need openssl openssl
  need pebble pebble
  need h2load nghttp2-client
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need initdb postgresql
  install_missing
  install_promtool
  install_s3s_fs
  install_node_modules tests/browser
  install_node_modules tests/uploads
  install_node_modules tests/grafana
  install_chromium
}

deps_conformance() {
  install_node_modules tests/conformance
}

deps_lint() {
  install_cargo_deny
  install_typos
}

deps_bench() {
  need curl curl ca-certificates
  need wrk wrk
  need nginx nginx-light
  need varnishd varnish
  need taskset util-linux
  need h2load nghttp2-client
  need openssl openssl
  need jq jq
  install_missing
  install_prometheus
}

# Heavier than the other benches' needs: a build of its own, and photos.
deps_image-bench() {
  need taskset util-linux
  need h2load nghttp2-client
  need openssl openssl
  need cmake cmake make
  need nasm nasm
  need autoreconf autoconf automake libtool # for ISA-L
  install_missing
  install_photos
  install_node_modules benches/image
}

[[ $# -gt 0 ]] || set -- run test conformance lint bench
# nginx and varnishd live in sbin, which is not on every user's PATH.
PATH="$PATH:/usr/sbin:/usr/local/sbin"
for group in "$@"; do
  case $group in
    run | test | conformance | lint | bench | image-bench) "deps_$group" ;;
    *) die "unknown group '$group'; one of run, test, conformance, lint, bench, image-bench" ;;
  esac
done
