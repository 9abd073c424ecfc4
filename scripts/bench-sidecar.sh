#!/usr/bin/env bash
# The sidecar beside a real Prometheus 3: both scrape the same made-up targets and evaluate the same rules, at the same time, on one
# machine. Prints a Markdown table of CPU time and memory. Absolute figures belong to this machine; only the ratios travel.
#
# Environment: TARGETS (100), SERIES (1000 per target), INTERVAL (5 seconds; a fleet has 15: three times the load, so that a few
# minutes show what a quarter of an hour does), RULES (200), SECS (180), SIDECAR and PROMETHEUS (the programs).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=${CARGO_TARGET_DIR:-target}
targets=${TARGETS:-100} series=${SERIES:-1000} interval=${INTERVAL:-5} rules=${RULES:-200} secs=${SECS:-180}
sidecar=${SIDECAR:-$tools/release/millrace-sidecar}
prometheus=${PROMETHEUS:-$tools/tools/bin/prometheus}
die() { printf 'bench: %s\n' "$*" >&2; exit 1; }
[[ -x $sidecar ]] || die "no $sidecar"
[[ -x $prometheus ]] || die "no $prometheus: scripts/deps.sh bench"

scratch=$(mktemp -d)
pids=()
finish() {
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

node scripts/exposition-server.mjs 0 "$series" >"$scratch/port" &
pids+=($!)
until [[ -s $scratch/port ]]; do sleep 0.1; done
port=$(<"$scratch/port")
read -r own theirs < <(node -e 'const n = require("node:net"); const a = n.createServer().listen(0, "127.0.0.1", () => { const b = n.createServer().listen(0, "127.0.0.1", () => { console.log(a.address().port, b.address().port); a.close(); b.close(); }); });')

# Half of the rules record, half alert.
{
  printf 'groups:\n'
  for ((n = 0; n < rules; n += 2)); do
    ((n % 20 == 0)) && printf -- '- name: g%d\n  rules:\n' "$n"
    printf -- '  - {record: "route:requests:rate_%d", expr: "sum by (instance) (rate(http_server_request_duration_seconds_count{http_route=\\"/route/%d\\"}[1m]))"}\n' "$n" $((n % 36))
    printf -- '  - {alert: Slow%d, expr: "histogram_quantile(0.95, sum by (le) (rate(http_server_request_duration_seconds_bucket{http_route=\\"/route/%d\\"}[1m]))) > 5", for: 1m}\n' "$n" $((n % 36))
  done
} >"$scratch/rules.yml"

{
  printf 'data_dir = "%s/data"\n[http]\nlisten = "127.0.0.1:%d"\n[scrape]\nitself = false\ninterval_secs = %d\ntimeout_secs = %d\n[rules]\nfiles = ["%s/rules.yml"]\nevaluation_interval_secs = %d\n' \
    "$scratch" "$own" "$interval" "$interval" "$scratch" "$interval"
  for ((n = 0; n < targets; n++)); do printf '[[targets]]\nurl = "http://127.0.0.1:%d/t/%d"\nlabels = { target = "%d" }\n' "$port" "$n" "$n"; done
} >"$scratch/sidecar.toml"
{
  printf 'global: {scrape_interval: %ds, scrape_timeout: %ds, evaluation_interval: %ds}\nrule_files: [%s/rules.yml]\nscrape_configs:\n' "$interval" "$interval" "$interval" "$scratch"
  for ((n = 0; n < targets; n++)); do
    printf -- '- {job_name: "millrace%d", metrics_path: /t/%d, static_configs: [{targets: ["127.0.0.1:%d"], labels: {job: millrace, target: "%d"}}]}\n' "$n" "$n" "$port" "$n"
  done
} >"$scratch/prometheus.yml"

"$sidecar" serve --config "$scratch/sidecar.toml" >"$scratch/sidecar.log" 2>&1 &
ours=$!
"$prometheus" --config.file="$scratch/prometheus.yml" --storage.tsdb.path="$scratch/tsdb" --web.listen-address="127.0.0.1:$theirs" >"$scratch/prometheus.log" 2>&1 &
its=$!
pids+=("$ours" "$its")

ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }
memory() { awk -v key="$2:" '$1 == key { printf "%.0f", $2 / 1024 }' "/proc/$1/status"; }
ask() { curl -s "http://127.0.0.1:$1/api/v1/query" --data-urlencode "query=$2" | jq -r '.data.result[0].value[1] // "0"'; }

# The first scrapes bring all series anew; what counts is what comes after.
sleep $((3 * interval))
begun=$SECONDS
ours_before=$(ticks "$ours") its_before=$(ticks "$its")
sleep "$secs"
ours_ticks=$(($(ticks "$ours") - ours_before)) its_ticks=$(($(ticks "$its") - its_before)) spent=$((SECONDS - begun))

printf '%d targets of %d series every %d s, %d rules, %d s; %s\n\n' "$targets" "$series" "$interval" "$rules" "$spent" "$("$prometheus" --version 2>&1 | head -1)"
printf 'targets up: %s here, %s there; samples per scrape: %s here, %s there\n\n' "$(ask "$own" 'sum(up)')" "$(ask "$theirs" 'sum(up)')" \
  "$(ask "$own" 'sum(scrape_samples_scraped)')" "$(ask "$theirs" 'sum(scrape_samples_scraped)')"
row() { awk -v name="$1" -v a="$2" -v b="$3" -v format="$4" 'BEGIN { printf "| %s | " format " | " format " | %.2f |\n", name, a, b, a / b }'; }
printf '| | sidecar | Prometheus | ratio |\n|---|---|---|---|\n'
row 'CPU, percent of a core' "$(awk -v t="$ours_ticks" -v s="$spent" 'BEGIN { print t / s }')" "$(awk -v t="$its_ticks" -v s="$spent" 'BEGIN { print t / s }')" '%.1f'
row 'memory (RSS), MiB' "$(memory "$ours" VmRSS)" "$(memory "$its" VmRSS)" '%.0f'
row 'most memory (RSS), MiB' "$(memory "$ours" VmHWM)" "$(memory "$its" VmHWM)" '%.0f'
curl -s "http://127.0.0.1:$own/status" | jq -r '"\nheld here: \(.series.held) series, \(.series.samples) samples, \(.series.bytes / 1048576 | floor) MiB with labels"'
grep -ciE 'warn|error' "$scratch/sidecar.log" | sed 's/^/warnings of the sidecar: /' || true
