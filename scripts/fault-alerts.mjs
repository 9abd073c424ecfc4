#!/usr/bin/env node
// Every shipped alert fires and ends: faults are made in real processes (servers, sidecar, origin, encoders, file system). Durations of the rules are shortened sixtyfold
// (5m becomes 5s), nothing else; sidecar/tests/it/faults.rs runs them in full. Starts all it needs on loopback and stops it.
//
//   scripts/fault-alerts.mjs [alert…]
//
// Environment: MILLRACE, SIDECAR (the programs). DiskFull and UploadFailures need root, to mount an image, and PurgeLag a C compiler;
// without, a made-up target exposes what the fault looks like.

import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ending } from './faults/ending.mjs';
import { empty, fill, mountImage, unmountAll } from './faults/full-disk.mjs';
import { scalingPolicy } from './faults/scaling-policy.mjs';
import { SEGMENT_SECS, makeFilm, serveFilm, slowEncoder } from './faults/slow-encoder.mjs';
import { slowSync } from './faults/slow-sync.mjs';

const target = process.env.CARGO_TARGET_DIR ?? 'target';
const millrace = process.env.MILLRACE ?? join(target, 'debug/millrace');
const sidecarProgram = process.env.SIDECAR ?? join(target, 'debug/millrace-sidecar');
const wanted = process.argv.slice(2);
const WAIT_SECS = 90;
const scratch = mkdtempSync(join(tmpdir(), 'millrace-alerts-'));
const children = new Set();
/** The fault that there is now. */
let current;
let over = false;

const signal = (pid, name) => { try { process.kill(pid, name); } catch { /* has ended */ } };

/** Processes of the scene that somebody else has started. */
function strays() {
  const others = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid);
  return others.filter((pid) => {
    try { return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`${join(scratch, 'data')}/`); } catch { return false; }
  }).map(Number);
}

const end = ending(async () => {
  over = true;
  await current?.end?.();
  const ended = [...children].map((child) => child.ended);
  for (const child of children) { child.kill('SIGCONT'); child.kill('SIGKILL'); }
  await Promise.all(ended);
  // Instances outlive the sidecar that started them.
  for (const pid of strays()) signal(pid, 'SIGKILL');
  unmountAll();
  rmSync(scratch, { recursive: true, force: true });
});

function start(program, args, env = {}) {
  if (over) throw new Error(`${program} is not started: this is the end`);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  children.add(child);
  child.log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { child.log = (child.log + text).slice(-3000); });
  child.ended = new Promise((done) => {
    child.once('exit', () => { children.delete(child); done(); });
    child.once('error', (error) => { children.delete(child); done(); console.error(`${program}: ${error.message}`); end(1); });
  });
  return child;
}
async function serve(handler, port = 0) {
  const server = http.createServer(handler);
  await new Promise((done) => { server.listen(port, '127.0.0.1', done); });
  return { server, port: server.address().port };
}
async function freePort() {
  const { server, port } = await serve(() => {});
  await new Promise((done) => { server.close(done); });
  return port;
}
async function until(what, look, seconds = WAIT_SECS) {
  const deadline = Date.now() + seconds * 1000;
  while (Date.now() < deadline) {
    if (await look()) return;
    await sleep(50);
  }
  throw new Error(`${what}: not within ${seconds} s`);
}

// ---- rules, shortened

const rulesDir = join(scratch, 'rules');
mkdirSync(rulesDir);
const shipped = [];
for (const file of readdirSync('alerts').filter((name) => name.endsWith('.yml'))) {
  const text = readFileSync(join('alerts', file), 'utf8');
  shipped.push(...[...text.matchAll(/- alert: (\S+)/g)].map((found) => found[1]));
  const short = text
    .replace(/\[(\d+)m:15s\]/g, '[$1s:1s]')
    .replace(/\[(\d+)m\]/g, '[$1s]')
    .replace(/^(\s+for:) (\d+)m$/gm, '$1 $2s')
    // ScrapeStale: two minutes.
    .replace('> 120', '> 2');
  writeFileSync(join(rulesDir, file), short);
}
const extra = join(rulesDir, 'extra.yml');
const WATCHDOG = 'groups:\n- name: extra\n  rules:\n  - {alert: Watchdog, expr: vector(1)}\n';
writeFileSync(extra, WATCHDOG);

// ---- the scene

