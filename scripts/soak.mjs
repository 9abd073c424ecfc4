// A day of churn in fast time: the built server under a mixed load whose favourites change, with memory and disk far smaller than
// what is asked for. Every byte must be right; memory, file descriptors and the disk must stay where they are, and so must
// the share of hits.
//
// node scripts/soak.mjs. Environment: SECS (120), MILLRACE (the binary).
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const secs = Number(process.env.SECS ?? 120);
const binary = process.env.MILLRACE ?? `${process.env.CARGO_TARGET_DIR ?? 'target'}/release/millrace`;
const [CLIENTS, OBJECTS, MEMORY, DISK] = [16, 3000, 32, 128];
const MIB = 1 << 20;

// The body of an object follows from its name: 300 bytes to 2 MiB, small ones more often.
const seed = (name) => createHash('sha256').update(name).digest();
const length = (name) => Math.floor(300 * 7000 ** ((seed(name).readUInt32BE(0) / 2 ** 32) ** 2));
const body = (name) => Buffer.alloc(length(name), seed(name));

const origin = http.createServer((request, response) => {
  const name = request.url;
  response.setHeader('cache-control', 'max-age=30');
  response.setHeader('etag', `"${seed(name).toString('hex', 0, 8)}"`);
  response.setHeader('surrogate-key', `t${name.length % 7} all`);
  response.end(body(name));
});
await new Promise((resolve) => { origin.listen(0, '127.0.0.1', resolve); });

const scratch = mkdtempSync(join(tmpdir(), 'millrace-soak-'));
const server = spawn(binary, ['serve', '--origin', `http://127.0.0.1:${origin.address().port}`, '--listen', '127.0.0.1:0', '--admin',
  '127.0.0.1:0', '--data-dir', scratch, '--memory', `${MEMORY}MiB`, '--disk', `${DISK}MiB`], { stdio: ['ignore', 'pipe', 'ignore'] });
const ended = new Promise((resolve) => { server.once('exit', resolve); });
let said = '';
await new Promise((resolve, reject) => {
  server.stdout.on('data', (text) => {
    said += text;
    if (said.match(/http:\/\/\S+/g)?.length >= 2) resolve();
  });
  ended.then(() => reject(new Error(`the server ended: ${said}`)));
});
const [data, admin] = said.match(/http:\/\/[^\s:]+:\d+/g).map((address) => Number(address.split(':')[2]));
const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS });
const tally = { asked: 0, hits: 0 };
let over = false;
let fault;

// Asks once; some clients leave half-way.
function ask(name, { range, leaves, method = 'GET' }) {
  const whole = body(name);
  const headers = range ? { range: `bytes=${range[0]}-${range[1]}` } : {};
  return new Promise((resolve) => {
    const request = http.request({ port: data, host: '127.0.0.1', path: name, agent, headers, method }, (reply) => {
      tally.asked += 1;
      tally.hits += reply.headers['x-cache'] === 'HIT' ? 1 : 0;
      let at = reply.statusCode === 206 ? range[0] : 0;
      if (![200, 206].includes(reply.statusCode)) fault ??= `${name}: ${reply.statusCode}`;
      reply.on('data', (chunk) => {
        if (!whole.subarray(at, at + chunk.length).equals(chunk)) fault ??= `${name}: wrong at ${at}`;
        at += chunk.length;
        if (leaves) request.destroy();
      });
      reply.on('end', () => {
        const due = method === 'HEAD' ? 0 : reply.statusCode === 206 ? range[1] + 1 : whole.length;
        if (at !== due) fault ??= `${name}: ${at} of ${due}`;
      });
      reply.on('close', resolve);
    });
    request.on('error', (error) => {
      if (!leaves && !over) fault ??= `${name}: ${error.message}`;
      resolve();
    });
    request.end();
  });
}

async function client() {
  while (!over && !fault) {
    // Each second, one in a hundred of the favourites is another.
    const rank = Math.floor(OBJECTS * Math.random() ** 3);
    const name = `/${rank}.${Math.floor((performance.now() / 1000 + rank) / 100)}`;
    const last = length(name) - 1;
    const dice = Math.random();
    const from = Math.floor(Math.random() * last);
    await ask(name, { range: dice < 0.2 ? [from, Math.min(last, from + 100_000)] : undefined, leaves: dice > 0.97,
      method: dice > 0.2 && dice < 0.25 ? 'HEAD' : 'GET' });
  }
}

async function purge() {
  const purged = await fetch(`http://127.0.0.1:${admin}/api/v1/purge`, { method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ urls: [`/${Math.floor(OBJECTS * Math.random() ** 3)}.0`], soft: Math.random() < 0.5 }) });
  if (!purged.ok) fault ??= `purge: ${purged.status}`;
}

function sample() {
  const rss = Number(readFileSync(`/proc/${server.pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1]) / 1024;
  const files = readdirSync(scratch, { recursive: true }).map((file) => statSync(join(scratch, file), { throwIfNoEntry: false }));
  const disk = files.reduce((sum, file) => sum + (file?.isFile() ? file.blocks * 512 : 0), 0) / MIB;
  const taken = { rss, fds: readdirSync(`/proc/${server.pid}/fd`).length, disk, ratio: (100 * tally.hits) / Math.max(1, tally.asked) };
  [tally.hits, tally.asked] = [0, 0];
  return taken;
}

const samples = [];
let asked = 0;
const clients = Promise.all(Array.from({ length: CLIENTS }, client));
try {
  for (let second = 0; second < secs && !fault; second += 1) {
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
    await purge();
    asked += tally.asked;
    samples.push(sample());
  }
  over = true;
  await clients;
} finally {
  over = true;
  agent.destroy();
  server.kill('SIGTERM');
  await ended;
  origin.close();
  origin.closeAllConnections();
  rmSync(scratch, { recursive: true, force: true });
}
if (fault) throw new Error(fault);
const quarter = Math.floor(samples.length / 4);
const mean = (list, what) => list.reduce((sum, one) => sum + one[what], 0) / list.length;
const [early, late] = [samples.slice(quarter, 2 * quarter), samples.slice(-quarter)];
console.log(`${asked} answers in ${secs} s, no wrong byte`);
for (const what of ['rss', 'fds', 'disk', 'ratio']) {
  console.log(`${what}: ${mean(early, what).toFixed(1)} in the second quarter, ${mean(late, what).toFixed(1)} in the last`);
}
const grown = (what) => mean(late, what) / mean(early, what);
if (grown('rss') > 1.15) throw new Error('memory grows');
if (mean(late, 'fds') > mean(early, 'fds') + 10) throw new Error('descriptors leak');
if (Math.max(...samples.map((one) => one.disk)) > DISK + 8) throw new Error('more on disk than allowed');
if (grown('ratio') < 0.85) throw new Error('fewer and fewer hits');
