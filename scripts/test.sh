#!/usr/bin/env bash
# Runs every test and ends with one line, `N passed, N failed`, added up from what the runners reported.
# A stage that fails does not keep the later ones from running.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
export PATH="$PATH:$CARGO_TARGET_DIR/tools/bin"

passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# stage NAME COMMAND...: runs it, keeps its output in $log, and its status in $status.
status=0
stage() {
  printf '\n== %s\n' "$1"
  shift
  status=0
  "$@" 2>&1 | tee "$log" || status=$?
}

# count PATTERN: the sum of the numbers that sed finds at PATTERN's \(…\).
count() {
  sed -e 's/\x1b\[[0-9;]*m//g' "$log" | sed -n "s/$1/\1/p" | awk '{ sum += $1 } END { print sum + 0 }'
}

# tally PASSED FAILED: a stage that failed without naming a test (it did not even build) counts as one.
tally() {
  local p=$1 f=$2
  if ((status != 0 && f == 0)); then f=1; fi
  passed=$((passed + p)) failed=$((failed + f))
}

rust_tests() {
  if command -v cargo-nextest >/dev/null; then
    stage 'Rust tests' cargo nextest run --workspace --locked --no-fail-fast
    tally "$(count '.* tests\{0,1\} run: .*\b\([0-9]\+\) passed.*')" "$(count '.* tests\{0,1\} run: .*\b\([0-9]\+\) failed.*')"
  else
    stage 'Rust tests' cargo test --workspace --locked --no-fail-fast
    tally "$(count '^test result:.* \([0-9]\+\) passed;.*')" "$(count '^test result:.* \([0-9]\+\) failed;.*')"
  fi
}

# promtool has no count of its own; each file is one test.
alert_rules() {
  shopt -s nullglob
  local file rules=(alerts/*.yml) tests=(alerts/tests/*.yml)
  shopt -u nullglob
  if [[ ${#rules[@]} -gt 0 ]]; then
    stage 'Alert rules' promtool check rules "${rules[@]}"
    tally $((status == 0 ? ${#rules[@]} : 0)) 0
  fi
  for file in "${tests[@]}"; do
    stage "Alert rules: $file" promtool test rules "$file"
    tally $((status == 0)) 0
  done
}

# What clients outside of Rust are pointed at; a debug build answers like a release build, and is there in a fraction of the time.
binaries() {
  stage 'Binaries' cargo build --workspace --bins --locked
  if ((status != 0)); then tally 0 1; fi
  return "$status"
}

browser_tests() {
  stage 'Browser tests' npm --prefix tests/browser test --silent
  tally "$(count '^[^ ]* pass \([0-9]\+\).*')" "$(count '^[^ ]* fail \([0-9]\+\).*')"
}

# What Grafana's own types say of the dashboards.
grafana_dashboards() {
  stage 'Grafana dashboards' npm --prefix tests/grafana test --silent
  tally "$(count '^[^ ]* pass \([0-9]\+\).*')" "$(count '^[^ ]* fail \([0-9]\+\).*')"
}

# A real tus client, disconnected again and again, against a server that is killed.
upload_tests() {
  stage 'Upload tests' env MILLRACE_BIN_DIR="$CARGO_TARGET_DIR/debug" npm --prefix tests/uploads test --silent
  tally "$(count '^[^ ]* pass \([0-9]\+\).*')" "$(count '^[^ ]* fail \([0-9]\+\).*')"
}

# Counts what the suite requires and recommends; a fault is what its bar does not allow, named in tests/conformance.
conformance() {
  stage 'Public suite of cache tests' env MILLRACE_BIN_DIR="$CARGO_TARGET_DIR/debug" \
    npm --prefix tests/conformance test --silent
  tally "$(($(count '^published edition: required \([0-9]\+\)\/.*') + $(count '^published edition: .* optimal \([0-9]\+\)\/.*')))" \
    "$(count '^published edition: .* \([0-9]\+\) below the bar$')"
}

rust_tests
alert_rules
grafana_dashboards
if binaries; then
  browser_tests
  upload_tests
  conformance
fi

printf '\n%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
