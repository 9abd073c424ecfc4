#!/usr/bin/env node
// A fleet of real parts on one machine: HAProxy, local instances of the built server that the built sidecar runs, an origin that
// counts, and viewers (scripts/load-test.mjs).
//
//   node scripts/bench-scaling.mjs [spike|joins|leave|kill|sidecar|blind|origin]…
//
// - spike: from 2 instances to 4 and back to 2, and no request fails;
// - joins: what the origin bears while one more instance joins at steady load, warmed from its peers and cold;
// - leave: what only a leaving instance has is with those that stay, unless the policy says otherwise;
// - kill: an instance that is killed is replaced;
// - sidecar: the sidecar is killed while instances join, started again, and none is started twice;
// - blind: nothing is done while one or all instances say nothing;
// - origin: a slow origin adds no instance, and raises an alert.
//
// Environment: MILLRACE, SIDECAR (the binaries), PLOTS (a directory for plots; none: not written), SECS (220, of the spike),
// USERS (40). One line of JSON per measurement; the exit status is 1 when a count is wrong.

import { spawn, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { plotLines } from './plot-lines.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(here, '../target');
const millrace = resolve(process.env.MILLRACE ?? join(target, 'release/millrace'));
const sidecar = resolve(process.env.SIDECAR ?? join(target, 'release/millrace-sidecar'));
const chosen = process.argv.slice(2);
const wanted = (name) => chosen.length === 0 || chosen.includes(name);
const users = Number(process.env.USERS ?? 40);
const scratch = mkdtempSync(join(tmpdir(), 'millrace-scaling-'));
const say = (line) => console.log(JSON.stringify(line));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let wrong = false;
const expect = (what, is) => {
  if (!is) {
    wrong = true;
    console.error(`not as it should be: ${what}`);
  }
};

/** The first of `count` ports in a row that are free now. */
async function freePorts(count) {
  const free = (port) => new Promise((done) => {
    const server = net.createServer().once('error', () => done(false)).listen(port, '127.0.0.1', () => server.close(() => done(true)));
  });
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 30_000);
    let all = true;
    for (let port = first; all && port < first + count; port++) all = await free(port);
    if (all) return first;
  }
}

// ---- origin

const OBJECTS = 2000;
const body = Buffer.alloc(64 << 10, 'millrace');
const origin = { seconds: new Map(), delay: 20, began: Date.now() };
const server = http.createServer((request, response) => {
  const second = Math.floor((Date.now() - origin.began) / 1000);
  origin.seconds.set(second, (origin.seconds.get(second) ?? 0) + 1);
  const number = Number(/\d+/.exec(request.url)?.[0] ?? 0);
  setTimeout(() => {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'cache-control': 'max-age=3600', etag: `"${number}"` });
    response.end(body.subarray(0, (8 + (number * 7) % 48) << 10));
  }, origin.delay);
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const originUrl = `http://127.0.0.1:${server.address().port}`;
const originNow = () => Math.floor((Date.now() - origin.began) / 1000);
const originMean = (from, to) => {
  let sum = 0;
  for (let second = from; second < to; second++) sum += origin.seconds.get(second) ?? 0;
  return sum / Math.max(1, to - from);
};
const paths = join(scratch, 'paths');
writeFileSync(paths, Array.from({ length: OBJECTS }, (_, at) => `/object/${at}`).join('\n'));

// ---- the fleet

class Fleet {
  constructor(name, { warm = '64MiB', min = 2, max = 4, manual = false, handOver = true } = {}) {
    Object.assign(this, { name, folder: join(scratch, name), warm, min, max, manual, handOver });
    execFileSync('mkdir', ['-p', join(this.folder, 'data')]);
  }

