#!/usr/bin/env bash
# Uploads into the local store beside nginx's WebDAV, which writes a body to a file and renames it. Both have one worker and write to
# the same disk; one curl sends, from memory. Ours also hashes what comes, syncs it and its folder, and writes a row before it
# answers; so nginx is measured as it is, and with a sync of what it has written.
# Prints a Markdown table of medians: bytes per second, and CPU time of the server for each MiB, which also tells something on a busy
# machine. Only the ratios travel.
#
#   scripts/bench-upload.sh
#
# Environment: ROUNDS (3), BYTES (512 MiB) of each measurement, MILLRACE (the binary), TMPDIR (where both write).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/sbin:/usr/local/sbin"

rounds=${ROUNDS:-3}
bytes=${BYTES:-$((512 << 20))}
millrace=${MILLRACE:-${CARGO_TARGET_DIR:-target}/release/millrace}
# Bytes of a file, and files at a time.
cases=("$((256 << 20)) 1" "$((10 << 20)) 8" "$((64 << 10)) 8")
most=2000

die() { printf 'bench: %s\n' "$*" >&2; exit 1; }
[[ -x $millrace ]] || die "no $millrace"

scratch=$(mktemp -d)
source=$(mktemp -d /dev/shm/bench-upload-XXXXXX)
pids=()
finish() {
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$scratch" "$source"
}
trap finish EXIT
trap 'exit 130' INT TERM

free_ports() { node -e 'const n = require("node:net"), want = Number(process.argv[1]), open = []; (function next() { if (open.length === want) { console.log(open.map((s) => s.address().port).join(" ")); open.forEach((s) => s.close()); return; } const s = n.createServer().listen(0, "127.0.0.1", () => { open.push(s); next(); }); })();' "$1"; }
read -r nginx_port ours_port admin_port < <(free_ports 3)

cpu_ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }
hertz=$(getconf CLK_TCK)

mkdir -p "$scratch"/nginx/{files/assets,body} "$scratch/ours"
user=''
[[ $(id -u) != 0 ]] || user='user root;'
cat >"$scratch/nginx.conf" <<CONF
$user
daemon off;
master_process off;
pid $scratch/nginx/pid;
error_log $scratch/nginx/error.log;
events { worker_connections 256; }
http {
  access_log off;
  client_max_body_size 0;
  client_body_temp_path $scratch/nginx/body;
  proxy_temp_path $scratch/nginx/p; fastcgi_temp_path $scratch/nginx/f; uwsgi_temp_path $scratch/nginx/u; scgi_temp_path $scratch/nginx/s;
  server {
    listen 127.0.0.1:$nginx_port;
    location / { root $scratch/nginx/files; dav_methods PUT DELETE; create_full_put_path on; }
  }
}
CONF
nginx -p "$scratch/nginx" -c "$scratch/nginx.conf" >"$scratch/nginx.log" 2>&1 &
pids+=($!)
nginx_pid=$!
export MILLRACE__ACCESS__SECRET="a secret of a bench, of enough bytes"
"$millrace" serve --listen "127.0.0.1:$ours_port" --admin "127.0.0.1:$admin_port" --data-dir "$scratch/ours" --memory 64MiB --disk 0 \
  --workers 1 >"$scratch/ours.log" 2>&1 &