const picture = join(scratch, 'picture.jpg');
spawnSync('ffmpeg', ['-loglevel', 'error', '-f', 'lavfi', '-i', 'color=gray:size=800x600', '-frames:v', '1', '-q:v', '31', picture]);
const mood = { status: 200, delay: 0 };
let pictureBytes = Buffer.alloc(0);
try { pictureBytes = readFileSync(picture); } catch { /* then no HighQueueDepth */ }
const film = makeFilm(scratch);
async function answer(request, response) {
  if (film && request.url.startsWith('/film.mp4')) return serveFilm(film, request, response);
  if (mood.delay) await sleep(mood.delay);
  if (request.url.startsWith('/picture')) {
    response.writeHead(200, { 'content-type': 'image/jpeg', 'cache-control': 'max-age=3600', etag: '"p"' });
    return response.end(pictureBytes);
  }
  response.writeHead(mood.status, { 'content-type': 'text/plain', 'cache-control': mood.status === 200 ? 'max-age=3600' : 'no-store' });
  return response.end('hello\n');
}
let origin = await serve(answer);
const originPort = origin.port;

const [dataPort, adminPort, sidecarPort] = [await freePort(), await freePort(), await freePort()];
const serverData = join(scratch, 'server');
const TOKEN = 'of-a-scene-that-ends-soon';
/** A certificate that ends in so many days, and its key. */
function certify(days) {
  spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=cdn.example', '-addext', 'subjectAltName=DNS:cdn.example', '-days', `${days}`,
    '-keyout', join(scratch, 'key.pem'), '-out', join(scratch, 'certificate.pem')]);
}
certify(60);
const uploads = mountImage(scratch, 'uploads');
const serverConfig = join(scratch, 'millrace.toml');
writeFileSync(serverConfig, `[admin]
token = '${TOKEN}'
[tls]
listen = '127.0.0.1:${await freePort()}'
certificates = [{ certificate_file = '${join(scratch, 'certificate.pem')}', key_file = '${join(scratch, 'key.pem')}' }]
[uploads]
mode = 'on'
dir = '${uploads ?? join(scratch, 'uploads')}'
`, { mode: 0o600 });
const settings = ['--origin', `http://127.0.0.1:${originPort}`, '--memory', '64MiB', '--disk', '64MiB', '--workers', '1', '--set', 'media.threads=1', '--set', 'media.queue=400',
  '--set', `media.segment_secs=${SEGMENT_SECS}`, '--set', 'media.encodes=64'];
const syncs = slowSync(scratch);
const runServer = () => start(millrace, ['serve', '--config', serverConfig, '--listen', `127.0.0.1:${dataPort}`, '--admin', `127.0.0.1:${adminPort}`, '--data-dir', serverData, ...settings], syncs.env);
let server = runServer();

let madeUp = '';
const scripted = await serve((_, response) => { response.setHeader('content-type', 'text/plain; version=0.0.4'); response.end(madeUp); });
const told = [];
let flaky = 200;
const hooks = await serve((request, response) => {
  let body = '';
  request.on('data', (text) => { body += text; });
  request.on('end', () => {
    if (request.url === '/flaky') response.statusCode = flaky;
    else told.push(...JSON.parse(body).alerts);
    response.end();
  });
});
const list = join(scratch, 'targets.json');
const TARGETS = JSON.stringify([{ targets: [`127.0.0.1:${adminPort}`] }]);
writeFileSync(list, TARGETS);
// What the sidecar keeps one instance of; while it is broken, none gets ready.
const broken = join(scratch, 'program-is-broken');
const keptProgram = join(scratch, 'kept');
writeFileSync(keptProgram, `#!/bin/sh\nwhile [ -e '${broken}' ]; do sleep 1; done\nexec '${resolve(millrace)}' "$@"\n`);
chmodSync(keptProgram, 0o755);
const policy = join(scratch, 'scaling.toml');
writeFileSync(policy, scalingPolicy(keptProgram, originPort, await freePort()));
const hook = (name) => `[[webhooks]]\nname = '${name}'\nurl = 'http://127.0.0.1:${hooks.port}/${name}'\ngroup_wait_secs = 0\ngroup_interval_secs = 0\n`;
writeFileSync(join(scratch, 'sidecar.toml'), `data_dir = '${join(scratch, 'data')}'
[http]
listen = '127.0.0.1:${sidecarPort}'
[scrape]
interval_secs = 1
timeout_secs = 1
[[targets]]
url = 'http://127.0.0.1:${scripted.port}'
job = 'made-up'
[[discover]]
job = 'millrace'
files = ['${list}']
refresh_secs = 1
[[collect]]
kind = 'host'
[scaling]
file = '${policy}'
[rules]
files = ['${rulesDir}/*.yml']
evaluation_interval_secs = 1
${hook('ops')}${hook('flaky')}`);
const sidecar = start(sidecarProgram, ['serve', '--config', join(scratch, 'sidecar.toml')]);
const reload = () => fetch(`http://127.0.0.1:${sidecarPort}/-/reload`, { method: 'POST' });