  async start() {
    const base = await freePorts(2);
    [this.front, this.api] = [`http://127.0.0.1:${base}`, `http://127.0.0.1:${base + 1}`];
    this.ports = await freePorts(600);
    const config = join(this.folder, 'haproxy.cfg');
    writeFileSync(config, `global
  stats socket ${this.folder}/admin.sock level admin
defaults
  mode http
  timeout connect 300ms
  timeout client 30s
  timeout server 30s
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response response-timeout
frontend f
  bind 127.0.0.1:${base}
  default_backend millrace
backend millrace
  balance leastconn
`);
    this.haproxy = spawn('haproxy', ['-f', config], { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
    writeFileSync(join(this.folder, 'scaling.toml'), this.policy());
    writeFileSync(join(this.folder, 'sidecar.toml'), `data_dir = "${this.folder}/data"
targets = []
[http]
listen = "127.0.0.1:${base + 1}"
[scrape]
interval_secs = 1
timeout_secs = 1
[rules]
evaluation_interval_secs = 2
files = ["${this.folder}/rules.yml"]
[scaling]
file = "${this.folder}/scaling.toml"
`);
    writeFileSync(join(this.folder, 'rules.yml'), `groups:
- name: origin
  rules:
  - alert: OriginSlow
    expr: histogram_quantile(0.95, sum by (le) (rate(http_client_request_duration_seconds_bucket[10s]))) > 1
`);
    await this.run();
    await this.until('the instances', async () => (await this.group()).ready >= this.min);
  }

  policy() {
    const held = this.manual ? 'up_cooldown_secs = 1\ndown_cooldown_secs = 1\nstabilization_secs = 1' : 'up_cooldown_secs = 10\ndown_cooldown_secs = 10\nstabilization_secs = 15';
    return `[[groups]]
name = "edge"
min = ${this.min}
max = ${this.max}
interval_secs = 2
startup_hold_secs = 4
max_age_secs = 5
panic_secs = 15
${held}
down_rates = [{ instances = 1, period_secs = 5 }]
[[groups.signals]]
name = "requests"
expr = '(sum(rate(http_server_request_duration_seconds_count{instance=~"$ready"}[8s])) or vector(0)) / count(up{instance=~"$ready"} == 1)'
reports = 'up{instance=~"$ready"} == 1'
unit = "requests/s"
per_instance = true
[[groups.signals]]
name = "p95"
expr = '(histogram_quantile(0.95, sum by (le) (rate(http_server_request_duration_seconds_bucket{instance=~"$ready"}[8s]))) >= 0) or vector(0)'
reports = 'up{instance=~"$ready"} == 1'
unit = "seconds"
[[groups.signals]]
name = "origin_p95"
expr = '(histogram_quantile(0.95, sum by (le) (rate(http_client_request_duration_seconds_bucket{instance=~"$ready"}[8s]))) >= 0) or vector(0)'
reports = 'up{instance=~"$ready"} == 1'
unit = "seconds"
[[groups.up]]
signal = "requests"
above = ${this.manual ? 100000 : 3.5 * users}
for_secs = 4
[[groups.up]]
signal = "p95"
above = ${this.manual ? 1000 : 0.5}
for_secs = 4
explained_by_origin = true
[[groups.down]]
signal = "requests"
below = ${this.manual ? 0 : 1.2 * users}
for_secs = 6
[groups.origin]
latency_signal = "origin_p95"
errors_signal = ""
load_signal = ""
hits_signal = ""
[groups.fleet]
balancer = "haproxy"
[groups.fleet.process]
command = ["${millrace}", "serve", "--listen", "{data}", "--admin", "{admin}", "--data-dir", "{data_dir}"]
args = ["--origin", "${originUrl}", "--memory", "64MiB", "--disk", "0", "--workers", "1"]
data_port = ${this.ports}
admin_port = ${this.ports + 300}
[groups.fleet.haproxy]
address = "unix://${this.folder}/admin.sock"
slow_start_secs = 3
[groups.fleet.warm]
bytes = "${this.warm}"
hand_over = ${this.handOver}
`;
  }

  async run() {
    this.sidecar = spawn(sidecar, ['serve', '--config', join(this.folder, 'sidecar.toml')], { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, MILLRACE_SIDECAR__LOG__FILTER: 'warn' } });
    await this.until('the sidecar', async () => (await fetch(`${this.api}/health/ready`)).ok);
  }

  async kill() {
    const ended = new Promise((done) => this.sidecar.once('exit', done));
    this.sidecar.kill('SIGKILL');
    await ended;
  }

  async get(path) {
    const answer = await (await fetch(`${this.api}${path}`)).json();
    if (answer.status !== 'success') throw new Error(JSON.stringify(answer));
    return answer.data;
  }

  async group() {
    return (await this.get('/api/v1/scaling')).groups[0];
  }

  async decisions() {
    return (await this.get('/api/v1/scaling/decisions?group=edge&limit=1000')).decisions;
  }

  async aim(desired) {
    const answer = await fetch(`${this.api}/api/v1/scaling/override`, { method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ group: 'edge', desired, seconds: 600, reason: 'measuring joins' }) });
    if (!answer.ok) throw new Error(await answer.text());
  }

  async until(what, done, patience = 60_000) {
    const late = Date.now() + patience;
    for (;;) {
      if (await done().catch(() => false)) return;
      if (Date.now() > late) throw new Error(`${this.name}: ${what} not within ${patience / 1000} s: ${JSON.stringify(await this.group().catch(String))}`);
      await pause(200);
    }
  }

  /** Of the instances that run, asked of the system. */
  pids() {
    const mine = (pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(`${this.folder}/data`) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('\0serve\0--listen');
      } catch {
        return false;
      }
    };
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && mine(name)).map(Number);
  }

  async stop() {
    await this.kill();
    for (const pid of this.pids()) process.kill(pid, 'SIGKILL');
    this.haproxy.kill();
  }
}

