#!/usr/bin/env bash
# Cold misses through Millrace, nginx proxy_cache and Varnish in front of one nginx on loopback: each request is for an
# address never asked for before. One core for the cache, one for origin and load, all in one interleaved run. Prints
# Markdown tables of medians: MiB per second, and CPU time of the cache per MiB, which also tells something on a busy
# machine. Absolute figures belong to this machine; only the ratios travel.
#
# Environment: ROUNDS (3), SECS (5) of each measurement, DISK (1GiB; 0: Millrace in memory alone, as Varnish is), MILLRACE
# (the binary to measure).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/sbin:/usr/local/sbin"

rounds=${ROUNDS:-3}
secs=${SECS:-5}
disk=${DISK:-1GiB}
millrace=${MILLRACE:-${CARGO_TARGET_DIR:-target}/release/millrace}
sizes=(1048576 104857600)
declare -A title=([1048576]='1 MiB' [104857600]='100 MiB') connections=([1048576]=8 [104857600]=2)

die() { printf 'bench: %s\n' "$*" >&2; exit 1; }
[[ -x $millrace ]] || die "no $millrace"

scratch=$(mktemp -d)
pids=()
declare -A pid_of
finish() {
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

# The first two CPUs this process may use.
mapfile -t cpus < <(taskset -pc $$ | sed 's/.*: //' | tr ',' '\n' | awk -F- '{ for (i = $1; i <= ($2 == "" ? $1 : $2); i++) print i }' | head -2)
[[ ${#cpus[@]} == 2 ]] || die 'needs two CPUs: one for the cache, one for origin and load'

free_ports() { node -e 'const n = require("node:net"), want = Number(process.argv[1]), open = []; (function next() { if (open.length === want) { console.log(open.map((s) => s.address().port).join(" ")); open.forEach((s) => s.close()); return; } const s = n.createServer().listen(0, "127.0.0.1", () => { open.push(s); next(); }); })();' "$1"; }

# serve NAME CPU COMMAND…: on that core, its output in a log.
serve() {
  local name=$1 cpu=$2
  shift 2
  taskset -c "$cpu" "$@" >"$scratch/$name.log" 2>&1 &
  pids+=($!)
  pid_of[$name]=$!
}

tree() {
  local child
  echo "$1"
  for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do tree "$child"; done
}

# cpu_ticks PID: user and system time of the process and its descendants so far.
cpu_ticks() {
  local pid
  for pid in $(tree "$1"); do sed 's/.*) //' "/proc/$pid/stat"; done | awk '{ ticks += $12 + $13 } END { print ticks }'
}
hertz=$(getconf CLK_TCK)

wait_for() {
  local deadline=$((SECONDS + 20))
  until curl -fs -o /dev/null --max-time 2 "http://127.0.0.1:$2/1048576?wait=$SECONDS"; do
    ((SECONDS < deadline)) || { tail -20 "$scratch/$1.log" >&2; die "$1 does not answer"; }
    sleep 0.1
  done
}

read -r origin_port nginx_port varnish_port millrace_port admin_port < <(free_ports 5)
mkdir -p "$scratch"/{www,origin,nginx/cache,varnish,millrace}
for size in "${sizes[@]}"; do head -c "$size" /dev/urandom >"$scratch/www/$size"; done

# nginx_conf DIRECTORY PORT LOCATION-BODY HTTP-BODY
nginx_conf() {
  {
    [[ $(id -u) == 0 ]] && echo 'user root;'
    cat <<CONF
worker_processes 1;
daemon off;
pid $1/nginx.pid;
error_log $1/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nopush off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  open_file_cache max=1000 inactive=10m;
  client_body_temp_path $1/body;
  proxy_temp_path $1/proxy;
  fastcgi_temp_path $1/fastcgi;
  uwsgi_temp_path $1/uwsgi;
  scgi_temp_path $1/scgi;
  default_type application/octet-stream;
  $4
  server {
    listen 127.0.0.1:$2 backlog=4096;
    location / { $3 }
  }
}
CONF
  } >"$1/nginx.conf"
}

nginx_conf "$scratch/origin" "$origin_port" "root $scratch/www; add_header Cache-Control max-age=86400;" ''
nginx_conf "$scratch/nginx" "$nginx_port" \
  "proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_cache miss; add_header X-Cache \$upstream_cache_status;" \
  "upstream origin { server 127.0.0.1:$origin_port; keepalive 64; } proxy_cache_path $scratch/nginx/cache levels=1:2 keys_zone=miss:16m max_size=1g inactive=1d use_temp_path=off;"

serve origin "${cpus[1]}" nginx -p "$scratch/origin" -c "$scratch/origin/nginx.conf"
wait_for origin "$origin_port"
serve millrace "${cpus[0]}" "$millrace" serve --origin "http://127.0.0.1:$origin_port" --listen "127.0.0.1:$millrace_port" \
  --admin "127.0.0.1:$admin_port" --data-dir "$scratch/millrace" --memory 512MiB --disk "$disk" --workers 1
serve nginx "${cpus[0]}" nginx -p "$scratch/nginx" -c "$scratch/nginx/nginx.conf"
# One object of 100 MiB takes the place of a hundred others.
serve varnish "${cpus[0]}" varnishd -F -j none -n "$scratch/varnish" -a "127.0.0.1:$varnish_port" \
  -b "127.0.0.1:$origin_port" -T none -s malloc,512m -p thread_pools=1 -p nuke_limit=10000
servers=(millrace nginx varnish)
declare -A port=([millrace]=$millrace_port [nginx]=$nginx_port [varnish]=$varnish_port)

for server in "${servers[@]}"; do
  wait_for "$server" "${port[$server]}"
  for size in "${sizes[@]}"; do
    curl -fs -D "$scratch/head" -o "$scratch/body" "http://127.0.0.1:${port[$server]}/$size?first"
    ! grep -qi '^x-cache: HIT' "$scratch/head" || die "$server had $size before it was asked for"
    cmp -s "$scratch/body" "$scratch/www/$size" || die "$server answers $size with other bytes"
  done
done

cat >"$scratch/cold.lua" <<'LUA'
local number, round = 0, os.getenv("ROUND")
request = function()
  number = number + 1
  return wrk.format("GET", wrk.path .. "?" .. round .. "." .. number)
end
LUA

# measure SERVER SIZE ROUND: appends "MiB-per-second CPU-milliseconds-per-MiB" to that pair's results.
measure() {
  local report before after
  before=$(cpu_ticks "${pid_of[$1]}")
  report=$(ROUND=$3 taskset -c "${cpus[1]}" wrk -t1 -c"${connections[$2]}" -d"${secs}s" --timeout 30s -s "$scratch/cold.lua" \
    "http://127.0.0.1:${port[$1]}/$2")
  after=$(cpu_ticks "${pid_of[$1]}")
  if grep -qE 'Non-2xx|Socket errors' <<<"$report"; then
    printf '%s\n' "$report" >&2
    die "$1 failed under load at $2"
  fi
  # wrk counts bytes of answers that the end of the measurement cut off, too, unlike requests.
  awk -v spent="$(((after - before) * 1000000 / hertz))" '
       / requests in / { secs = $4 + 0; if ($4 ~ /m$/) secs *= 60; read = $5 + 0; unit = $5 }
       END { if (unit ~ /GB/) read *= 1024; else if (unit ~ /KB/) read /= 1024; print read / secs, spent / 1000 / read }' <<<"$report" >>"$scratch/$1-$2.results"
}

for ((round = 0; round < rounds; round++)); do
  printf 'bench: round %d of %d\n' $((round + 1)) "$rounds" >&2
  for size in "${sizes[@]}"; do
    # Another server first in each round, so that none always follows the same neighbour.
    for ((i = 0; i < ${#servers[@]}; i++)); do measure "${servers[(i + round) % ${#servers[@]}]}" "$size" "$round"; done
  done
done

median() { awk -v c="$2" '{ print $c }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
versions="nginx $(nginx -v 2>&1 | sed 's/.*nginx.//; s/ .*//'), Varnish $(varnishd -V 2>&1 | sed -n '1s/.*varnish-\([0-9.]*\).*/\1/p')"

# table TITLE COLUMN MORE: a row for each size; the ratio to the better peer says how much better we are.
table() {
  local size server
  local -A value
  printf '\n%s: median of %d rounds of %d s, disk tier %s; %s\n\n' "$1" "$rounds" "$secs" "$disk" "$versions"
  printf '| object | connections | millrace | nginx | varnish | to the better |\n|---|--:|--:|--:|--:|--:|\n'
  for size in "${sizes[@]}"; do
    for server in "${servers[@]}"; do value[$server]=$(median "$scratch/$server-$size.results" "$2"); done
    awk -v t="${title[$size]}" -v c="${connections[$size]}" -v m="${value[millrace]}" -v n="${value[nginx]}" -v v="${value[varnish]}" -v more="$3" 'BEGIN {
      form = more ? "%.0f" : "%.2f"
      best = more ? (n > v ? n : v) : (n < v ? n : v)
      printf "| %s | %d | " form " | " form " | " form " | %.2f |\n", t, c, m, n, v, more ? m / best : best / m }'
  done
}

table 'MiB of cold misses per second' 1 1
table 'CPU milliseconds of the cache per MiB' 2 0
