#!/usr/bin/env node
// What viewers notice of origins that break: nothing, is the claim. Starts origins of its own that cut, change, vanish or
// hang, and a server for each scenario, all on loopback, and stops them. Prints Markdown; exit 1 when a claim does not hold.
//
//   scripts/fault-origin.mjs [path of the millrace binary] [scenario…]
//
// Scenarios: cut (each of 100 downloads of 20 MB cut once), second (the rest comes from another origin), s3 (it comes from S3),
// changed (another version after the cut), down (the first origin refuses, or never accepts), stall (it hangs before the
// first byte), outage (30 s without origin at 200 requests/s, and a few cold objects while it comes back).
// Environment: COUNT (100 downloads), BYTES (20000000 each), OUTAGE_SECS (30), RATE (200), PLOT (file to draw the outage's
// requests to, such as docs/plots/outage.svg). Same random offsets each time.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import { plotLines } from './plot-lines.mjs';
import { startS3 } from './s3-server.mjs';

const args = process.argv.slice(2);
const binary = args[0]?.includes('/') ? args.shift() : join(process.env.CARGO_TARGET_DIR ?? 'target', 'release/millrace');
const count = Number(process.env.COUNT ?? 100);
const bytes = Number(process.env.BYTES ?? 20_000_000);
const outageSecs = Number(process.env.OUTAGE_SECS ?? 30);
const rate = Number(process.env.RATE ?? 200);
let failures = 0;
const claim = (holds, text) => {
  console.log(`- ${holds ? 'holds' : '**FAILS**'}: ${text}`);
  failures += holds ? 0 : 1;
};

/** xorshift32: the same numbers in each run. */
function random(seed) {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32;
  };
}
function content(seed, length) {
  const words = new Uint32Array(Math.ceil(length / 4));
  const next = random(seed);
  for (let i = 0; i < words.length; i++) words[i] = next() * 2 ** 32;
  return Buffer.from(words.buffer, 0, length);
}
const versions = { '"1"': content(1, bytes), '"2"': content(2, bytes) };
const md5 = `"${createHash('md5').update(versions['"1"']).digest('hex')}"`;
versions[md5] = versions['"1"'];
const sums = Object.fromEntries(Object.entries(versions).map(([tag, body]) => [tag, createHash('sha256').update(body).digest('hex')]));

// ---- origin

class Origin {
  requests = 0;
  sent = 0;
  /** (path, number of the request for it) → { tag, cut, hang, refuse, maxAge, small } */
  script = () => ({});
  seen = new Map();
  sockets = new Set();

  async start(port = 0) {
    this.server = http.createServer((request, response) => this.answer(request, response));
    this.server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
    });
    await new Promise((done) => this.server.listen(port, '127.0.0.1', done));
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
    return this;
  }

  async stop() {
    const closed = new Promise((done) => this.server.close(done));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  answer(request, response) {
    this.requests += 1;
    const number = this.seen.get(request.url) ?? 0;
    this.seen.set(request.url, number + 1);
    const { tag = '"1"', cut, hang, refuse, maxAge = 600, small } = this.script(request.url, number);
    if (refuse) return void request.socket.destroy();
    const body = small ?? versions[tag];
    const headers = { ETag: tag, 'Cache-Control': `max-age=${maxAge}` };
    if (request.headers['if-none-match'] === tag) return void response.writeHead(304, headers).end();
    let [first, last] = [0, body.length - 1];
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const current = [undefined, tag].includes(request.headers['if-range']);
    if (range && current) {
      [first, last] = [Number(range[1]), range[2] === '' ? last : Math.min(last, Number(range[2]))];
      headers['Content-Range'] = `bytes ${first}-${last}/${body.length}`;
    }
    headers['Content-Length'] = last - first + 1;
    response.writeHead(range && current ? 206 : 200, headers);
    if (hang) return void response.flushHeaders();
    const end = cut === undefined ? last + 1 : Math.min(cut, last + 1);
    let at = first;
    response.on('close', () => (at = end));
    const pump = () => {
      while (at < end) {
        const chunk = body.subarray(at, Math.min(at + 256 * 1024, end));
        at += chunk.length;
        this.sent += chunk.length;
        if (!response.write(chunk)) return void response.once('drain', pump);
      }
      if (cut === undefined) return void response.end();
      // All of it is on its way before the connection closes.
      response.write('', () => request.socket.end());
    };
    pump();
  }
}

// ---- server and clients