/** Names of alerts that are pending or firing; null when the sidecar has not said. */
async function active() {
  try {
    const found = await (await fetch(`http://127.0.0.1:${sidecarPort}/api/v1/alerts`)).json();
    return found.data.alerts.map((alert) => alert.labels.alertname);
  } catch { return null; }
}

// ---- traffic: mostly the same address; `unique` asks for others

let unique = false;
let asked = 0;
let quiet = false;
const traffic = setInterval(() => {
  if (quiet) return;
  asked += 1;
  // Some always go to the origin, so that its breaker learns that it is back.
  const path = unique || asked % 10 === 0 ? `/unique/${asked}` : `/same/${asked % 3}`;
  const request = http.get({ host: '127.0.0.1', port: dataPort, path, timeout: 10_000 }, (reply) => reply.resume());
  request.on('error', () => {});
}, 50);

// ---- faults

/** What a made-up target exposes: `of(n, faulty)` with counters of seconds so far and of those with the fault. */
function pretend(of) {
  let n = 0;
  let faulty = 0;
  let fault = false;
  madeUp = of(0, 0, false);
  const ticking = setInterval(() => { n += 1; faulty += fault ? 1 : 0; madeUp = of(n, faulty, fault); }, 500);
  return { real: false, make: () => { fault = true; }, mend: () => { fault = false; }, end: () => { clearInterval(ticking); madeUp = ''; } };
}
function purgeLag() {
  if (!syncs.library) {
    const buckets = (quick, all) => [['0.1', quick], ['100', quick], ['+Inf', all]].map(([le, count]) => `millrace_purge_apply_seconds_bucket{le="${le}"} ${count}\n`);
    return pretend((n, faulty) => buckets(n - faulty, n).join(''));
  }
  const purging = setInterval(() => {
    const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
    fetch(`http://127.0.0.1:${adminPort}/api/v1/purge`, { method: 'POST', headers, body: '{"urls": ["/same/1"]}' }).then((reply) => reply.arrayBuffer()).catch(() => {});
  }, 500);
  return { real: true, make: syncs.begin, mend: syncs.end, end: () => clearInterval(purging) };
}

function uploadFailures() {
  if (!uploads) {
    return pretend((n, faulty) => `millrace_uploads_total{kind="put",result="stored"} ${n * 10}\nmillrace_uploads_total{kind="put",result="failed"} ${faulty * 3}\n`);
  }
  const uploading = setInterval(() => {
    const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'text/plain' };
    fetch(`http://127.0.0.1:${dataPort}/assets/note.txt`, { method: 'PUT', headers, body: 'a note\n'.repeat(2000) }).then((reply) => reply.arrayBuffer()).catch(() => {});
  }, 200);
  return { real: true, make: () => fill(uploads), mend: () => empty(uploads), end: () => clearInterval(uploading) };
}

/** Keeps more pictures waiting than the rule allows, each another (shapes alone are too much alike), for the one thread that there is for them. */
function queueUp() {
  let asked = 0;
  let waiting = 0;
  let asking = null;
  const ask = () => {
    for (; waiting < 180; waiting += 1) {
      asked += 1;
      const request = http.get({ host: '127.0.0.1', port: dataPort, path: `/picture-${asked}.jpg?w=640&h=360&fit=crop` }, (reply) => reply.resume());
      request.on('error', () => {});
      request.on('close', () => { waiting -= 1; });
    }
  };
  return { real: true, make: () => { asking = setInterval(ask, 50); }, mend: () => clearInterval(asking) };
}

function diskFull() {
  const point = mountImage(scratch, 'disk');
  if (point) return { real: true, make: () => fill(point), mend: () => empty(point) };
  const of = '{device="d",fstype="ext4",mountpoint="/"}';
  return pretend((n, faulty, fault) => `node_filesystem_size_bytes${of} 100\nnode_filesystem_avail_bytes${of} ${fault ? 4 : 50}\nnode_filesystem_readonly${of} 0\n`);
}

/** The sidecar stands still again and again, each time for less than the window of the rule, which is five seconds here. */
function heldUp() {
  let over = false;
  let going = null;
  const hold = async () => {
    while (!over) {
      sidecar.kill('SIGSTOP');
      await sleep(2500);
      sidecar.kill('SIGCONT');
      await sleep(2500);
    }
  };
  return { real: true, make: () => { going = hold(); }, mend: async () => { over = true; await going; } };
}

