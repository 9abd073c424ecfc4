#!/usr/bin/env node
// kill -9 while an alert with `for: 30s` fires, with a real Alertmanager behind the sidecar: after the restart the alert fires at
// the first evaluation, and the Alertmanager sees neither an end nor a second beginning. Then the condition ends, and everybody
// hears of it, once. On the way the sidecar's own webhook is compared with the Alertmanager's. Exit 1 when a claim does not hold.
//
//   scripts/fault-restart.mjs
//
// Environment: ROUNDS (3 kills), SIDECAR, ALERTMANAGER, PROMETHEUS (the programs; without a Prometheus 3 it is not compared).

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const target = process.env.CARGO_TARGET_DIR ?? 'target';
const rounds = Number(process.env.ROUNDS ?? 3);
const sidecar = process.env.SIDECAR ?? join(target, 'debug/millrace-sidecar');
const alertmanager = process.env.ALERTMANAGER ?? join(target, 'tools/bin/prometheus-alertmanager');
const prometheus = process.env.PROMETHEUS ?? join(target, 'tools/bin/prometheus');
const scratch = mkdtempSync(join(tmpdir(), 'millrace-restart-'));
const children = new Set();
let failures = 0;
const claim = (holds, text) => {
  console.log(`- ${holds ? 'holds' : '**FAILS**'}: ${text}`);
  failures += holds ? 0 : 1;
};

function start(program, args, name) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  child.log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { child.log = (child.log + text).slice(-4000); });
  child.ended = new Promise((done) => { child.once('exit', () => { children.delete(child); done(); }); });
  child.on('error', (error) => { console.error(`${name}: ${error.message}`); process.exitCode = 1; });
  return child;
}

function serve(handler) {
  const server = http.createServer(handler);
  return new Promise((done) => { server.listen(0, '127.0.0.1', () => done({ server, port: server.address().port })); });
}
async function freePort() {
  const { server, port } = await serve(() => {});
  await new Promise((done) => { server.close(done); });
  return port;
}
async function json(url) {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2000) });
    return answer.ok ? await answer.json() : null;
  } catch { return null; }
}
async function until(what, seconds, look) {
  const deadline = Date.now() + seconds * 1000;
  while (Date.now() < deadline) {
    const found = await look();
    if (found) return found;
    await sleep(20);
  }
  throw new Error(`${what}: not within ${seconds} s\n${[...children].map((child) => child.log).join('\n')}`);
}

