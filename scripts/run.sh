#!/usr/bin/env bash
# Starts server and sidecar on a library of media, and stops both on Ctrl-C: run.sh [LIBRARY]
#
# Environment: MILLRACE_PORT (8080), MILLRACE_ADMIN_PORT (8081), MILLRACE_SIDECAR_PORT (8090),
# MILLRACE_DATA_DIR (data), MILLRACE_DISK (2GiB, taken at once), MILLRACE_START_SECS (30).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

library=${1:-demo}
bin="${CARGO_TARGET_DIR:-target}/release"
port=${MILLRACE_PORT:-8080}
admin_port=${MILLRACE_ADMIN_PORT:-8081}
sidecar_port=${MILLRACE_SIDECAR_PORT:-8090}
data_dir=${MILLRACE_DATA_DIR:-data}
disk=${MILLRACE_DISK:-2GiB}
start_secs=${MILLRACE_START_SECS:-30}

die() { printf 'run: %s\n' "$*" >&2; exit 1; }

[[ -d $library ]] || die "no library at $library; make one with scripts/demo-library.sh $library"
for binary in millrace millrace-sidecar; do
  [[ -x $bin/$binary ]] || die "no $bin/$binary; build it with: make build"
done

# require_free PORT VARIABLE: a clear word before anything starts, rather than a half-started pair.
require_free() {
  if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
    die "port $1 is in use; choose another with $2=PORT make run"
  fi
}
require_free "$port" MILLRACE_PORT
require_free "$admin_port" MILLRACE_ADMIN_PORT
require_free "$sidecar_port" MILLRACE_SIDECAR_PORT

server=
sidecar=
stop() {
  trap '' INT TERM HUP
  local pid
  for pid in $server $sidecar; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in $server $sidecar; do wait "$pid" 2>/dev/null || true; done
}
trap 'printf "\nstopping: finishing what is in flight\n"; stop; printf "stopped\n"; exit 0' INT TERM HUP
trap stop EXIT

# Job control gives each process its own group, so that Ctrl-C reaches this script alone and each
# process is told to drain exactly once.
set -m
"$bin/millrace" serve --origin "$library" --listen "127.0.0.1:$port" --admin "127.0.0.1:$admin_port" \
  --data-dir "$data_dir" --disk "$disk" --set pages.gallery=true &
server=$!
"$bin/millrace-sidecar" serve --listen "127.0.0.1:$sidecar_port" --target "http://127.0.0.1:$admin_port" &
sidecar=$!
set +m

# wait_ready NAME PID URL
wait_ready() {
  local deadline=$((SECONDS + start_secs))
  until curl -fs -o /dev/null --max-time 2 "$3"; do
    kill -0 "$2" 2>/dev/null || die "$1 stopped while starting; its last words are above"
    ((SECONDS < deadline)) || die "$1 was not ready within ${start_secs} s ($3)"
    sleep 0.1
  done
}
wait_ready server "$server" "http://127.0.0.1:$admin_port/health/ready"
wait_ready sidecar "$sidecar" "http://127.0.0.1:$sidecar_port/health/ready"

cat <<BANNER

  Gallery and player   http://127.0.0.1:$port/
  Ops dashboard        http://127.0.0.1:$sidecar_port/
  Server admin         http://127.0.0.1:$admin_port/metrics

  Ctrl-C stops both.

BANNER

# Either process ending by itself is a fault: stop the other and say so.
status=0
wait -n "$server" "$sidecar" || status=$?
die "one of the two stopped by itself (status $status)"
