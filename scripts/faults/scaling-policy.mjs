// Two groups: `edge` is looked at and not acted upon, `kept` is one instance of the sidecar's own.

export const scalingPolicy = (program, originPort, instancePort) => `[[groups]]
name = 'edge'
mode = 'advise'
instances = 'up{job="millrace"}'
min = 1
max = 3
interval_secs = 1
startup_hold_secs = 0
up_cooldown_secs = 1
down_cooldown_secs = 1
stabilization_secs = 1
[[groups.signals]]
name = 'p95'
expr = '(histogram_quantile(0.95, sum by (le) (rate(millrace_response_head_seconds_bucket{instance=~"$ready"}[5s]))) >= 0) or vector(0)'
reports = 'up{instance=~"$ready"} == 1'
[[groups.signals]]
name = 'requests'
expr = '(sum(rate(http_server_request_duration_seconds_count{instance=~"$ready"}[5s])) or vector(0)) / count(up{instance=~"$ready"} == 1)'
reports = 'up{instance=~"$ready"} == 1'
per_instance = true
[[groups.signals]]
name = 'origin_p95'
expr = '(histogram_quantile(0.95, sum by (le) (rate(http_client_request_duration_seconds_bucket{instance=~"$ready"}[5s]))) >= 0) or vector(0)'
reports = 'up{instance=~"$ready"} == 1'
[[groups.up]]
signal = 'p95'
above = 2.0
explained_by_origin = true
[[groups.up]]
signal = 'requests'
above = 10000.0
[[groups.down]]
signal = 'p95'
below = 0.5
[[groups.down]]
signal = 'requests'
below = 1.0
[groups.origin]
latency_signal = 'origin_p95'
latency_above = 1.0
[[groups]]
name = 'kept'
min = 1
max = 1
interval_secs = 1
startup_hold_secs = 0
[[groups.signals]]
name = 'load'
expr = 'vector(0)'
reports = 'up{instance=~"$ready"} == 1'
[[groups.up]]
signal = 'load'
above = 1.0
[[groups.down]]
signal = 'load'
below = -1.0
[groups.origin]
latency_signal = ''
errors_signal = ''
load_signal = ''
hits_signal = ''
[groups.fleet]
job = 'kept'
start_deadline_secs = 10
crash_limit = 100
[groups.fleet.process]
command = ['${program}', 'serve', '--listen', '{data}', '--admin', '{admin}', '--data-dir', '{data_dir}']
args = ['--origin', 'http://127.0.0.1:${originPort}', '--memory', '16MiB', '--disk', '0', '--workers', '1']
data_port = ${instancePort}
admin_port = ${instancePort > 40_000 ? instancePort - 1000 : instancePort + 1000}
`;
