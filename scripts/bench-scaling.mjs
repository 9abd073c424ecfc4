#!/usr/bin/env node
// A fleet of real parts on one machine: HAProxy, local instances of the built server that the built sidecar runs, an origin that
// counts, and viewers (scripts/load-test.mjs).
//
//   node scripts/bench-scaling.mjs [spike|joins|leave|kill|sidecar|blind|origin|docker]…
//
// - spike: from 2 instances to 4 and back to 2; no request fails, and no video that plays meanwhile is cut, also where its instance leaves;
// - joins: what the origin bears while one more instance joins at steady load, warmed from its peers and cold;
// - leave: what only a leaving instance has is with those that stay, unless the policy says otherwise;
// - kill: an instance that is killed is replaced;
// - sidecar: the sidecar is killed while instances join, started again, and none is started twice;
// - blind: nothing is done while one or all instances say nothing;
// - origin: a slow origin adds no instance, and raises an alert;
// - docker: containers instead of processes, from one to three and back to one under load. Only with ENGINE (`unix:///…/docker.sock`) and
//   HOST, the address of this machine in the engine's network; IMAGE is the image (millrace).
//
// Environment: MILLRACE, SIDECAR (the binaries), PLOTS (a directory for plots; none: not written), SECS (220, of the spike),
// USERS (40). One line of JSON per measurement; the exit status is 1 when a count is wrong.

import { spawn, execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { loadavg, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ending } from './faults/ending.mjs';
import { playStreams } from './play-streams.mjs';
import { plotLines } from './plot-lines.mjs';
import { Fleet, pause } from './scaling-fleet.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(here, '../target');
const millrace = resolve(process.env.MILLRACE ?? join(target, 'release/millrace'));
const sidecar = resolve(process.env.SIDECAR ?? join(target, 'release/millrace-sidecar'));
const chosen = process.argv.slice(2);
const wanted = (name) => chosen.length === 0 || chosen.includes(name);
const users = Number(process.env.USERS ?? 40);
const image = process.env.IMAGE ?? 'millrace';
const engine = process.env.ENGINE;
const scratch = mkdtempSync(join(tmpdir(), 'millrace-scaling-'));
/** One of this run: an engine may have containers of another, which the sidecar would take for its own. */
const group = `bench-${randomUUID().slice(0, 8)}`;
const say = (line) => console.log(JSON.stringify(line));
let wrong = false;
const expect = (what, is) => {
  if (!is) {
    wrong = true;
    console.error(`not as it should be: ${what}`);
  }
};

// ---- origin

const OBJECTS = 2000;
const body = Buffer.alloc(64 << 10, 'millrace');
/** Of the film that streams play. */
const FILM_SECS = 64;
let film;
const origin = { seconds: new Map(), delay: 20, began: Date.now() };
const server = http.createServer((request, response) => {
  const second = Math.floor((Date.now() - origin.began) / 1000);
  origin.seconds.set(second, (origin.seconds.get(second) ?? 0) + 1);
  const number = Number(/\d+/.exec(request.url)?.[0] ?? 0);
  setTimeout(() => {
    if (request.url === '/film.mp4') return give(request, response, film);
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'cache-control': 'max-age=3600', etag: `"${number}"` });
    response.end(body.subarray(0, (8 + (number * 7) % 48) << 10));
  }, origin.delay);
});

/** With ranges, as an index at the end of a video is asked for apart. */
function give(request, response, bytes) {
  const headers = { 'content-type': 'video/mp4', 'cache-control': 'max-age=3600', etag: '"film"', 'accept-ranges': 'bytes' };
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const part = first === undefined ? bytes : bytes.subarray(Number(first), last ? Number(last) + 1 : undefined);
  if (first !== undefined) headers['content-range'] = `bytes ${first}-${Number(first) + part.length - 1}/${bytes.length}`;
  response.writeHead(first === undefined ? 200 : 206, { ...headers, 'content-length': part.length });
  response.end(request.method === 'HEAD' ? undefined : part);
}

/** About two megabits a second. */
function makeFilm() {
  const path = join(scratch, 'film.mp4');
  execFileSync('ffmpeg', ['-loglevel', 'error', '-f', 'lavfi', '-i', `testsrc2=size=640x360:rate=25:duration=${FILM_SECS}`, '-c:v', 'libx264', '-preset', 'ultrafast',
    '-b:v', '2M', '-minrate', '2M', '-maxrate', '2M', '-bufsize', '1M', '-x264-params', 'nal-hrd=cbr', '-pix_fmt', 'yuv420p', '-movflags', '+faststart', path]);
  return readFileSync(path);
}
const host = process.env.HOST ?? '127.0.0.1';
await new Promise((done) => server.listen(0, host, done));
const originUrl = `http://${host}:${server.address().port}`;
const originNow = () => Math.floor((Date.now() - origin.began) / 1000);
const originMean = (from, to) => {
  let sum = 0;
  for (let second = from; second < to; second++) sum += origin.seconds.get(second) ?? 0;
  return sum / Math.max(1, to - from);
};
const paths = join(scratch, 'paths');
writeFileSync(paths, Array.from({ length: OBJECTS }, (_, at) => `/object/${at}`).join('\n'));

