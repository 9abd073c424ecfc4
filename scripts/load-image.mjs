#!/usr/bin/env node
// The work that images make, counted at the origin and in /metrics, of the built server:
//
// - a crowd: 1,000 requests for 100 variants of one cold source at concurrency 64. One fetch, 100 transforms, no error;
// - a flood: 10,000 random widths of one image, while an ordinary client reads what is cached. Variants and p99 are bounded. The flood
//   comes from a process of its own that gives way to all others, as its machine would be another one; else its client is what is measured;
// - overhead: how much longer a cold variant takes than its transform, one at a time;
// - bombs: how soon and in how much memory sources of 256 megapixels are refused.
//
//   node scripts/load-image.mjs [crowd|flood|overhead|bombs]…
//
// Environment: MILLRACE (the binary). Needs ffmpeg for the photo. Prints one line of JSON per measurement; the exit status is 1 when
// a count is wrong. Times are printed, and judged by whoever reads them.

import { fork, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { getPriority, setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync, crc32 } from 'node:zlib';

const binary = process.env.MILLRACE ?? join(process.env.CARGO_TARGET_DIR ?? 'target', 'release/millrace');
const chosen = process.argv.slice(2);
const wanted = (name) => chosen.length === 0 || chosen.includes(name);
const say = (line) => console.log(JSON.stringify(line));
const scratch = mkdtempSync(join(tmpdir(), 'millrace-load-image-'));
const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * q))];
const round = (number) => Math.round(number * 100) / 100;
let wrong = false;
const expect = (what, is) => {
  if (!is) {
    wrong = true;
    console.error(`not as it should be: ${what}`);
  }
};

// ---- sources

function photo(width, height) {
  const made = spawnSync('ffmpeg', ['-nostdin', '-v', 'error', '-f', 'lavfi', '-i',
    `mandelbrot=size=${width}x${height}:start_scale=0.4`, '-vf', 'noise=alls=12', '-frames:v', '1', '-q:v', '3', '-f', 'mjpeg',
    'pipe:1'], { maxBuffer: 64 << 20 });
  if (made.status !== 0) throw new Error(`ffmpeg: ${made.stderr}`);
  return made.stdout;
}

const SIDE = 16384; // 268 megapixels

function png() {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(crc32(body), body.length + 4);
    return out;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(SIDE, 0);
  header.writeUInt32BE(SIDE, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const rows = deflateSync(Buffer.alloc((1 + SIDE * 3) * 256)); // Enough for a decoder that begins.
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), chunk('IHDR', header), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))]);
}

// A good file whose header says that it is larger.
function jpeg(marker) {
  const bytes = Buffer.from(photo(256, 256));
  for (let at = 2; at < bytes.length && bytes[at] === 0xff; at += 2 + bytes.readUInt16BE(at + 2)) {
    if (bytes[at + 1] === 0xc0) {
      bytes[at + 1] = marker;
      bytes.writeUInt16BE(SIDE, at + 5);
      bytes.writeUInt16BE(SIDE, at + 7);
      return Buffer.concat([bytes, Buffer.alloc(1 << 20, 0x55)]);
    }
  }
  throw new Error('no frame header');
}

function gif() {
  const head = Buffer.from('GIF89a\0\0\0\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\0\0\0\0\0\x02', 'latin1');
  for (const at of [6, 8, 24, 26]) head.writeUInt16LE(SIDE, at);
  return Buffer.concat([head, Buffer.from([2, 0x4c, 1, 0, 0x3b]), Buffer.alloc(1 << 20)]);
}

function webp() {
  // VP8X of 16384 × 16384 over a lossless frame of as much.
  const lossless = Buffer.alloc(64 << 10);
  lossless[0] = 0x2f;
  lossless.writeUInt32LE((((SIDE - 1) & 0x3fff) | (((SIDE - 1) & 0x3fff) << 14)) >>> 0, 1);
  const body = Buffer.concat([Buffer.from('WEBPVP8L'), Buffer.from(Uint32Array.of(lossless.length).buffer), lossless]);
  return Buffer.concat([Buffer.from('RIFF'), Buffer.from(Uint32Array.of(body.length).buffer), body]);
}

function bmp() {
  const bytes = Buffer.alloc(64 << 10);
  bytes.write('BM');
  bytes.writeUInt32LE(54, 10);
  for (const [at, value] of [[14, 40], [18, SIDE], [22, SIDE]]) bytes.writeUInt32LE(value, at);
  bytes.writeUInt16LE(1, 26);
  bytes.writeUInt16LE(24, 28);
  return bytes;
}

function tiff() {
  // Sides, depth, no compression, black is 0, one strip of as many rows.
  const entries = [[256, SIDE], [257, SIDE], [258, 8], [259, 1], [262, 1], [273, 256], [277, 1], [278, SIDE], [279, SIDE * SIDE]];
  const bytes = Buffer.alloc(64 << 10);
  bytes.write('II*\0\x08\0\0\0', 'latin1');
  bytes.writeUInt16LE(entries.length, 8);
  entries.forEach(([tag, value], index) => {
    const at = 10 + index * 12;
    bytes.writeUInt16LE(tag, at);
    bytes.writeUInt16LE(4, at + 2);
    bytes.writeUInt32LE(1, at + 4);
    bytes.writeUInt32LE(value, at + 8);
  });
  return bytes;
}

