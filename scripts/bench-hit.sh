#!/usr/bin/env bash
# The hit path beside nginx proxy_cache, Varnish, and a ceiling: bare actix-web in front of a bare foyer lookup
# (benches/ceiling). One core for the server, one for wrk, all in one interleaved run.
# Prints Markdown tables of medians: hits per second, and CPU time of the server per hit, which also tells something
# on a busy machine, or when wrk is what holds the rate down. Absolute figures belong to this machine; only the
# ratios travel.
#
# With HTTP2=1 the same over TLS by HTTP/2, by h2load with CONNECTIONS / 4 connections of four streams each; beside nginx alone, as the
# others have none.
#
# Environment: ROUNDS (3), SECS (5) of each measurement, CONNECTIONS (64), MILLRACE and CEILING (the binaries to measure), HTTP2.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/sbin:/usr/local/sbin"

rounds=${ROUNDS:-3}
secs=${SECS:-5}
connections=${CONNECTIONS:-64}
millrace=${MILLRACE:-${CARGO_TARGET_DIR:-target}/release/millrace}
ceiling=${CEILING:-${CARGO_TARGET_DIR:-target}/release/millrace-ceiling}
http2=${HTTP2:-}
scheme=http
[[ -z $http2 ]] || scheme=https
sizes=(1024 65536 1048576)
declare -A title=([1024]='1 KiB' [65536]='64 KiB' [1048576]='1 MiB')

die() { printf 'bench: %s\n' "$*" >&2; exit 1; }

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
[[ ${#cpus[@]} == 2 ]] || die 'needs two CPUs: one for the server, one for the load'

free_ports() { node -e 'const n = require("node:net"), want = Number(process.argv[1]), open = []; (function next() { if (open.length === want) { console.log(open.map((s) => s.address().port).join(" ")); open.forEach((s) => s.close()); return; } const s = n.createServer().listen(0, "127.0.0.1", () => { open.push(s); next(); }); })();' "$1"; }

# serve NAME COMMAND…: on the server's core, its output in a log that is shown when it does not start.
serve() {
  local name=$1
  shift
  taskset -c "${cpus[0]}" "$@" >"$scratch/$name.log" 2>&1 &
  pids+=($!)
  pid_of[$name]=$!
}

# tree PID: the process and its descendants.
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
  until curl -fsk -o /dev/null --max-time 2 "${3:-http}://127.0.0.1:$2/1024"; do
    ((SECONDS < deadline)) || { tail -20 "$scratch/$1.log" >&2; die "$1 does not answer"; }
    sleep 0.1
  done
}

[[ -n ${CEILING:-}$http2 ]] || cargo build --release --locked -p millrace-ceiling

read -r origin_port nginx_port varnish_port ceiling_port millrace_port admin_port plain_port < <(free_ports 7)

# ---- the origin, the three caches, the ceiling -------------------------------------------------------------------------

mkdir -p "$scratch"/{www,origin,nginx/cache,varnish,millrace}
for size in "${sizes[@]}"; do head -c "$size" /dev/urandom >"$scratch/www/$size"; done

if [[ -n $http2 ]]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2>/dev/null
  by_tls=" ssl http2; ssl_certificate $scratch/cert.pem; ssl_certificate_key $scratch/key.pem"
fi

# nginx_conf DIRECTORY PORT LOCATION-BODY HTTP-BODY [LISTEN]. tcp_nopush stays off: on loopback it costs 64 KiB answers a delayed ACK each.
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
    listen 127.0.0.1:$2 backlog=4096${5:-};
    location / { $3 }
  }
}
CONF
  } >"$1/nginx.conf"
}

nginx_conf "$scratch/origin" "$origin_port" "root $scratch/www; add_header Cache-Control max-age=86400;" ''
nginx_conf "$scratch/nginx" "$nginx_port" \
  "proxy_pass http://127.0.0.1:$origin_port; proxy_http_version 1.1; proxy_cache hit; proxy_cache_lock on; add_header X-Cache \$upstream_cache_status;" \
  "proxy_cache_path $scratch/nginx/cache levels=1:2 keys_zone=hit:16m max_size=1g inactive=1d use_temp_path=off;" "${by_tls:-}"

serve origin nginx -p "$scratch/origin" -c "$scratch/origin/nginx.conf"
wait_for origin "$origin_port"

servers=()
declare -A port
if [[ -x $millrace ]]; then
  listens="$millrace_port"
  if [[ -n $http2 ]]; then
    listens="$plain_port"
    cat >"$scratch/millrace.toml" <<CONF
[tls]
listen = "127.0.0.1:$millrace_port"
[[tls.certificates]]
certificate_file = "$scratch/cert.pem"
key_file = "$scratch/key.pem"
CONF
  fi
  serve millrace "$millrace" serve ${http2:+--config "$scratch/millrace.toml"} --origin "http://127.0.0.1:$origin_port" \
    --listen "127.0.0.1:$listens" --admin "127.0.0.1:$admin_port" --data-dir "$scratch/millrace" --memory 512MiB --disk 1GiB --workers 1
  servers+=(millrace)
  port[millrace]=$millrace_port
else
  printf 'bench: no %s; only its peers are measured\n' "$millrace" >&2
fi
serve nginx nginx -p "$scratch/nginx" -c "$scratch/nginx/nginx.conf"
servers+=(nginx)
port[nginx]=$nginx_port
if [[ -z $http2 ]]; then
  serve varnish varnishd -F -j none -n "$scratch/varnish" -a "127.0.0.1:$varnish_port" -b "127.0.0.1:$origin_port" -T none \
    -s malloc,512m -p thread_pools=1
  serve ceiling "$ceiling" "127.0.0.1:$ceiling_port" "$scratch/www"
  servers+=(varnish ceiling)
  port[varnish]=$varnish_port
  port[ceiling]=$ceiling_port