pids+=($!)
ours_pid=$!
token=$("$millrace" token --scope upload --ttl 1h)
wait_for() {
  local deadline=$((SECONDS + 60))
  until curl -s -o /dev/null --max-time 5 "http://127.0.0.1:$1/"; do
    ((SECONDS < deadline)) || { tail -20 "$scratch"/*.log >&2; die 'a server does not answer'; }
    sleep 0.1
  done
}
wait_for "$nginx_port"
wait_for "$ours_port"

# list PORT SIZE COUNT METHOD: a configuration for curl.
list() {
  local at
  for ((at = 0; at < $3; at++)); do
    ((at == 0)) || echo next
    printf 'url = "http://127.0.0.1:%s/assets/%s"\nheader = "Authorization: Bearer %s"\nheader = "Expect:"\nsilent\noutput = "/dev/null"\nwrite-out = "%%{http_code}\\n"\n' \
      "$1" "$at.bin" "$token"
    if [[ $4 == PUT ]]; then printf 'upload-file = "%s/%s"\n' "$source" "$2"; else printf 'request = "DELETE"\n'; fi
  done
}

# measure SERVER PID PORT SIZE COUNT PARALLEL SYNC: appends "MiB-per-second CPU-milliseconds-per-MiB".
measure() {
  local server=$1 pid=$2 port=$3 size=$4 count=$5 parallel=$6 before after began ended bad
  list "$port" "$size" "$count" PUT >"$scratch/put"
  list "$port" "$size" "$count" DELETE >"$scratch/delete"
  sync -f "$scratch"
  before=$(cpu_ticks "$pid")
  began=$(date +%s%N)
  bad=$(curl --parallel --parallel-max "$parallel" -K "$scratch/put" 2>"$scratch/curl.log" | grep -vcE '^20[14]$' || true)
  [[ $7 != sync ]] || sync -f "$scratch"
  ended=$(date +%s%N)
  after=$(cpu_ticks "$pid")
  [[ $bad == 0 ]] || { tail -5 "$scratch"/*.log >&2; die "$server refused $bad of $count"; }
  awk -v ns="$((ended - began))" -v ms="$(((after - before) * 1000 / hertz))" -v mib="$((size * count))" \
    'BEGIN { mib /= 1048576; print mib / ns * 1e9, ms / mib }' >>"$scratch/$server-$size.results"
  curl --parallel --parallel-max 8 -K "$scratch/delete" >/dev/null 2>&1 || true
}

for entry in "${cases[@]}"; do
  read -r size _ <<<"$entry"
  # Noise, in front of it nothing that could be taken for a program.
  { head -c 16 /dev/zero; head -c $((size - 16)) /dev/urandom; } >"$source/$size"
done
for ((round = 0; round < rounds; round++)); do
  printf 'bench: round %d of %d\n' $((round + 1)) "$rounds" >&2
  for entry in "${cases[@]}"; do
    read -r size parallel <<<"$entry"
    count=$((bytes / size))
    count=$((count < 1 ? 1 : count > most ? most : count))
    for turn in 0 1 2; do
      case $(((turn + round) % 3)) in
        0) measure ours "$ours_pid" "$ours_port" "$size" "$count" "$parallel" '' ;;
        1) measure nginx "$nginx_pid" "$nginx_port" "$size" "$count" "$parallel" '' ;;
        2) measure synced "$nginx_pid" "$nginx_port" "$size" "$count" "$parallel" sync ;;
      esac
    done
  done
done

median() { awk -v c="$2" '{ print $c }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
printf '\nMedian of %s rounds, %s; MiB/s (CPU ms for each MiB):\n\n' "$rounds" "$(nginx -v 2>&1 | sed 's/.*: //')"
printf '| files | millrace | nginx | nginx and a sync | rate to nginx | to nginx and a sync |\n|---|--:|--:|--:|--:|--:|\n'
for entry in "${cases[@]}"; do
  read -r size parallel <<<"$entry"
  printf '| %s KiB, %s at a time |' $((size / 1024)) "$parallel"
  for server in ours nginx synced; do
    LC_ALL=C printf ' %.0f (%.2f) |' "$(median "$scratch/$server-$size.results" 1)" "$(median "$scratch/$server-$size.results" 2)"
  done
  awk -v o="$(median "$scratch/ours-$size.results" 1)" -v n="$(median "$scratch/nginx-$size.results" 1)" -v s="$(median "$scratch/synced-$size.results" 1)" \
    'BEGIN { printf " %.2f | %.2f |\n", o / n, o / s }'
done
