#!/usr/bin/env bash
# Loads a server as its viewers would, through four phases, and writes a report: load-test.sh URL SECONDS USERS [REPORT.html]
#
# baseline (a quarter of the users), ramp (to all of them), sustained, spike (three times as many), calm. SECONDS is for all of them
# together. See scripts/load-test.mjs for what is asked for, and for the environment: PATHS, SIDECAR, GROUP, THINK_MS.
set -euo pipefail
[[ $# -ge 3 ]] || { sed -n '2,5s/^# //p' "$0" >&2; exit 64; }
exec node "$(dirname "${BASH_SOURCE[0]}")/load-test.mjs" "$@"