fi

# ---- every object a hit, and the right bytes -----------------------------------------------------------------

is_hit() {
  case $1 in
    varnish) grep -qi '^x-varnish: [0-9]* [0-9]' "$2" ;; # a second id: the request that stored it
    *) grep -qi '^x-cache: HIT' "$2" ;;
  esac
}

for server in "${servers[@]}"; do
  wait_for "$server" "${port[$server]}" "$scheme"
  for size in "${sizes[@]}"; do
    url="$scheme://127.0.0.1:${port[$server]}/$size"
    deadline=$((SECONDS + 10))
    until curl -fsk -D "$scratch/head" -o "$scratch/body" "$url" && is_hit "$server" "$scratch/head"; do
      ((SECONDS < deadline)) || { cat "$scratch/head" >&2; die "$server never answers $size with a hit"; }
    done
    cmp -s "$scratch/body" "$scratch/www/$size" || die "$server answers $size with other bytes"
  done
done

# ---- the measurement -----------------------------------------------------------------------------------------

# load PORT SIZE: "count requests-per-second p99-in-ms" of a run in which nothing failed.
load_http1() {
  local report
  report=$(taskset -c "${cpus[1]}" wrk -t1 -c"$connections" -d"${secs}s" --latency "http://127.0.0.1:$1/$2")
  if grep -qE 'Non-2xx|Socket errors' <<<"$report"; then
    printf '%s\n' "$report" >&2
    return 1
  fi
  awk '/ requests in / { count = $1 }
       /Requests\/sec:/ { rate = $2 }
       $1 == "99%" { p99 = $2 + 0; if ($2 ~ /us$/) p99 /= 1000; else if ($2 !~ /ms$/) p99 *= 1000 }
       END { print count, rate, p99 }' <<<"$report"
}

load_http2() {
  local report count p99
  rm -f "$scratch/times"
  report=$(taskset -c "${cpus[1]}" h2load -c $((connections / 4)) -m 4 -D "$secs" --log-file "$scratch/times" "https://127.0.0.1:$1/$2")
  if ! grep -q ' 0 failed, 0 errored, 0 timeout' <<<"$report"; then
    printf '%s\n' "$report" >&2
    return 1
  fi
  count=$(wc -l <"$scratch/times")
  p99=$(cut -f3 "$scratch/times" | sort -n | sed -n "$((count * 99 / 100))p")
  awk -v count="$count" -v secs="$secs" -v p99="$p99" 'BEGIN { print count, count / secs, p99 / 1000 }'
}

# measure SERVER SIZE: appends "requests-per-second p99-in-ms CPU-microseconds-per-request" to that pair's results.
measure() {
  local figures before after
  before=$(cpu_ticks "${pid_of[$1]}")
  figures=$("load_http$((${#http2} ? 2 : 1))" "${port[$1]}" "$2") || die "$1 failed under load at $2"
  after=$(cpu_ticks "${pid_of[$1]}")
  awk -v spent="$(((after - before) * 1000000 / hertz))" '{ print $2, $3, spent / $1 }' <<<"$figures" >>"$scratch/$1-$2.results"
}

for ((round = 0; round < rounds; round++)); do
  printf 'bench: round %d of %d\n' $((round + 1)) "$rounds" >&2
  for size in "${sizes[@]}"; do
    # Another server first in each round, so that none always follows the same neighbour.
    for ((i = 0; i < ${#servers[@]}; i++)); do
      measure "${servers[(i + round) % ${#servers[@]}]}" "$size"
    done
  done
done

# median FILE COLUMN
median() { awk -v c="$2" '{ print $c }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

versions="nginx $(nginx -v 2>&1 | sed 's/.*nginx.//; s/ .*//')"
loader="wrk -t1 -c$connections"
if [[ -z $http2 ]]; then
  versions+=", Varnish $(varnishd -V 2>&1 | sed -n '1s/.*varnish-\([0-9.]*\).*/\1/p')"
else
  loader="h2load -c $((connections / 4)) -m 4"
fi
settings="median of $rounds rounds of $secs s, \`$loader\`; $versions"

# table TITLE COLUMN MORE: a row for each size with that column's medians. The ratios say how much better we are, MORE
# being whether more is.
table() {
  local size server
  local -A value
  local compared=()
  [[ ${servers[0]} != millrace ]] || compared=("${servers[@]:1}")
  printf '\n%s: %s\n\n| object |' "$1" "$settings"
  printf ' %s |' "${servers[@]}" "${compared[@]/#/to }"; echo
  printf '|---|'; printf -- '--:|%.0s' "${servers[@]}" "${compared[@]}"; echo
  for size in "${sizes[@]}"; do
    printf '| %s |' "${title[$size]}"
    for server in "${servers[@]}"; do
      value[$server]=$(median "$scratch/$server-$size.results" "$2")
      if [[ $2 == 1 ]]; then
        LC_ALL=C printf ' %.0f (%.1f ms) |' "${value[$server]}" "$(median "$scratch/$server-$size.results" 2)"
      else
        LC_ALL=C printf ' %.1f µs |' "${value[$server]}"
      fi
    done
    for server in "${compared[@]}"; do
      awk -v m="${value[millrace]}" -v o="${value[$server]}" -v more="$3" 'BEGIN { printf " %.2f |", more ? m / o : o / m }'
    done
    echo
  done
}

table 'Hits per second on one core (p99)' 1 1
table 'CPU time of the server per hit' 3 0