const fleets = [];
async function withFleet(name, options, work) {
  const fleet = new Fleet(name, options);
  fleets.push(fleet);
  try {
    await fleet.start();
    return await work(fleet);
  } finally {
    await fleet.stop();
    fleets.pop();
  }
}

/** Viewers for so long; what they met, as scripts/load-test.mjs says it. */
function view(fleet, seconds, crowd, report, more = { FLAT: 'yes' }) {
  const child = spawn('node', [join(here, 'load-test.mjs'), fleet.front, String(seconds), String(crowd), report], {
    stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, PATHS: paths, THINK_MS: '200', SIDECAR: fleet.api, PLOTS: '', ...more } });
  let text = '';
  child.stdout.on('data', (data) => { text += data; });
  return new Promise((done) => child.on('exit', () => done(JSON.parse(text || '{}'))));
}

// ---- the measurements

async function spike() {
  const seconds = Number(process.env.SECS ?? 220);
  await withFleet('spike', {}, async (fleet) => {
    const from = originNow();
    const met = await view(fleet, seconds, users, join(scratch, 'report.html'), { PLOTS: process.env.PLOTS ?? '' });
    await fleet.until('back to two', async () => (await fleet.group()).ready === 2, 120_000);
    const steps = (await fleet.decisions()).filter(({ action }) => action !== 'hold').reverse().map(({ from: was, to, binding, reason }) => ({ was, to, binding, reason }));
    say({ measurement: 'spike', ...met, steps, origin_peak_per_sec: Math.max(...Array.from({ length: seconds }, (_, at) => origin.seconds.get(from + at) ?? 0)) });
    expect('no request fails', met.failed === 0);
    expect('four instances at most', met.instances?.most === 4);
  });
}

async function joins() {
  const plots = {};
  for (const [name, warm] of [['warmed', '64MiB'], ['cold', '0']]) {
    await withFleet(`join-${name}`, { warm, manual: true, min: 3, max: 4 }, async (fleet) => {
      const from = originNow();
      const viewing = view(fleet, 90, 2 * users, join(scratch, `${name}.html`));
      await pause(50_000);
      const told = originNow();
      await fleet.aim(4);
      const met = await viewing;
      const steady = originMean(told - 15, told);
      const window = (at) => originMean(at, at + 3);
      const peak = Math.max(...Array.from({ length: 30 }, (_, at) => window(told + at)));
      plots[name] = Array.from({ length: 90 }, (_, at) => window(from + at));
      say({ measurement: 'join', name, steady_per_sec: steady, peak_per_sec: peak, above_percent: Math.round(1000 * (peak / steady - 1)) / 10, failed: met.failed, hits_percent: met.hits_percent });
      expect('no request fails', met.failed === 0);
      expect('it joined', met.instances?.last === 4);
    });
  }
  if (process.env.PLOTS) {
    writeFileSync(join(process.env.PLOTS, 'scaling-joins.svg'), plotLines({ title: 'Requests per second at the origin while a fourth instance joins', axis: 'seconds since the start of the load; told to join at 50',
      series: [{ name: 'warmed from its peers', colour: '#1f77b4', values: plots.warmed }, { name: 'cold', colour: '#d62728', values: plots.cold }] }));
  }
}

