#!/usr/bin/env node
// Three real Alertmanagers that know nothing of each other, behind one sidecar. One is stopped while an alert fires, and is away while
// that alert ends, another begins, and a third begins and ends; then it comes back. Each of them has told its people of every beginning
// and end that it could hear of, and in the end all know the same. Exit 1 when a claim does not hold.
//
//   scripts/fault-alertmanagers.mjs
//
// Environment: AWAY (20 seconds), SIDECAR, ALERTMANAGER (the programs).

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ending } from './faults/ending.mjs';

const target = process.env.CARGO_TARGET_DIR ?? 'target';
const away = Number(process.env.AWAY ?? 20);
const sidecarProgram = process.env.SIDECAR ?? join(target, 'debug/millrace-sidecar');
const alertmanager = process.env.ALERTMANAGER ?? join(target, 'tools/bin/prometheus-alertmanager');
const NAMES = ['one', 'two', 'three'];
const PATIENCE_SECS = 180;
const scratch = mkdtempSync(join(tmpdir(), 'millrace-managers-'));
const children = new Set();
let failures = 0;
const claim = (holds, text) => {
  console.log(`- ${holds ? 'holds' : '**FAILS**'}: ${text}`);
  failures += holds ? 0 : 1;
};

let over = false;
const end = ending(async () => {
  over = true;
  const ended = [...children].map((child) => child.ended);
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(ended);
  rmSync(scratch, { recursive: true, force: true });
});

function start(program, args) {
  if (over) throw new Error(`${program} is not started: this is the end`);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  child.log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { child.log = (child.log + text).slice(-4000); });
  child.ended = new Promise((done) => {
    child.once('exit', () => { children.delete(child); done(); });
    child.once('error', (error) => { children.delete(child); done(); console.error(`${program}: ${error.message}`); end(1); });
  });
  return child;
}
async function serve(handler) {
  const server = http.createServer(handler);
  await new Promise((done) => { server.listen(0, '127.0.0.1', done); });
  return { server, port: server.address().port };
}
async function freePort() {
  const { server, port } = await serve(() => {});
  await new Promise((done) => { server.close(done); });
  return port;
}
async function json(url) {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(5000) });
    return answer.ok ? await answer.json() : null;
  } catch { return null; }
}
async function until(what, look) {
  const deadline = Date.now() + PATIENCE_SECS * 1000;
  while (Date.now() < deadline) {
    const found = await look();
    if (found) return found;
    await sleep(50);
  }
  throw new Error(`${what}: not within ${PATIENCE_SECS} s\n${[...children].map((child) => child.log).join('\n')}`);
}

