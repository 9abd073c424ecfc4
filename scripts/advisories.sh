#!/usr/bin/env bash
# Checks the dependencies against the RustSec advisories. Where their database can neither be fetched nor is there
# from before, it says so and passes: no network is no finding.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

status=0
cargo deny --log-level warn check advisories 2>"$log" || status=$?
if ((status != 0)) && grep -q 'failed to fetch advisory database' "$log"; then
  status=0
  cargo deny --offline --log-level warn check advisories 2>"$log" || status=$?
  if ((status != 0)) && grep -q '\[ERROR\] failed to' "$log"; then
    printf 'advisories: NOT CHECKED, their database cannot be reached\n' >&2
    exit 0
  fi
  printf 'advisories: their database cannot be reached; checking against the copy fetched earlier\n' >&2
fi
cat "$log" >&2
exit "$status"
