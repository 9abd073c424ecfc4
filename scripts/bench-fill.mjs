#!/usr/bin/env node
// Measures fills: a herd on one cold object, a suffix of a cold 1 GiB object, memory under many large readers.
//
//   scripts/bench-fill.mjs [path of the millrace binary]
//
// Starts an origin of its own and one server per measurement, all on loopback, and stops them. The origin takes 100 ms to
// its first byte, as a remote one does. Takes about three minutes and 12 GiB of disk for the cache. Prints one line of JSON
// per measurement.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

const binary = process.argv[2] ?? join(process.env.CARGO_TARGET_DIR ?? 'target', 'release/millrace');
const MiB = 1 << 20;
const say = (line) => console.log(JSON.stringify(line));
/** Body bytes sent by the origin, by the first part of the path without its number. */
const SENT = ['herd', 'first', 'suffix', 'many'];
const sentBytes = new BigInt64Array(workerData ?? new SharedArrayBuffer(8 * SENT.length));
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

// ---- origin: /NAME/LENGTH answers LENGTH pattern bytes with a strong validator and ranges; counts what it sends. On a
// thread of its own, so that it does not wait for the clients, nor they for it.

if (!isMainThread) {
  const pattern = Buffer.alloc(MiB + 251);
  for (let i = 0; i < pattern.length; i++) pattern[i] = i % 251;
  const origin = http.createServer((request, response) => {
    const counter = new URL(request.url, 'http://o').pathname.split('/')[1];
    const length = Number(request.url.split('/')[2]);
    let [first, last] = [0, length - 1];
    const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '');
    if (range) {
      if (range[1] === '') first = Math.max(0, length - Number(range[2]));
      else [first, last] = [Number(range[1]), range[2] === '' ? last : Math.min(last, Number(range[2]))];
    }
    const headers = { ETag: '"v1"', 'Cache-Control': 'max-age=600', 'Content-Length': last - first + 1 };
    if (range) headers['Content-Range'] = `bytes ${first}-${last}/${length}`;
    let at = first;
    const pump = () => {
      while (at <= last) {
        const offset = at % 251;
        const chunk = pattern.subarray(offset, offset + Math.min(256 * 1024, last + 1 - at));
        at += chunk.length;
        Atomics.add(sentBytes, SENT.indexOf(counter.replace(/\d+$/, '')), BigInt(chunk.length));
        if (!response.write(chunk)) return void response.once('drain', pump);
      }
      response.end();
    };
    response.on('close', () => (at = last + 1));
    setTimeout(() => {
      response.writeHead(range ? 206 : 200, headers);
      pump();
    }, 100);
  });
  origin.listen(0, '127.0.0.1', () => parentPort.postMessage(origin.address().port));
  await new Promise(() => {}); // Until terminated.
}
const origin = new Worker(new URL(import.meta.url), { workerData: sentBytes.buffer });
const originUrl = `http://127.0.0.1:${await new Promise((done) => origin.once('message', done))}`;
const sent = (name) => Number(Atomics.load(sentBytes, SENT.indexOf(name)));

// ---- server