try {
  const burning = new Set();
  const exposed = await serve((_, response) => {
    response.setHeader('content-type', 'text/plain; version=0.0.4');
    response.end(['first', 'second', 'third'].map((fire) => `fire{name="${fire}"} ${burning.has(fire) ? 1 : 0}\n`).join(''));
  });
  // What people heard, by Alertmanager.
  const heard = Object.fromEntries(NAMES.map((name) => [name, []]));
  const hooks = await serve((request, response) => {
    let body = '';
    request.on('data', (text) => { body += text; });
    request.on('end', () => { heard[request.url.slice(1)].push(...JSON.parse(body).alerts); response.end(); });
  });
  const has = (manager, fire, status) => heard[manager].some((alert) => alert.labels.name === fire && alert.status === status);
  const beginnings = (manager, fire) => new Set(heard[manager].filter((alert) => alert.labels.name === fire).map((alert) => alert.startsAt)).size;

  const managers = {};
  for (const name of NAMES) {
    const [port, folder] = [await freePort(), join(scratch, name)];
    mkdirSync(folder);
    writeFileSync(join(folder, 'alertmanager.yml'), `route: {receiver: ops, group_by: [alertname, name], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}
receivers: [{name: ops, webhook_configs: [{url: 'http://127.0.0.1:${hooks.port}/${name}', send_resolved: true}]}]
`);
    const run = () => start(alertmanager, [`--config.file=${join(folder, 'alertmanager.yml')}`, `--storage.path=${join(folder, 'data')}`, `--web.listen-address=127.0.0.1:${port}`, '--cluster.listen-address=']);
    managers[name] = { run, process: run(), base: `http://127.0.0.1:${port}` };
  }
  for (const name of NAMES) await until(`Alertmanager ${name}`, () => json(`${managers[name].base}/api/v2/status`));

  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  writeFileSync(join(scratch, 'rules.yml'), 'groups:\n- name: g\n  interval: 1s\n  rules:\n  - {alert: Fire, expr: fire > 0}\n');
  writeFileSync(join(scratch, 'sidecar.toml'), `data_dir = '${join(scratch, 'sidecar')}'
[http]
listen = '127.0.0.1:${port}'
[scrape]
interval_secs = 1
timeout_secs = 1
itself = false
[[targets]]
url = 'http://127.0.0.1:${exposed.port}'
job = 'edge'
[rules]
files = ['${join(scratch, 'rules.yml')}']
evaluation_interval_secs = 1
${NAMES.map((name) => `[[alertmanagers]]\nname = '${name}'\nurl = '${managers[name].base}'\n`).join('')}`);
  const run = () => start(sidecarProgram, ['serve', '--config', join(scratch, 'sidecar.toml')]);
  let sidecar = run();

  burning.add('first');
  for (const name of NAMES) await until(`${name} tells of the first`, () => has(name, 'first', 'firing'));
  claim(true, 'all three have told their people that the first alert fires');

  // Not killed: whom it has told, an Alertmanager writes down when it ends.
  managers.two.process.kill('SIGTERM');
  await managers.two.process.ended;
  burning.delete('first');
  burning.add('second');
  burning.add('third');
  for (const name of ['one', 'three']) {
    await until(`${name} goes on`, () => has(name, 'first', 'resolved') && has(name, 'second', 'firing') && has(name, 'third', 'firing'));
  }
  burning.delete('third');
  for (const name of ['one', 'three']) await until(`${name} goes on`, () => has(name, 'third', 'resolved'));
  claim(true, 'with one down, the others hear of the end of the first, of the second, and of beginning and end of the third');

  // The sidecar, too, may die meanwhile.
  sidecar.kill('SIGKILL');
  await sidecar.ended;
  sidecar = run();
  await sleep(away * 1000);
  claim(!has('two', 'first', 'resolved') && !has('two', 'second', 'firing'), `the one that is down has heard nothing for ${away} s, in which the sidecar was killed as well`);

  managers.two.process = managers.two.run();
  const back = Date.now();
  await until('the newest state is told', () => has('two', 'first', 'resolved') && has('two', 'second', 'firing'));
  claim(true, `back, it is told the newest state within ${((Date.now() - back) / 1000).toFixed(1)} s: the first has ended, the second fires`);
  claim(!has('two', 'third', 'firing'), 'of what began and ended while it was away it does not say that it fires');

  burning.delete('second');
  for (const name of NAMES) await until(`${name} tells of the end`, () => has(name, 'second', 'resolved'));
  const active = await Promise.all(NAMES.map(async (name) => (await json(`${managers[name].base}/api/v2/alerts?active=true`))?.length));
  claim(active.every((count) => count === 0), `in the end none has an active alert (${active.join(', ')})`);
  const flaps = NAMES.filter((name) => ['first', 'second'].some((fire) => beginnings(name, fire) !== 1));
  claim(!flaps.length, `nobody heard of a second beginning${flaps.length ? `, but ${flaps.join(', ')}` : ''}`);
  exposed.server.close();
  hooks.server.close();
} catch (error) {
  console.error(error.message);
  failures += 1;
}
await end(failures ? 1 : 0);