async function serve(origins, ...flags) {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-fault-'));
  const chain = origins.flatMap((origin) => ['--origin', origin.url ?? origin]);
  const child = spawn(binary, ['serve', ...chain, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--data-dir', dir,
    '--disk', '1GiB', '--memory', '512MiB', '--set', 'log.filter=error', ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  const [port, admin] = await new Promise((found, failed) => {
    child.stdout.on('data', (chunk) => {
      const ports = [...(text += chunk).matchAll(/http:\/\/127\.0\.0\.1:(\d+)/g)].map((match) => Number(match[1]));
      if (/admin on/.test(text) && ports.length >= 2) found(ports);
    });
    child.on('exit', () => failed(new Error(`the server stopped: ${text}`)));
  });
  const stop = async () => {
    child.kill('SIGTERM');
    await new Promise((done) => child.once('exit', done));
    rmSync(dir, { recursive: true, force: true });
  };
  return { port, admin, stop };
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 512 });
/** Status, X-Cache, bytes and hash of what came, whether it came whole, and milliseconds to the head. */
function get(port, path) {
  const began = performance.now();
  return new Promise((done) => {
    const failed = () => done({ status: 0, whole: false, took: performance.now() - began });
    const request = http.get({ port, path, agent, headers: { Host: 'x' } }, (response) => {
      const took = performance.now() - began;
      const hash = createHash('sha256');
      let length = 0;
      response.on('data', (chunk) => {
        hash.update(chunk);
        length += chunk.length;
      });
      const end = (whole) => done({ status: response.statusCode, cache: response.headers['x-cache'], whole, length, took, hash: whole && hash.digest('hex') });
      response.on('end', () => end(response.complete));
      response.on('error', () => end(false));
    });
    request.on('error', failed);
  });
}

async function metric(admin, name, label = '') {
  const text = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(name) && line.includes(label));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').pop()), 0);
}

const offsets = Array.from({ length: count }, ((next) => () => 1 + Math.floor(next() * (bytes - 1)))(random(42)));
const number = (path) => Number(path.slice(1));

// ---- scenarios