async function leave() {
  const EACH = 100;
  for (const handOver of [true, false]) {
    await withFleet(`leave-${handOver}`, { manual: true, max: 3, handOver }, async (fleet) => {
      await fleet.aim(3);
      await fleet.until('three', async () => (await fleet.group()).ready === 3);
      const before = (await fleet.group()).instances;
      const own = (at) => Array.from({ length: EACH }, (_, number) => `/object/${at * EACH + number}`);
      for (const [at, { data_url: url }] of before.entries()) {
        for (const path of [...own(at), ...own(at)]) await (await fetch(url + path)).arrayBuffer();
      }
      const told = Date.now();
      await fleet.aim(2);
      await fleet.until('two', async () => (await fleet.group()).instances.length === 2);
      const took = Math.round((Date.now() - told) / 100) / 10;
      const stayed = (await fleet.group()).instances;
      const gone = before.findIndex(({ name }) => stayed.every((one) => one.name !== name));
      const copies = await Promise.all(own(gone).map(async (path) => {
        const asked = stayed.map(({ data_url: url }) => fetch(url + path, { headers: { 'cache-control': 'only-if-cached' } }));
        return (await Promise.all(asked)).filter((answer) => answer.status === 200).length;
      }));
      const kept = copies.filter((count) => count > 0).length;
      say({ measurement: 'leave', hand_over: handOver, left: before[gone].name, of: EACH, kept, copies: copies.reduce((sum, count) => sum + count, 0), seconds: took });
      expect('what it had is kept, or not', kept === (handOver ? EACH : 0));
    });
  }
}

async function kill() {
  await withFleet('kill', { manual: true }, async (fleet) => {
    const viewing = view(fleet, 25, users, join(scratch, 'kill.html'));
    await pause(6000);
    const before = fleet.pids();
    process.kill(before[0], 'SIGKILL');
    await pause(500);
    await fleet.until('a replacement', async () => (await fleet.group()).ready === 2 && fleet.pids().length === 2);
    const met = await viewing;
    say({ measurement: 'kill', before: before.length, after: fleet.pids().length, replaced: !fleet.pids().includes(before[0]), failed: met.failed, failures: met.failures, requests: met.requests });
    expect('it is replaced', fleet.pids().length === 2);
  });
}

async function killedSidecar() {
  await withFleet('sidecar', { manual: true }, async (fleet) => {
    const before = fleet.pids();
    await fleet.aim(4);
    await fleet.until('a third', async () => fleet.pids().length >= 3);
    await fleet.kill();
    const between = fleet.pids();
    await fleet.run();
    await fleet.until('four', async () => (await fleet.group()).ready === 4);
    let most = 0;
    for (let look = 0; look < 20; look++) {
      most = Math.max(most, fleet.pids().length);
      await pause(250);
    }
    const after = fleet.pids();
    say({ measurement: 'sidecar', before: before.length, at_its_death: between.length, after: after.length, most_at_once: most, adopted: between.every((pid) => after.includes(pid)) });
    expect('those that ran are adopted', between.every((pid) => after.includes(pid)));
    expect('none is started twice', most === 4);
  });
}

async function blind() {
  await withFleet('blind', {}, async (fleet) => {
    // Without load: the one that is left would have to bear all of it, and more instances would be right.
    await pause(15_000);
    for (const many of [1, 2]) {
      // A stopped process answers nobody, and is not gone.
      const stopped = fleet.pids().slice(0, many);
      for (const pid of stopped) process.kill(pid, 'SIGSTOP');
      await pause(20_000);
      const [last] = await fleet.decisions();
      say({ measurement: 'blind', stopped: many, action: last.action, binding: last.binding, reason: last.reason, desired: (await fleet.group()).desired });
      expect('nothing is decided', last.action === 'hold');
      for (const pid of stopped) process.kill(pid, 'SIGCONT');
      await pause(5000);
    }
    const steps = (await fleet.decisions()).filter(({ action }) => action !== 'hold');
    expect('there were no steps', steps.every(({ to }) => to <= 2));
  });
}

async function slowOrigin() {
  await withFleet('origin', {}, async (fleet) => {
    origin.delay = 2500;
    const met = await view(fleet, 40, users, join(scratch, 'origin.html'));
    const firing = (await fleet.get('/api/v1/alerts')).alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels.alertname);
    const seen = (await fleet.decisions()).filter(({ binding }) => binding === 'origin_fault');
    origin.delay = 20;
    say({ measurement: 'origin', decisions_held_for_the_origin: seen.length, reason: seen[0]?.reason, alerts: firing, desired: (await fleet.group()).desired, first_byte_ms: met.first_byte_ms });
    expect('no instance is added', (await fleet.group()).desired === 2);
    expect('the origin is alerted on', firing.includes('OriginSlow'));
  });
}

try {
  if (wanted('spike')) await spike();
  if (wanted('joins')) await joins();
  if (wanted('leave')) await leave();
  if (wanted('kill')) await kill();
  if (wanted('sidecar')) await killedSidecar();
  if (wanted('blind')) await blind();
  if (wanted('origin')) await slowOrigin();
} finally {
  for (const fleet of fleets) await fleet.stop().catch(() => {});
  server.close();
  server.closeAllConnections();
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(wrong ? 1 : 0);