// ---- the fleet

const fleets = [];
const views = new Set();
const end = ending(async () => {
  for (const child of views) child.kill();
  for (const fleet of fleets) await fleet.stop().catch(() => {});
  server.close();
  server.closeAllConnections();
  rmSync(scratch, { recursive: true, force: true });
  removeContainers();
});
async function withFleet(name, options, work) {
  const fleet = new Fleet(name, { scratch, group, millrace, sidecar, originUrl, users, image }, options);
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
  views.add(child);
  let text = '';
  child.stdout.on('data', (data) => { text += data; });
  return new Promise((done) => child.on('exit', () => { views.delete(child); done(JSON.parse(text || '{}')); }));
}

// ---- the measurements

async function spike() {
  const seconds = Number(process.env.SECS ?? 220);
  await withFleet('spike', {}, async (fleet) => {
    const from = originNow();
    film ??= makeFilm();
    const streaming = playStreams(`${fleet.front}/film.mp4`, film, { everySeconds: 5, seconds: FILM_SECS,
      leaving: async () => (await fleet.group()).instances.filter(({ state }) => state === 'draining' || state === 'stopping').map(({ name }) => name) });
    const met = await view(fleet, seconds, users, process.env.REPORT ?? join(scratch, 'report.html'), { PLOTS: process.env.PLOTS ?? '', P95_MS: '500' });
    const streams = await streaming();
    await fleet.until('back to two', async () => { const { ready, instances } = await fleet.group(); return ready === 2 && instances.length === 2; }, 180_000);
    const steps = (await fleet.decisions()).filter(({ action }) => action !== 'hold').reverse().map(({ from: was, to, binding, reason }) => ({ was, to, binding, reason }));
    say({ measurement: 'spike', ...met, streams, steps, load_average: loadavg()[0], origin_peak_per_sec: Math.max(...Array.from({ length: seconds }, (_, at) => origin.seconds.get(from + at) ?? 0)) });
    expect('no request fails', met.failed === 0);
    expect('four instances at most', met.instances?.most === 4);
    expect('no stream is cut or changed', streams.faults.length === 0);
    expect('streams played on as their instance left', streams.while_their_instance_left > 0);
    expect('p95 is within the policy', met.first_byte_ms?.p95 < 500);
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
      say({ measurement: 'join', name, steady_per_sec: steady, peak_per_sec: peak, above_percent: Math.round(1000 * (peak / steady - 1)) / 10, failed: met.failed, hits_percent: met.hits_percent, load_average: loadavg()[0] });
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

function run(...words) {
  return execFileSync('docker', ['-H', engine, ...words], { encoding: 'utf8' }).trim();
}

/** Of this run, by their numbers; with `-a` also those that have ended. */
function containers(...more) {
  return run('ps', '-q', ...more, '--filter', `label=millrace.group=${group}`).split('\n').filter(Boolean);
}

function removeContainers() {
  const left = engine ? containers('-a') : [];
  if (left.length > 0) run('rm', '-f', ...left);
}

async function docker() {
  try {
    await withFleet('docker', { manual: true, min: 1, max: 3, engine }, async (fleet) => {
      const viewing = view(fleet, 45, 10, join(scratch, 'docker.html'));
      const counts = [containers().length];
      for (const many of [3, 1]) {
        await fleet.aim(many);
        await fleet.until(`${many} ready`, async () => { const { ready, instances } = await fleet.group(); return ready === many && instances.length === many; }, 180_000);
        counts.push(containers().length);
      }
      const met = await viewing;
      say({ measurement: 'docker', containers: counts, image_bytes: Number(run('image', 'inspect', '--format', '{{.Size}}', image)), requests: met.requests, failed: met.failed, failures: met.failures, load_average: loadavg()[0] });
      expect('one, three, one', counts.join() === '1,3,1');
      expect('no request fails', met.failed === 0);
    });
  } finally {
    removeContainers();
  }
}

try {
  if (engine && wanted('docker')) await docker();
  if (wanted('spike')) await spike();
  if (wanted('joins')) await joins();
  if (wanted('leave')) await leave();
  if (wanted('kill')) await kill();
  if (wanted('sidecar')) await killedSidecar();
  if (wanted('blind')) await blind();
  if (wanted('origin')) await slowOrigin();
} catch (error) {
  wrong = true;
  console.error(error);
}
await end(wrong ? 1 : 0);