const scenarios = {
  async cut() {
    const origin = await new Origin().start();
    origin.script = (path, nth) => (nth === 0 ? { cut: offsets[number(path)] } : {});
    const server = await serve([origin]);
    let same = 0;
    let whole = 0;
    for (let i = 0; i < count; i++) {
      const reply = await get(server.port, `/${i}`);
      same += reply.hash === sums['"1"'];
      whole += reply.whole;
    }
    const resumes = await metric(server.admin, 'millrace_origin_resumes_total');
    claim(same === count && whole === count, `${same} of ${count} downloads of ${bytes} bytes, each cut once, have the right SHA-256; ${count - whole} clients saw a break`);
    const share = origin.sent / (count * bytes);
    claim(share <= 1.05, `the origin served ${share.toFixed(4)} times the bytes (goal 1.05); ${resumes} resumes`);
    await server.stop();
    await origin.stop();
  },

  async second() {
    const [first, second] = [await new Origin().start(), await new Origin().start()];
    first.script = (path, nth) => (nth === 0 ? { cut: offsets[number(path)] } : { refuse: true });
    // The first one is to be asked each time.
    const server = await serve([first, second], '--set', 'breaker.least_answers=100000', '--set', 'breaker.unreachable=100000');
    let same = 0;
    for (let i = 0; i < count; i++) same += (await get(server.port, `/${i}`)).hash === sums['"1"'];
    claim(same === count, `${same} of ${count} downloads, begun at one origin and ended at another, have the right SHA-256`);
    const share = (first.sent + second.sent) / (count * bytes);
    claim(share <= 1.05, `both served ${share.toFixed(4)} times the bytes (goal 1.05), the second ${(second.sent / (count * bytes)).toFixed(2)}`);
    await server.stop();
    await Promise.all([first.stop(), second.stop()]);
  },

  async s3() {
    const first = await new Origin().start();
    const s3 = await startS3(versions['"1"'], count);
    first.script = (path, nth) => (nth === 0 ? { tag: md5, cut: offsets[number(path)] } : { refuse: true });
    const server = await serveWith(`[[origins]]\nname = "first"\nurl = "${first.url}"\n${s3.settings}`,
      '--set', 'breaker.least_answers=100000', '--set', 'breaker.unreachable=100000');
    let same = 0;
    for (let i = 0; i < count; i++) same += (await get(server.port, `/${i}`)).hash === sums['"1"'];
    claim(same === count, `${same} of ${count} downloads, begun at an HTTP origin and ended at S3 (s3s-fs), have the right SHA-256`);
    const received = await metric(server.admin, 'millrace_origin_response_bytes_total');
    const share = received / (count * bytes);
    claim(share <= 1.05, `both served ${share.toFixed(4)} times the bytes (goal 1.05), S3 ${((received - first.sent) / (count * bytes)).toFixed(2)}`);
    await server.stop();
    await Promise.all([first.stop(), s3.stop()]);
  },

  async changed() {
    const origin = await new Origin().start();
    origin.script = (path, nth) => (nth === 0 ? { cut: offsets[number(path)] } : { tag: '"2"' });
    const server = await serve([origin]);
    let [aborted, kept, fresh] = [0, 0, 0];
    for (let i = 0; i < count; i++) {
      aborted += !(await get(server.port, `/${i}`)).whole;
      const again = await get(server.port, `/${i}`);
      kept += again.cache === 'HIT';
      fresh += again.hash === sums['"2"'];
    }
    claim(aborted === count, `${aborted} of ${count} downloads were aborted when the ETag had changed`);
    claim(kept === 0 && fresh === count, `${kept} were cached; ${fresh} came whole and new when asked for again`);
    await server.stop();
    await origin.stop();
  },

  async down() {
    const second = await new Origin().start();
    second.script = () => ({ small: Buffer.from('x') });
    const refusing = await new Origin().start();
    await refusing.stop();
    // A listener that never accepts and whose backlog is full: connecting to it times out.
    const deaf = new Worker(`require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, function () {
      require('node:worker_threads').parentPort.postMessage(this.address().port);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    })`, { eval: true });
    const deafPort = await new Promise((done) => deaf.once('message', done));
    const fillers = Array.from({ length: 8 }, () => net.connect(deafPort, '127.0.0.1').on('error', () => {}));
    await sleep(500);
    for (const [name, url] of [['refuses', refusing.url], ['cannot be connected to (time-out 500 ms)', `http://127.0.0.1:${deafPort}`]]) {
      const base = await serve([second]);
      await get(base.port, '/connected');
      const timed = await serveWithTimeouts([url, second], 500, 5000);
      const took = [];
      const plain = [];
      for (let i = 0; i < 200; i++) {
        plain.push((await get(base.port, `/p${i}`)).took);
        const reply = await get(timed.port, `/d${i}`);
        took.push(reply.status === 200 ? reply.took : Infinity);
        await sleep(5);
      }
      const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
      const added = median(took.slice(1)) - median(plain.slice(1));
      const worst = Math.max(...took.slice(1));
      claim(took[0] < 600 && added <= 1, `first origin ${name}: the first cold request took ${took[0].toFixed(1)} ms, the others ${added.toFixed(2)} ms more than without it (medians of ${median(took.slice(1)).toFixed(2)} and ${median(plain.slice(1)).toFixed(2)}; goal 1 ms), at worst ${worst.toFixed(1)} ms`);
      await Promise.all([base.stop(), timed.stop()]);
    }
    fillers.forEach((filler) => filler.destroy());
    await deaf.terminate();
    await second.stop();
  },

  async stall() {
    const [first, second] = [await new Origin().start(), await new Origin().start()];
    first.script = () => ({ hang: true });
    second.script = () => ({ small: content(3, 1 << 20) });
    const server = await serveWithTimeouts([first, second], 500, 500);
    const took = [];
    for (let i = 0; i < 3; i++) took.push(await get(server.port, `/${i}`));
    const worst = Math.max(...took.map((reply) => reply.took));
    claim(took.every((reply) => reply.status === 200 && reply.whole) && worst < 700, `first origin hangs after the head: the next one's answer came after at most ${worst.toFixed(0)} ms (time-out 500 ms)`);
    await server.stop();
    await Promise.all([first.stop(), second.stop()]);
  },

  async outage() {
    const origin = await new Origin().start();
    const small = content(3, 10_000);
    origin.script = () => ({ small, maxAge: 2 });
    const server = await serve([origin]);
    const objects = rate;
    for (let i = 0; i < objects; i++) await get(server.port, `/${i}`);
    const before = 5;
    const after = 15;
    const [rows, pending, cold, coldRate] = [[], new Set(), [], 20];
    const baseline = { retries: await metric(server.admin, 'millrace_origin_retries_total{'), attempts: 0 };
    let down = false;
    for (let second = 0; second < before + outageSecs + after; second++) {
      if (second === before) {
        await origin.stop();
        down = true;
        baseline.attempts = await metric(server.admin, 'millrace_origin_requests_total{');
      }
      if (second === before + outageSecs) {
        baseline.attempts = (await metric(server.admin, 'millrace_origin_requests_total{')) - baseline.attempts;
        await origin.start(origin.port);
        down = false;
      }
      const row = { second, down, hit: 0, stale: 0, other: 0, errors: 0, asked: origin.requests };
      // While it comes back, some ask for what is not here.
      if (second >= before + outageSecs) {
        for (let i = 0; i < coldRate; i++) cold.push(sleep((1000 * i) / coldRate).then(() => get(server.port, `/cold/${second}/${i}`)));
      }
      rows.push(row);
      const began = performance.now();
      for (let i = 0; i < rate; i++) {
        const reply = get(server.port, `/${(second * rate + i) % objects}`).then(({ status, cache, whole }) => {
          pending.delete(reply);
          if (status !== 200 || !whole) row.errors += 1;
          else if (cache === 'HIT') row.hit += 1;
          else if (cache === 'STALE') row.stale += 1;
          else row.other += 1;
        });
        pending.add(reply);
        const due = began + ((i + 1) * 1000) / rate;
        if (due > performance.now()) await sleep(due - performance.now());
      }
      row.asked = origin.requests - row.asked;
    }
    await Promise.all(pending);
    const coldReplies = await Promise.all(cold);
    const bad = rows.reduce((sum, row) => sum + row.errors, 0);
    const retries = (await metric(server.admin, 'millrace_origin_retries_total{')) - baseline.retries;
    console.log('\n| second | origin | hit | stale | fetched | errors | requests at the origin |\n|--:|---|--:|--:|--:|--:|--:|');
    for (const row of rows) {
      if (row.second > before + 2 && row.second < before + outageSecs - 2 && row.second % 5) continue;
      console.log(`| ${row.second} | ${row.down ? 'down' : 'up'} | ${row.hit} | ${row.stale} | ${row.other} | ${row.errors} | ${row.asked} ${'▪'.repeat(Math.ceil(row.asked / 10))} |`);
    }
    console.log();
    claim(bad === 0, `${bad} of ${rows.length * rate} answers were errors`);
    const budget = Math.ceil(0.1 * (origin.requests + baseline.attempts) + 2 * rows.length + 20);
    claim(retries <= budget, `${retries} retries (budget ${budget}: 10 % of requests, 2 a second, 20 saved up); ${baseline.attempts} connections tried in ${outageSecs} s of outage`);
    // They wait until a probe has found out that it is back.
    const refused = coldReplies.filter(({ status }) => status !== 200).length;
    claim(refused === 0, `of ${cold.length} requests for cold objects, ${coldRate} a second from its return on, ${refused} were refused; the slowest answer took ${Math.max(...coldReplies.map(({ took }) => took)).toFixed(0)} ms`);
    const normal = Math.max(...rows.slice(1, before).map((row) => row.asked));
    const recovering = rows.slice(before + outageSecs).map((row) => row.asked);
    claim(Math.max(...recovering) <= 2 * normal, `requests at the origin: at most ${normal} a second before, ${Math.max(...recovering)} a second while recovering`);
    const recovered = recovering.findIndex((asked) => asked >= normal / 2);
    claim(recovered >= 0, `back at half of the usual load ${recovered} s after the outage`);
    if (process.env.PLOT) {
      const of = (field) => rows.map((row) => row[field]);
      writeFileSync(process.env.PLOT, plotLines({
        title: `${outageSecs} s without origin at ${rate} requests a second: what clients get, what the origin bears`,
        axis: 'seconds',
        spans: [{ from: before, to: before + outageSecs, name: 'no origin' }],
        series: [
          { name: 'fresh from the cache', colour: '#2a7', values: of('hit') },
          { name: 'stale', colour: '#c80', values: of('stale') },
          { name: 'errors', colour: '#c22', values: of('errors') },
          { name: 'requests at origin', colour: '#26c', values: of('asked') },
        ],
      }));
    }
    await server.stop();
    await origin.stop();
  },
};

/** With short time-outs, which flags cannot set for an origin. */
function serveWithTimeouts(origins, connect, bytes) {
  const tables = origins.map((origin, at) => `[[origins]]\nname = "o${at}"\nurl = "${origin.url ?? origin}"\nconnect_timeout_ms = ${connect}\nfirst_byte_timeout_ms = ${bytes}\nidle_timeout_ms = ${bytes}\n`);
  return serveWith(tables.join('\n'));
}

async function serveWith(settings, ...flags) {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-fault-'));
  const file = join(dir, 'millrace.toml');
  writeFileSync(file, settings);
  const server = await serve([], '--config', file, ...flags);
  return { ...server, stop: () => server.stop().then(() => rmSync(dir, { recursive: true, force: true })) };
}

for (const name of args.length ? args : Object.keys(scenarios)) {
  console.log(`\n### ${name}\n`);
  await scenarios[name]();
}
agent.destroy();
process.exit(failures ? 1 : 0);