const real = (make, mend, end = () => {}) => () => ({ real: true, make, mend, end });
const FAULTS = {
  HighErrorRate: real(() => { mood.status = 500; unique = true; }, () => { mood.status = 200; unique = false; }),
  HighResponseTime: real(() => { mood.delay = 3000; unique = true; }, () => { mood.delay = 0; unique = false; }),
  LowCacheHitRate: real(() => { unique = true; }, () => { unique = false; }),
  OriginErrors: real(() => { mood.status = 503; unique = true; }, () => { mood.status = 200; unique = false; }),
  OriginBreakerOpen: real(async () => {
    unique = true;
    origin.server.closeAllConnections();
    await new Promise((done) => { origin.server.close(done); });
  }, async () => { origin = await serve(answer, originPort); unique = false; }),
  TargetDown: real(async () => { server.kill('SIGKILL'); await server.ended; }, () => { server = runServer(); }),
  ScrapeStale: real(() => { writeFileSync(list, '[]'); }, () => { writeFileSync(list, TARGETS); }),
  DiskTierDegraded: real(() => { rmSync(serverData, { recursive: true }); writeFileSync(serverData, ''); unique = true; },
    () => { rmSync(serverData, { force: true, recursive: true }); mkdirSync(serverData); unique = false; }),
  DiskFull: diskFull,
  RuleEvaluationMissed: heldUp,
  RuleEvaluationFails: real(async () => {
    writeFileSync(extra, `${WATCHDOG}  - {record: bad, expr: up * on () up}\n`);
    await reload();
  }, async () => { writeFileSync(extra, WATCHDOG); await reload(); }),
  NotificationsFail: real(async () => {
    flaky = 500;
    writeFileSync(extra, `${WATCHDOG}  - {alert: AnotherWatchdog, expr: vector(1)}\n`);
    await reload();
  }, () => { flaky = 200; }),
  PurgeLag: purgeLag,
  UploadFailures: uploadFailures,
  CertificateExpiry: real(() => { certify(13); server.kill('SIGHUP'); }, () => { certify(60); server.kill('SIGHUP'); }),
  ScalingStuck: real(() => {
    writeFileSync(broken, '');
    for (const pid of strays()) signal(pid, 'SIGKILL');
  }, () => rmSync(broken)),
  ScalingBlind: real(() => { server.kill('SIGSTOP'); }, () => { server.kill('SIGCONT'); }),
  ScalingHeldByOrigin: real(() => { mood.delay = 3000; unique = true; }, () => { mood.delay = 0; unique = false; }),
  SlowMediaProcessing: () => slowEncoder(dataPort, () => server.pid),
  // Last, since the server is busy with it for a while.
  HighQueueDepth: queueUp,
};

let failures = 0;
const missing = [...new Set(shipped)].filter((name) => !FAULTS[name]);
if (missing.length) { console.log(`no fault for ${missing.join(', ')}`); failures += 1; }
console.log('| alert | fault | fires after | ends after |\n|---|---|---|---|');
try {
  await until('the sidecar', async () => { try { return (await fetch(`http://127.0.0.1:${sidecarPort}/health`)).ok; } catch { return false; } });
  await sleep(6000);
  for (const [name, prepare] of Object.entries(FAULTS).filter(([name]) => !wanted.length || wanted.includes(name))) {
    const heard = (status) => told.some((alert) => alert.labels.alertname === name && alert.status === status);
    const fault = prepare();
    current = fault;
    let words = ['', ''];
    let made = false;
    try {
      await fault.prepare?.();
      await sleep(fault.real ? 500 : 4000);
      // What the fault before has brought about is over.
      await until(`${name} is quiet`, async () => (await active())?.includes(name) === false);
      told.length = 0;
      const begun = Date.now();
      made = true;
      await fault.make();
      await until(`${name} fires`, () => heard('firing'), fault.patience);
      const fired = Date.now();
      told.length = 0;
      await fault.mend();
      await until(`${name} ends`, () => heard('resolved'), fault.patience);
      words = [`${((fired - begun) / 1000).toFixed(1)} s`, `${((Date.now() - fired) / 1000).toFixed(1)} s`];
    } catch (error) {
      words = ['**FAILS**', error.message];
      failures += 1;
      if (made) await fault.mend();
    }
    await fault.end?.();
    current = undefined;
    console.log(`| ${name} | ${fault.real ? 'real' : 'made up'} | ${words.join(' | ')} |`);
  }
} catch (error) {
  console.log(error.message);
  failures += 1;
} finally {
  clearInterval(traffic);
  if (failures) console.log(sidecar.log, server.log);
}
await end(failures ? 1 : 0);