function avif() {
  const u32 = (...numbers) => Buffer.from(numbers.flatMap((n) => [n >>> 24, n >>> 16, n >>> 8, n].map((byte) => byte & 255)));
  const u16 = (...numbers) => Buffer.from(numbers.flatMap((n) => [n >> 8, n & 255]));
  const box = (kind, ...parts) => {
    const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
    return Buffer.concat([u32(body.length + 8), Buffer.from(kind), body]);
  };
  const full = (kind, version, ...parts) => box(kind, u32(version << 24), ...parts);
  // A still's sequence header (AV1 §5.5.1): the bits of its sides, sides less one, and nothing else switched on; then a frame.
  const bits = '000' + '1' + '1' + '00000' + '1111'.repeat(2) + (SIDE - 1).toString(2).padStart(16, '0').repeat(2) + '0'.repeat(24);
  const header = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const data = Buffer.concat([Buffer.of(0x0a, header.length), header, Buffer.of(0x32, 60), Buffer.alloc(60)]);
  const sides = full('ispe', 0, u32(SIDE, SIDE));
  const meta = (at) => full('meta', 0, full('pitm', 0, u16(1)), full('iloc', 0, [0x44, 0], u16(1, 1, 0, 1), u32(at, data.length)),
    full('iinf', 0, u16(1), full('infe', 2, u16(1, 0), 'av01\0')),
    box('iprp', box('ipco', sides), full('ipma', 0, u32(1), u16(1), [1, 1])));
  const start = box('ftyp', 'avif\0\0\0\0avif');
  return Buffer.concat([start, meta(start.length + meta(0).length + 8), box('mdat', data)]);
}

const sources = new Map();
const fetched = new Map();
const origin = http.createServer((request, response) => {
  const path = request.url.split('?')[0];
  fetched.set(path, (fetched.get(path) ?? 0) + 1);
  const body = sources.get(path);
  if (!body) return response.writeHead(404).end();
  response.writeHead(200, { ETag: '"1"', 'Cache-Control': 'max-age=600', 'Content-Type': 'image/jpeg', 'Content-Length': body.length });
  response.end(body);
});
await new Promise((done) => origin.listen(0, '127.0.0.1', done));
const originUrl = `http://127.0.0.1:${origin.address().port}`;

// ---- server and client

async function serve(...flags) {
  const dir = mkdtempSync(join(scratch, 'data-'));
  const child = spawn(binary, ['serve', '--origin', originUrl, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0',
    '--data-dir', dir, '--disk', '0', '--set', 'log.filter=error', ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  const [data, admin] = await new Promise((found, failed) => {
    child.stdout.on('data', (chunk) => {
      said += chunk;
      const ports = [...said.matchAll(/http:\/\/[^:]+:(\d+)/g)].map((match) => Number(match[1]));
      if (ports.length >= 2) found(ports);
    });
    child.once('exit', () => failed(new Error(`the server ended: ${said}`)));
  });
  const status = () => readFileSync(`/proc/${child.pid}/status`, 'utf8');
  const mib = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status())[1]) / 1024;
  const stop = () => new Promise((done) => {
    child.removeAllListeners('exit');
    child.once('exit', done);
    child.kill('SIGTERM');
  });
  const metric = async (name, label = '') => {
    const text = (await get(admin, '/metrics')).body.toString();
    const lines = text.split('\n').filter((line) => line.startsWith(name) && /^[{ ]/.test(line.slice(name.length)) && line.includes(label));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').pop()), 0);
  };
  return { data, admin, mib, stop, metric };
}

const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });

function get(port, path) {
  const begun = performance.now();
  return new Promise((done, failed) => {
    const request = http.get({ host: '127.0.0.1', port, path, agent }, (reply) => {
      const chunks = [];
      reply.on('data', (chunk) => chunks.push(chunk));
      reply.on('error', failed);
      reply.on('end', () => done({ status: reply.statusCode, headers: reply.headers, body: Buffer.concat(chunks), millis: performance.now() - begun }));
    });
    request.on('error', failed);
  });
}

async function crowdOf(concurrency, tasks) {
  const left = tasks[Symbol.iterator]();
  await Promise.all(Array.from({ length: concurrency }, async () => {
    for (const task of left) await task();
  }));
}

// ---- the flood, in the other process

if (chosen[0] === '--flood') {
  setPriority(Math.min(19, getPriority() + 10));
  const statuses = {};
  await crowdOf(32, Array.from({ length: 10_000 }, () => async () => {
    const { status } = await get(Number(chosen[1]), `/flood.jpg?w=${1 + Math.floor(Math.random() * 8192)}`);
    statuses[status] = (statuses[status] ?? 0) + 1;
  }));
  process.send(statuses, () => process.exit(0));
  await new Promise(() => {});
}