async function start(...flags) {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
  const child = spawn(binary, ['serve', '--origin', originUrl, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0',
    '--data-dir', dir, '--set', 'log.filter=error', ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  const port = await new Promise((found, failed) => {
    child.stdout.on('data', (chunk) => {
      const match = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec((text += chunk));
      if (match && text.includes('admin on')) found(Number(match[1]));
    });
    child.on('exit', () => failed(new Error('the server stopped')));
  });
  const peak = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) / 1024;
  const stop = () => new Promise((done) => {
    child.removeAllListeners('exit');
    child.on('exit', () => (rmSync(dir, { recursive: true, force: true }), done()));
    child.kill('SIGTERM');
  });
  return { port, peak, stop };
}

// One GET on a connection of its own. Resolves with times, length and (unless `quick`) the hash of the body.
function get(port, path, { range, quick, killAt } = {}) {
  return new Promise((done, failed) => {
    const started = process.hrtime.bigint();
    const since = () => Number(process.hrtime.bigint() - started) / 1e6;
    const hash = quick ? null : createHash('sha256');
    let head = null, firstByte = null, length = 0, pending = Buffer.alloc(0), want = Infinity;
    const socket = net.connect(port, '127.0.0.1', () =>
      socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\n${range ? `Range: ${range}\r\n` : ''}Connection: close\r\n\r\n`));
    socket.on('data', (chunk) => {
      // One piece of each connection in turn: Node would take up to 2 MiB from one before it looks at the next.
      socket.pause();
      setImmediate(() => socket.resume());
      if (head === null) {
        pending = Buffer.concat([pending, chunk]);
        const end = pending.indexOf('\r\n\r\n');
        if (end < 0) return;
        head = pending.subarray(0, end).toString();
        want = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? Infinity);
        chunk = pending.subarray(end + 4);
      }
      if (chunk.length && firstByte === null) firstByte = since();
      length += chunk.length;
      hash?.update(chunk);
      if (killAt && length >= killAt) socket.destroy();
      if (length >= want) socket.end();
    });
    socket.on('error', failed);
    socket.on('close', () => done({ head, firstByte, total: since(), length, hash: hash?.digest('hex') }));
  });
}

// ---- a herd of 200 on one cold 50 MB object, the first of them killed half-way; once for the bytes, and ten
// times without hashing them, so that this one-threaded client hands out first bytes as they come

{
  const server = await start('--memory', '256MiB', '--disk', '2GiB');
  const path = `/herd/${50 * MiB}`;
  const clients = Array.from({ length: 200 }, (_, i) => get(server.port, path, i === 0 ? { killAt: 25 * MiB } : {}));
  const [killed, ...rest] = await Promise.all(clients);
  const hashes = new Set(rest.map((client) => client.hash));
  say({ measurement: 'herd', clients: 200, killed_at_bytes: killed.length, origin_bytes: sent('herd'),
    object_bytes: 50 * MiB, identical: hashes.size === 1 && rest.every((client) => client.length === 50 * MiB),
    total_ms_median: +median(rest.map((client) => client.total)).toFixed(0), peak_rss_mib: +server.peak().toFixed(0) });
  await server.stop();
}

const herds = [];
for (let i = 0; i < 10; i++) {
  const server = await start('--memory', '256MiB', '--disk', '2GiB');
  const path = `/first${i}/${50 * MiB}`;
  const clients = Array.from({ length: 200 }, () => get(server.port, path, { quick: true }));
  const times = (await Promise.all(clients)).map((client) => client.firstByte);
  const [first, middle, last] = [Math.min(...times), median(times), Math.max(...times)];
  herds.push({ first, middle, last, ratio: middle / first });
  await server.stop();
}
{
  const round = (key, digits) => herds.map((herd) => +herd[key].toFixed(digits)).sort((a, b) => a - b);
  say({ measurement: 'first-byte', clients: 200, herds: herds.length, first_ms: round('first', 1), last_ms: round('last', 1),
    median_to_first: round('ratio', 2), median_of_herds: +median(herds.map((herd) => herd.ratio)).toFixed(2), origin_bytes: sent('first') });
}

// ---- the end of a cold 1 GiB object

{
  const server = await start('--memory', '128MiB', '--disk', '2GiB');
  const path = `/suffix/${1024 * MiB}`;
  const answer = await get(server.port, path, { range: 'bytes=-65536' });
  say({ measurement: 'suffix', answer_bytes: answer.length, status: answer.head.slice(9, 12),
    origin_bytes: sent('suffix'), total_ms: +answer.total.toFixed(1) });
  await server.stop();
}

// ---- 50 clients reading 50 different 200 MB objects with 128 MiB of memory

{
  const server = await start('--memory', '128MiB', '--disk', '12GiB');
  const started = Date.now();
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) => get(server.port, `/many${i}/${200 * MiB}`, { quick: true })));
  const secs = (Date.now() - started) / 1000;
  const bytes = answers.reduce((sum, answer) => sum + answer.length, 0);
  say({ measurement: 'many', clients: 50, complete: answers.every((answer) => answer.length === 200 * MiB),
    origin_to_object_ratio: +(sent('many') / (50 * 200 * MiB)).toFixed(3), mib_per_sec: +(bytes / MiB / secs).toFixed(0),
    peak_rss_mib: +server.peak().toFixed(0) });
  await server.stop();
}
await origin.terminate();
