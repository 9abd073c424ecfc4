// What the dashboard's tests look at: a sidecar that runs two servers with traffic by a policy and wants more of them, a third that
// warms up slowly, a target that is not there, one that can be told to fail, and rules that fire at once.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { binary, root, start } from '../processes.mjs';
import { eventually } from './servers.mjs';

const RULES = `groups:
  - name: fleet
    rules:
      - alert: TargetDown
        expr: up{instance="127.0.0.1:9"} == 0
        labels: {severity: critical}
        annotations:
          summary: '{{ $labels.instance }} does not answer'
          description: Metrics of {{ $labels.job }} on {{ $labels.instance }} could not be scraped.
          runbook_url: docs/runbooks/TargetDown.md
      - alert: BusyServer
        expr: sum by (instance) (http_server_active_requests) >= 0
        for: 1h
        labels: {severity: warning}
        annotations: {summary: '{{ $labels.instance }} might be busy one day'}
      - alert: DiskFull
        expr: vector(0.97)
        labels: {severity: warning, instance: edge-1}
        annotations: {summary: 'The disk of edge-1 is 97 % full'}
      - record: instance:requests:rate30s
        expr: sum by (instance) (rate(http_server_request_duration_seconds_count[30s]))
`;

const PATHS = [
  '/photos/planet.png?w=160&fm=webp', '/photos/dawn-lake.jpg?w=320&fm=webp', '/photos/dusk-ridges.jpg?w=640', '/photos/night-lake.jpg?w=320&fm=webp', '/photos/desert-progressive.jpg?w=200',
  '/photos/planet.png', '/videos/dusk-drive.mp4/master.m3u8', '/videos/dusk-drive.mp4/source/index.m3u8', '/videos/dusk-drive.mp4/source/init.mp4',
];

export const TOKEN = 'open sesame';

const each = (name, expr, unit, more = '') => `[[groups.signals]]
name = "${name}"
expr = '${expr}'
reports = 'up{instance=~"$ready"} == 1'
unit = "${unit}"
${more}
`;

/** Two at least; any load at all wants a third, which takes minutes to get warm, and nobody tells how long queues are. */
const policy = (serving, port, environment) => `[[groups]]
name = "edge"
min = 2
max = 4
interval_secs = 1
startup_hold_secs = 5
max_age_secs = 10
up_cooldown_secs = 3
panic_ratio = 0.0
max_cold = 1
${each('cpu', 'avg(rate(process_cpu_seconds_total{instance=~"$ready"}[20s]))', 'ratio', 'per_instance = true')}
${each('requests', '(sum(rate(http_server_request_duration_seconds_count{instance=~"$ready"}[20s])) or vector(0)) / count(up{instance=~"$ready"} == 1)', 'requests/s', 'per_instance = true')}
${each('p95', '(histogram_quantile(0.95, sum by (le) (rate(millrace_response_head_seconds_bucket{instance=~"$ready"}[20s]))) >= 0) or vector(0)', 'seconds')}
${each('queue', 'sum(nobody_tells{instance=~"$ready"})', 'jobs')}
[[groups.up]]
signal = "requests"
above = 0.2
for_secs = 2
[[groups.up]]
signal = "p95"
above = 20.0
[[groups.up]]
signal = "queue"
above = 50.0
[[groups.down]]
signal = "requests"
below = 0.05
[[groups.down]]
signal = "queue"
below = 10.0
[[groups.targets]]
signal = "cpu"
target = 8.0
[groups.origin]
latency_signal = ""
errors_signal = ""
load_signal = ""
hits_signal = ""
[groups.fleet]
drain_deadline_secs = 20
[groups.fleet.process]
command = ["${binary('millrace', 'debug')}", "serve", "--listen", "{data}", "--admin", "{admin}", "--data-dir", "{data_dir}"]
args = ${JSON.stringify(serving)}
environment = { ${Object.entries(environment).map(([name, value]) => `${name} = "${value}"`).join(', ')} }
data_port = ${port}
admin_port = ${port + 300}
[groups.fleet.warm]
bytes_per_sec = "512B"
deadline_secs = 3600
`;

