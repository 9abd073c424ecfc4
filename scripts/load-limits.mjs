#!/usr/bin/env node
// One client at ten times its limit beside others that keep theirs, against the built server: who is refused, and what the
// others notice. Phases with and without the flood take turns; hits and misses are measured apart.
//
//   node scripts/load-limits.mjs
//
// Environment: MILLRACE (the binary), ROUNDS (3), SECS (5) of each phase, LIMIT (100 requests per second and client), OTHERS (8 clients, each
// at half of it). Prints one line of JSON for each kind; the exit status is 1 when somebody is refused who should not be, or the other way.

import { fork, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const number = (name, otherwise) => Number(process.env[name] ?? otherwise);
const [rounds, secs, limit, others] = [number('ROUNDS', 3), number('SECS', 5), number('LIMIT', 100), number('OTHERS', 8)];
const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * q))];
const round = (value) => Math.round(value * 100) / 100;

// Asks at an even rate, however long answers take. Resolves with times in milliseconds and counts of statuses.
function ask({ port, client, rate, seconds, path }) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  const [times, statuses, begun] = [[], {}, performance.now()];
  const one = (serial) => new Promise((resolve) => {
    const started = performance.now();
    const target = path.replace('#', `${client}-${serial}-${Math.random()}`);
    const request = http.get({ port, path: target, agent, headers: { 'X-Client': client } }, (reply) => {
      reply.resume().on('end', () => {
        times.push(performance.now() - started);
        statuses[reply.statusCode] = (statuses[reply.statusCode] ?? 0) + 1;
        resolve();
      });
    });
    request.on('error', () => { statuses.broken = (statuses.broken ?? 0) + 1; resolve(); });
  });
  return new Promise((resolve) => {
    const pending = [];
    const timer = setInterval(() => {
      const due = Math.min(Math.floor(((performance.now() - begun) / 1000) * rate), rate * seconds);
      while (pending.length < due) pending.push(one(pending.length));
      if (pending.length >= rate * seconds) {
        clearInterval(timer);
        Promise.all(pending).then(() => {
          agent.destroy();
          resolve({ times, statuses, seconds: (performance.now() - begun) / 1000 });
        });
      }
    }, 2);
  });
}

// The flood has a process of its own, so that it does not hold up who measures.
if (process.argv[2] === 'flood') {
  process.send(await ask(JSON.parse(process.argv[3])));
  process.exit(0);
}

const scratch = mkdtempSync(join(tmpdir(), 'millrace-load-limits-'));
const origin = http.createServer((request, reply) => {
  const fields = { 'Content-Type': 'text/plain', 'Cache-Control': request.url.startsWith('/hit') ? 'max-age=3600' : 'no-store' };
  setTimeout(() => reply.writeHead(200, fields).end('x'.repeat(1024)), 5);
}).listen(0, '127.0.0.1');
await new Promise((resolve) => origin.on('listening', resolve));
const settings = join(scratch, 'limits.toml');
writeFileSync(settings, `
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
[cache]
memory = "64MiB"
disk = "0"
data_dir = "${scratch}"
[[origins]]
url = "http://127.0.0.1:${origin.address().port}"
[[routes]]
path = "/"
rate = { requests = ${limit}, by = "header:X-Client" }
`);
const binary = process.env.MILLRACE ?? join(process.env.CARGO_TARGET_DIR ?? 'target', 'release/millrace');
const server = spawn(binary, ['serve', '--config', settings], { stdio: ['ignore', 'pipe', 'inherit'] });
let wrong = false;
try {
  const port = await new Promise((resolve, reject) => {
    server.stdout.on('data', (said) => {
      const found = /listening on http:\/\/[^\s]*:(\d+)/.exec(String(said));
      if (found) resolve(Number(found[1]));
    });
    server.on('exit', () => reject(new Error('the server did not start')));
  });
  const measured = async (path) => {
    const clients = Array.from({ length: others }, (_, at) => `other-${at}`);
    const all = await Promise.all(clients.map((client) => ask({ port, client, rate: limit / 2, seconds: secs, path })));
    return { times: all.flatMap((one) => one.times), refused: all.reduce((sum, one) => sum + (one.statuses[429] ?? 0), 0) };
  };
  for (const [kind, path] of [['hits', '/hit'], ['misses', '/miss/#']]) {
    await ask({ port, client: 'warm-up', rate: limit / 2, seconds: 1, path });
    const [calm, flooded, flood] = [[], [], { asked: 0, refused: 0, most: 0 }];
    let refused = 0;
    for (let at = 0; at < rounds; at += 1) {
      const before = await measured(path);
      const what = { port, client: 'greedy', rate: limit * 10, seconds: secs + 1, path };
      const child = fork(fileURLToPath(import.meta.url), ['flood', JSON.stringify(what)]);
      const told = new Promise((resolve) => child.on('message', resolve));
      await new Promise((resolve) => setTimeout(resolve, 500));
      const during = await measured(path);
      const { statuses, seconds } = await told;
      flood.asked += Object.values(statuses).reduce((sum, count) => sum + count, 0);
      flood.refused += statuses[429] ?? 0;
      // A burst, and then the rate, however long the flood took on a busy machine.
      flood.most += limit * (1 + seconds) * 1.05;
      refused += before.refused + during.refused;
      calm.push(...before.times);
      flooded.push(...during.times);
    }
    const p99 = [quantile(calm, 0.99), quantile(flooded, 0.99)];
    console.log(JSON.stringify({
      kind, flood_asked: flood.asked, flood_refused: flood.refused, others_asked: calm.length + flooded.length, others_refused: refused,
      p50_ms: [quantile(calm, 0.5), quantile(flooded, 0.5)].map(round), p99_ms: p99.map(round), p99_ratio: round(p99[1] / p99[0]),
    }));
    wrong ||= refused > 0 || flood.refused === 0 || flood.asked - flood.refused > flood.most;
  }
} finally {
  server.kill('SIGTERM');
  origin.close();
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(wrong ? 1 : 0);