// ---- measurements

if (wanted('crowd')) {
  sources.set('/crowd.jpg', photo(1600, 1200));
  const server = await serve('--set', 'media.queue=256');
  const paths = Array.from({ length: 1000 }, (_, n) => `/crowd.jpg?w=320&h=${60 + 4 * (n % 100)}&fit=crop`);
  paths.sort(() => Math.random() - 0.5);
  const begun = performance.now();
  const statuses = new Map();
  await crowdOf(64, paths.map((path) => async () => {
    const { status } = await get(server.data, path);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }));
  const transforms = await server.metric('millrace_media_duration_seconds_count', 'operation="image"');
  const fetches = fetched.get('/crowd.jpg');
  const errors = paths.length - (statuses.get(200) ?? 0);
  say({ measurement: 'crowd', requests: paths.length, fetches, transforms, errors, seconds: round((performance.now() - begun) / 1000) });
  expect('1 fetch, 100 transforms, 0 errors', fetches === 1 && transforms === 100 && errors === 0);
  await server.stop();
}

if (wanted('flood')) {
  sources.set('/flood.jpg', photo(1024, 768));
  sources.set('/page.jpg', photo(640, 480));
  const server = await serve('--set', 'media.queue=256');
  const ordinary = async (until) => {
    const times = [];
    while (!until(times)) {
      const path = times.length % 2 ? '/page.jpg' : '/page.jpg?w=320';
      const { status, headers, millis } = await get(server.data, path);
      expect('the ordinary client gets what is cached', status === 200 && (times.length < 4 || headers['x-cache'] === 'HIT'));
      times.push(millis);
      await new Promise((next) => setTimeout(next, 2));
    }
    return times.slice(4);
  };
  const unloaded = await ordinary((times) => times.length >= 1500);
  let over = false;
  const statuses = new Promise((told, failed) => {
    const flood = fork(process.argv[1], ['--flood', String(server.data)]);
    flood.once('message', told);
    flood.once('exit', (code) => {
      over = true;
      failed(new Error(`the flood ended with ${code}`));
    });
  });
  const loaded = await ordinary(() => over);
  const transforms = await server.metric('millrace_media_duration_seconds_count', 'operation="image"') - 1;
  const [before, during] = [quantile(unloaded, 0.99), quantile(loaded, 0.99)];
  say({ measurement: 'flood', requests: 10_000, statuses: await statuses, variants: transforms, grid: 106,
    fetches: fetched.get('/flood.jpg'), unloaded_p99_ms: round(before), loaded_p99_ms: round(during), ratio: round(during / before),
    loaded_samples: loaded.length });
  expect('no more variants than the grid has widths', transforms <= 106 && fetched.get('/flood.jpg') === 1);
  await server.stop();
}

if (wanted('overhead')) {
  sources.set('/photo.jpg', photo(4000, 3000));
  const server = await serve('--set', 'media.threads=1');
  await get(server.data, '/photo.jpg');
  const shares = [], own = [], work = [];
  for (let n = 0; n < 40; n++) {
    const { headers, millis, status } = await get(server.data, `/photo.jpg?w=320&h=${160 + 4 * n}&fit=crop`);
    expect('a variant', status === 200);
    const steps = [...headers['server-timing'].matchAll(/(probe|decode|resize|encode);dur=([\d.]+)/g)];
    const transform = steps.reduce((sum, step) => sum + Number(step[2]), 0);
    shares.push((millis - transform) / transform);
    own.push(millis - transform);
    work.push(transform);
  }
  say({ measurement: 'overhead', transform_ms: round(quantile(work, 0.5)), around_it_ms: round(quantile(own, 0.5)),
    percent: round(100 * quantile(shares, 0.5)), least_percent: round(100 * quantile(shares, 0)), note: 'the client of this script included' });
  await server.stop();
}

if (wanted('bombs')) {
  const bombs = { 'baseline.jpg': jpeg(0xc0), 'progressive.jpg': jpeg(0xc2), 'a.png': png(), 'a.gif': gif(), 'a.webp': webp(),
    'a.avif': avif(), 'a.bmp': bmp(), 'a.tif': tiff() };
  for (const [name, bytes] of Object.entries(bombs)) {
    sources.set(`/${name}`, bytes);
    const server = await serve('--memory', '64MiB');
    sources.set('/warm.jpg', photo(64, 64));
    await get(server.data, '/warm.jpg?w=32');
    const before = server.mib('VmHWM');
    const { status, body, millis } = await get(server.data, `/${name}?w=320`);
    const told = JSON.parse(body);
    say({ measurement: 'bomb', name, bytes: bytes.length, status, reason: told.reason, detail: told.detail, ms: round(millis),
      peak_growth_mib: round(server.mib('VmHWM') - before) });
    expect(`${name} is refused for its size`, status === 422 && told.reason === 'image_too_large');
    await server.stop();
  }
}

agent.destroy();
origin.close();
rmSync(scratch, { recursive: true, force: true });
process.exit(wrong ? 1 : 0);