/** Asks the servers that are ready a few times a second until it is stopped; now and then for something new. */
function traffic(ready) {
  let on = true;
  let count = 0;
  const one = async (turn) => {
    while (on) {
      const sites = await ready().catch(() => []);
      for (let round = 0; on && round < 20; round++) {
        count += 1;
        const path = count % 9 ? PATHS[count % PATHS.length] : `/photos/planet.png?w=${100 + (count % 400)}&fm=webp`;
        const site = sites[(turn + round) % Math.max(1, sites.length)];
        if (site) await fetch(site + path).then((response) => response.arrayBuffer()).catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
    }
  };
  const done = Promise.all([0, 1].map(one));
  return async () => { on = false; await done; };
}

/** A target that can be told to fail. */
async function startWeary() {
  const state = { down: false };
  const server = createServer((request, response) => {
    response.writeHead(state.down ? 503 : 200, { 'content-type': 'text/plain; version=0.0.4' });
    response.end('weary 1\n');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => new Promise((resolve) => { server.close(() => resolve(0)); server.closeAllConnections(); });
  return { address: `127.0.0.1:${server.address().port}`, state, stop };
}

/** Processes that the sidecar has left running: they outlive it. */
function left(folder) {
  const mine = (pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(folder);
    } catch {
      return false;
    }
  };
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && mine(name)).map(Number);
}

async function end(folder) {
  for (const pid of left(folder)) process.kill(pid, 'SIGTERM');
  await eventually('the end of the instances', () => left(folder).length === 0, 60_000).catch((late) => {
    for (const pid of left(folder)) process.kill(pid, 'SIGKILL');
    throw late;
  });
}

/** `environment` is that of the servers; `settings` makes their file of settings, from the library's folder, in place of flags. */
export async function startDashboardFleet(environment = {}, settings) {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-dashboard-'));
  const started = [];
  let quiet = async () => {};
  const stop = async () => {
    await quiet();
    const codes = await Promise.all(started.reverse().map((process) => process.stop()));
    await end(join(scratch, 'sidecar'));
    rmSync(scratch, { recursive: true, force: true });
    return codes.filter((code) => code !== undefined);
  };
  try {
    const library = join(scratch, 'library');
    execFileSync(join(root, 'scripts/demo-library.sh'), ['--small', library], { stdio: ['ignore', 'ignore', 'inherit'] });
    const weary = await startWeary();
    started.push(weary);
    const [rules, scaling, config] = ['rules.yml', 'scaling.toml', 'sidecar.toml'].map((name) => join(scratch, name));
    writeFileSync(rules, RULES);
    // Below those that the system gives away; which are taken is for the sidecar to see.
    const file = join(scratch, 'server.toml');
    if (settings) writeFileSync(file, settings(library));
    const serving = settings ? ['--config', file] : ['--origin', library, '--memory', '32MiB', '--disk', '128MiB'];
    writeFileSync(scaling, policy(serving, 20_000 + 600 * (process.pid % 15), environment));
    // The discard port: nobody listens there.
    writeFileSync(config, `${['127.0.0.1:9', weary.address].map((address) => `[[targets]]\nurl = "http://${address}"\njob = "millrace"\n`).join('')}
[http]
token = "${TOKEN}"
[scrape]
interval_secs = 2
timeout_secs = 2
[rules]
files = ["${rules}"]
evaluation_interval_secs = 1
[scaling]
file = "${scaling}"
`);
    const sidecar = start(binary('millrace-sidecar', 'debug'), ['serve', '--config', config, '--listen', '127.0.0.1:0', '--data-dir', join(scratch, 'sidecar')], [/^dashboard on (http:\/\/\S+)/m]);
    started.push(sidecar);
    const [dashboard] = await sidecar.ready;
    const group = async () => (await (await fetch(`${dashboard}/api/v1/scaling`)).json()).data.groups[0];
    const ready = async () => (await group()).instances.filter(({ state }) => state === 'ready');
    await eventually('two instances', async () => (await ready()).length >= 2, 60_000);
    quiet = traffic(async () => (await ready()).map((one) => one.data_url));
    /** Another sidecar beside it, which only looks. */
    const plain = async () => {
      const [{ admin_url: admin }] = await ready();
      const other = start(binary('millrace-sidecar', 'debug'), ['serve', '--listen', '127.0.0.1:0', '--target', admin, '--data-dir', join(scratch, 'plain')], [/^dashboard on (http:\/\/\S+)/m]);
      started.push(other);
      return (await other.ready)[0];
    };
    return { dashboard, group, ready, plain, weary: weary.state, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
