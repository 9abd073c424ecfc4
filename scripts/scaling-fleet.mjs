// A fleet for scripts/bench-scaling.mjs: HAProxy with an empty backend, and a sidecar that runs the instances behind it, as processes or as
// containers.

import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

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

/** A program, and when it has ended; one that could not be started has ended as well. */
function started(program, args, options) {
  const child = spawn(program, args, options);
  child.ended = new Promise((done) => {
    child.once('exit', done);
    child.once('error', (error) => { console.error(`${program}: ${error.message}`); done(); });
  });
  return child;
}

/** `parts`: { scratch, group, millrace, sidecar, originUrl, users, image }. */
export class Fleet {
  constructor(name, parts, { warm = '64MiB', min = 2, max = 4, manual = false, handOver = true, engine } = {}) {
    Object.assign(this, { name, folder: join(parts.scratch, name), parts, warm, min, max, manual, handOver, engine });
    execFileSync('mkdir', ['-p', join(this.folder, 'data')]);
  }

  async start() {
    const base = await freePorts(2);
    [this.front, this.api] = [`http://127.0.0.1:${base}`, `http://127.0.0.1:${base + 1}`];
    this.ports = await freePorts(600);
    const config = join(this.folder, 'haproxy.cfg');
    writeFileSync(config, `global
  stats socket ${this.folder}/admin.sock level admin
  # Streams shall be in their instance, not in buffers on the way.
  tune.rcvbuf.server 65536
  tune.sndbuf.client 65536
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
  http-response set-header X-Instance %s
backend millrace
  balance leastconn
`);
    this.haproxy = started('haproxy', ['-f', config], { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
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
name = "${this.parts.group}"
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
expr = '(histogram_quantile(0.95, sum by (le) (rate(millrace_response_head_seconds_bucket{instance=~"$ready"}[8s]))) >= 0) or vector(0)'
reports = 'up{instance=~"$ready"} == 1'
unit = "seconds"
[[groups.signals]]
name = "origin_p95"
expr = '(histogram_quantile(0.95, sum by (le) (rate(http_client_request_duration_seconds_bucket{instance=~"$ready"}[8s]))) >= 0) or vector(0)'
reports = 'up{instance=~"$ready"} == 1'
unit = "seconds"
[[groups.up]]
signal = "requests"
above = ${this.manual ? 100000 : 3.5 * this.parts.users}
for_secs = 4
[[groups.up]]
signal = "p95"
above = ${this.manual ? 1000 : 0.5}
for_secs = 4
explained_by_origin = true
[[groups.down]]
signal = "requests"
below = ${this.manual ? 0 : 1.2 * this.parts.users}
for_secs = 6
[groups.origin]
latency_signal = "origin_p95"
errors_signal = ""
load_signal = ""
hits_signal = ""
[groups.fleet]
balancer = "haproxy"
${this.engine ? this.containers() : this.processes()}
[groups.fleet.haproxy]
address = "unix://${this.folder}/admin.sock"
slow_start_secs = 3
[groups.fleet.warm]
bytes = "${this.warm}"
hand_over = ${this.handOver}
`;
  }

  processes() {
    return `[groups.fleet.process]
command = ["${this.parts.millrace}", "serve", "--listen", "{data}", "--admin", "{admin}", "--data-dir", "{data_dir}"]
args = ["--origin", "${this.parts.originUrl}", "--memory", "64MiB", "--disk", "0", "--workers", "1"]
data_port = ${this.ports}
admin_port = ${this.ports + 300}`;
  }

  containers() {
    writeFileSync(join(this.folder, 'token'), 'token-of-this-run');
    return `actuator = "docker"
token_file = "${this.folder}/token"
[groups.fleet.docker]
engine = "${this.engine}"
image = "${this.parts.image}"
args = ["--origin", "${this.parts.originUrl}", "--memory", "64MiB", "--disk", "0", "--workers", "1", "--data-dir", "/var/cache/millrace"]
environment = { MILLRACE__ADMIN__TOKEN = "token-of-this-run" }`;
  }

  async run() {
    if (this.over) throw new Error(`${this.name} has been stopped`);
    this.sidecar = started(this.parts.sidecar, ['serve', '--config', join(this.folder, 'sidecar.toml')], { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, MILLRACE_SIDECAR__LOG__FILTER: 'warn' } });
    await this.until('the sidecar', async () => (await fetch(`${this.api}/health/ready`)).ok);
  }

  async kill() {
    this.sidecar.kill('SIGKILL');
    await this.sidecar.ended;
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
    return (await this.get(`/api/v1/scaling/decisions?group=${this.parts.group}&limit=1000`)).decisions;
  }

  async aim(desired) {
    const answer = await fetch(`${this.api}/api/v1/scaling/override`, { method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ group: this.parts.group, desired, seconds: 600, reason: 'measuring joins' }) });
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

  /** Whatever of it has begun and has not ended. */
  async stop() {
    this.over = true;
    if (this.sidecar) await this.kill();
    for (const pid of this.pids()) {
      try { process.kill(pid, 'SIGKILL'); } catch { /* has ended meanwhile */ }
    }
    this.haproxy?.kill();
    await this.haproxy?.ended;
  }
}