try {
  let depth = 12;
  const exposed = await serve((_, response) => {
    response.setHeader('content-type', 'text/plain; version=0.0.4');
    response.end(`queue_depth{queue="media"} ${depth}\n`);
  });
  const told = { manager: [], own: [] };
  const hooks = await serve((request, response) => {
    let body = '';
    request.on('data', (text) => { body += text; });
    request.on('end', () => { told[request.url.slice(1)].push(JSON.parse(body)); response.end(); });
  });
  const hook = (name) => `http://127.0.0.1:${hooks.port}/${name}`;

  const managerPort = await freePort();
  writeFileSync(join(scratch, 'alertmanager.yml'), `route: {receiver: ops, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}
receivers: [{name: ops, webhook_configs: [{url: '${hook('manager')}', send_resolved: true}]}]
`);
  start(alertmanager, [`--config.file=${join(scratch, 'alertmanager.yml')}`, `--storage.path=${join(scratch, 'am')}`, `--web.listen-address=127.0.0.1:${managerPort}`, '--cluster.listen-address='], 'alertmanager');
  const manager = `http://127.0.0.1:${managerPort}`;
  await until('Alertmanager', 20, () => json(`${manager}/api/v2/status`));

  const rules = join(scratch, 'rules.yml');
  writeFileSync(rules, `groups:
- name: g
  interval: 5s
  rules:
  - alert: QueueLong
    expr: queue_depth > 10
    for: 30s
    labels: {severity: page}
    annotations: {summary: '{{ $value }} wait in {{ $labels.queue }}'}
`);
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  writeFileSync(join(scratch, 'sidecar.toml'), `data_dir = '${join(scratch, 'data')}'
[http]
listen = '127.0.0.1:${port}'
[scrape]
interval_secs = 5
timeout_secs = 4
itself = false
[[targets]]
url = 'http://127.0.0.1:${exposed.port}'
job = 'edge'
[rules]
files = ['${rules}']
evaluation_interval_secs = 5
[[alertmanagers]]
name = 'am'
url = '${manager}'
[[webhooks]]
name = 'ops'
url = '${hook('own')}'
group_wait_secs = 0
group_interval_secs = 1
`);
  const run = () => start(sidecar, ['serve', '--config', join(scratch, 'sidecar.toml')], 'sidecar');
  const alert = async (from = base) => (await json(`${from}/api/v1/alerts`))?.data.alerts[0];
  const evaluated = async () => {
    const groups = (await json(`${base}/api/v1/rules`))?.data.groups;
    return groups?.[0]?.rules[0].lastEvaluation.startsWith('0001') === false;
  };
  const seen = async () => (await json(`${manager}/api/v2/alerts`))?.[0];

  let process_ = run();
  const begun = Date.now();
  const first = await until('firing', 60, async () => { const found = await alert(); return found?.state === 'firing' && found; });
  console.log(`- it fires ${((Date.now() - begun) / 1000).toFixed(1)} s after the start`);
  const known = await until('the Alertmanager knows', 10, seen);
  await until('both webhooks', 10, () => told.manager.length && told.own.length);

  // The same message from both, but for who speaks. Newer Alertmanagers also say why they speak.
  const besides = ['receiver', 'externalURL', 'generatorURL', 'notification_reason'];
  const shown = (payload) => JSON.stringify(payload, (key, value) => (besides.includes(key) ? undefined : value));
  claim(shown(told.own[0]) === shown(told.manager[0]), `the webhook says what the Alertmanager's says, byte for byte but for ${besides.join(', ')}`);

  let gaps = 0;
  let changes = 0;
  let watching = true;
  const watch = (async () => {
    while (watching) {
      const now = await seen();
      if (!now) gaps += 1;
      else if (now.startsAt !== known.startsAt || now.status.state !== 'active') changes += 1;
      await sleep(50);
    }
  })();
  const delays = [];
  let firingAtOnce = 0;
  for (let round = 0; round < rounds; round += 1) {
    await sleep(1000 + Math.random() * 5000);
    process_.kill('SIGKILL');
    await process_.ended;
    const killed = Date.now();
    process_ = run();
    await until('evaluation after the restart', 30, evaluated);
    const now = await alert();
    delays.push((Date.now() - killed) / 1000);
    if (now?.state === 'firing' && now.activeAt === first.activeAt) firingAtOnce += 1;
  }
  await sleep(6000);
  watching = false;
  await watch;
  claim(firingAtOnce === rounds, `${firingAtOnce} of ${rounds} times it fires at the first evaluation after kill -9 (${delays.map((s) => `${s.toFixed(1)} s`).join(', ')} after the kill)`);
  claim(gaps === 0 && changes === 0, `the Alertmanager always had it as active, begun at the same time (${gaps} gaps, ${changes} changes)`);
  claim(told.manager.length === 1 && told.own.length === 1, `people heard once: ${told.manager.length} by the Alertmanager, ${told.own.length} by the sidecar's own webhook`);

  // Killed while it ends: the end is told all the same.
  depth = 1;
  await until('resolved in the rules', 30, async () => (await json(`${base}/api/v1/alerts`))?.data.alerts.length === 0);
  process_.kill('SIGKILL');
  await process_.ended;
  process_ = run();
  await until('the end is told', 60, () => told.own.some((body) => body.status === 'resolved') && told.manager.some((body) => body.status === 'resolved'));
  await sleep(3000);
  const ends = (list) => list.filter((body) => body.status === 'resolved').length;
  claim(ends(told.own) >= 1 && ends(told.manager) === 1, `killed again as it resolved: told of the end ${ends(told.manager)} time by the Alertmanager, ${ends(told.own)} by the webhook`);
  process_.kill('SIGTERM');
  await process_.ended;

  // Beside it, Prometheus.
  if (spawnSync(prometheus, ['--version']).status === 0) {
    depth = 12;
    const own = await freePort();
    writeFileSync(join(scratch, 'prometheus.yml'), `global: {scrape_interval: 5s, scrape_timeout: 4s, evaluation_interval: 5s}
rule_files: ['${rules}']
scrape_configs: [{job_name: edge, static_configs: [{targets: ['127.0.0.1:${exposed.port}']}]}]
`);
    const there = `http://127.0.0.1:${own}`;
    const go = () => start(prometheus, [`--config.file=${join(scratch, 'prometheus.yml')}`, `--storage.tsdb.path=${join(scratch, 'tsdb')}`, `--web.listen-address=127.0.0.1:${own}`], 'prometheus');
    let theirs = go();
    await until('Prometheus fires', 90, async () => (await alert(there))?.state === 'firing');
    theirs.kill('SIGKILL');
    await theirs.ended;
    const killed = Date.now();
    theirs = go();
    await until('Prometheus fires again', 120, async () => (await alert(there))?.state === 'firing');
    console.log(`- for comparison, ${spawnSync(prometheus, ['--version']).stdout.toString().split('\n')[0].match(/version \S+/)[0]}: firing again ${((Date.now() - killed) / 1000).toFixed(1)} s after the kill`);
    theirs.kill('SIGTERM');
    await theirs.ended;
  }
  exposed.server.close();
  hooks.server.close();
} finally {
  for (const child of children) child.kill('SIGKILL');
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(failures ? 1 : 0);
