#!/usr/bin/env bash
# Hits from the disk tier beside nginx on the same files, both with a warm page cache: a working set of four times the memory
# tier, asked for at random. One core for the server, one for wrk, interleaved. Prints a Markdown table of medians: requests
# per second, and CPU time of the server per request. Only the ratios travel.
#
# Environment: ROUNDS (3), SECS (5) of each measurement, CONNECTIONS (64), MEMORY_MIB (128), MILLRACE (the binary to measure).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/sbin:/usr/local/sbin"

rounds=${ROUNDS:-3}
secs=${SECS:-5}
connections=${CONNECTIONS:-64}
memory=${MEMORY_MIB:-128}
millrace=${MILLRACE:-${CARGO_TARGET_DIR:-target}/release/millrace}
sizes=(65536 1048576)
declare -A title=([65536]='64 KiB' [1048576]='1 MiB')

die() { printf 'bench: %s\n' "$*" >&2; exit 1; }
[[ -x $millrace ]] || die "no $millrace"

scratch=$(mktemp -d)
pids=()
declare -A pid_of port
finish() {
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

mapfile -t cpus < <(taskset -pc $$ | sed 's/.*: //' | tr ',' '\n' | awk -F- '{ for (i = $1; i <= ($2 == "" ? $1 : $2); i++) print i }' | head -2)
[[ ${#cpus[@]} == 2 ]] || die 'needs two CPUs: one for the server, one for the load'

# serve NAME COMMAND…: on the server's core.
serve() {
  local name=$1
  shift
  taskset -c "${cpus[0]}" "$@" >"$scratch/$name.out" 2>"$scratch/$name.log" &
  pids+=($!)
  pid_of[$name]=$!
}

tree() {
  local child
  echo "$1"
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do tree "$child"; done
}
cpu_ticks() {
  local pid
  for pid in $(tree "$1"); do sed 's/.*) //' "/proc/$pid/stat"; done | awk '{ ticks += $12 + $13 } END { print ticks }'
}
hertz=$(getconf CLK_TCK)

# ---- the same files for both -----------------------------------------------------------------------------------

mkdir -p "$scratch"/{www,nginx,millrace}
for size in "${sizes[@]}"; do
  count=$((4 * memory * 1048576 / size))
  mkdir -p "$scratch/www/$size"
  head -c $((count * size)) /dev/urandom | (cd "$scratch/www/$size" && split -b "$size" -a 4 -d - '')
  cat >"$scratch/$size.lua" <<LUA
math.randomseed(os.time())
request = function() return wrk.format("GET", string.format("/$size/%04d", math.random(0, $((count - 1))))) end
LUA
done

port[nginx]=$(node -e 'const s = require("node:net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); });')
cat >"$scratch/nginx/nginx.conf" <<CONF
$([[ $(id -u) == 0 ]] && echo 'user root;')
worker_processes 1;
daemon off;
pid $scratch/nginx/nginx.pid;
error_log $scratch/nginx/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nopush off;
  keepalive_requests 1000000000;
  open_file_cache max=20000 inactive=10m;
  client_body_temp_path $scratch/nginx/body;
  proxy_temp_path $scratch/nginx/proxy;
  fastcgi_temp_path $scratch/nginx/fastcgi;
  uwsgi_temp_path $scratch/nginx/uwsgi;
  scgi_temp_path $scratch/nginx/scgi;
  default_type application/octet-stream;
  server { listen 127.0.0.1:${port[nginx]} backlog=4096; root $scratch/www; }
}
CONF
serve nginx nginx -p "$scratch/nginx" -c "$scratch/nginx/nginx.conf"
serve millrace "$millrace" serve --origin "$scratch/www" --listen 127.0.0.1:0 --admin 127.0.0.1:0 \
  --data-dir "$scratch/millrace" --memory "${memory}MiB" --disk "$((12 * memory))MiB" --workers 1
deadline=$((SECONDS + 20))
until [[ $(grep -c http:// "$scratch/millrace.out") -ge 2 ]]; do
  ((SECONDS < deadline)) || { tail -20 "$scratch/millrace.log" >&2; die 'millrace does not start'; }
  sleep 0.1
done
port[millrace]=$(grep -o 'http://[0-9.:]*' "$scratch/millrace.out" | sed -n 1p | sed 's/.*://')
admin=$(grep -o 'http://[0-9.:]*' "$scratch/millrace.out" | sed -n 2p)
until curl -fs -o /dev/null "http://127.0.0.1:${port[nginx]}/65536/0000"; do ((SECONDS < deadline)) || die 'nginx does not start'; sleep 0.1; done

# Everything once through both: millrace stores it, the kernel holds the files.
for size in "${sizes[@]}"; do
  for path in "$scratch/www/$size"/*; do
    for server in nginx millrace; do echo "url=http://127.0.0.1:${port[$server]}/$size/${path##*/}"; echo 'output=/dev/null'; done
  done | curl -fsS --parallel-max 4 -K - || die "filling with $size failed"
done

tier_hits() { curl -fsS "$admin/metrics" | awk -v tier="$1" '$1 ~ "^millrace_cache_tier_requests_total" && $1 ~ "result=\"hit\"" && $1 ~ tier { n += $2 } END { print n + 0 }'; }

# ---- the measurement -------------------------------------------------------------------------------------------

measure() {
  local report before after
  before=$(cpu_ticks "${pid_of[$1]}")
  report=$(taskset -c "${cpus[1]}" wrk -t1 -c"$connections" -d"${secs}s" -s "$scratch/$2.lua" "http://127.0.0.1:${port[$1]}")
  after=$(cpu_ticks "${pid_of[$1]}")
  ! grep -qE 'Non-2xx|Socket errors' <<<"$report" || { printf '%s\n' "$report" >&2; die "$1 failed under load at $2"; }
  awk -v spent="$(((after - before) * 1000000 / hertz))" \
    '/ requests in / { count = $1 } /Requests\/sec:/ { rate = $2 } END { print rate, spent / count }' <<<"$report" >>"$scratch/$1-$2.results"
}

declare -A from_disk
for size in "${sizes[@]}"; do
  # Warm, and not counted.
  for server in nginx millrace; do secs=2 measure "$server" "$size"; rm "$scratch/$server-$size.results"; done
  disk=$(tier_hits disk) memory_hits=$(tier_hits memory)
  for ((round = 0; round < rounds; round++)); do
    printf 'bench: %s, round %d of %d\n' "${title[$size]}" $((round + 1)) "$rounds" >&2
    if ((round % 2)); then measure nginx "$size"; measure millrace "$size"; else measure millrace "$size"; measure nginx "$size"; fi
  done
  disk=$(($(tier_hits disk) - disk)) memory_hits=$(($(tier_hits memory) - memory_hits))
  from_disk[$size]=$((100 * disk / (disk + memory_hits)))
done

median() { awk -v c="$2" '{ print $c }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

printf 'median of %d rounds of %s s, `wrk -t1 -c%d`, %d MiB of memory, %d MiB asked for; nginx %s\n\n' "$rounds" "$secs" "$connections" \
  "$memory" "$((4 * memory))" "$(nginx -v 2>&1 | sed 's/.*nginx.//; s/ .*//')"
printf '| object | from disk | millrace/s | nginx/s | ratio | millrace CPU | nginx CPU | ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|\n'
for size in "${sizes[@]}"; do
  LC_ALL=C awk -v title="${title[$size]}" -v disk="${from_disk[$size]}" \
    -v m="$(median "$scratch/millrace-$size.results" 1)" -v n="$(median "$scratch/nginx-$size.results" 1)" \
    -v mc="$(median "$scratch/millrace-$size.results" 2)" -v nc="$(median "$scratch/nginx-$size.results" 2)" \
    'BEGIN { printf "| %s | %d %% | %.0f | %.0f | %.2f | %.0f µs | %.0f µs | %.2f |\n", title, disk, m, n, m / n, mc, nc, nc / mc }'
done
