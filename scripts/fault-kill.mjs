// The built server, killed with SIGKILL at random moments under load, again and again on one directory. Every byte that it
// ever serves must be right. Says how much of what clients had got in full is found after the restart, and how soon the
// server answers again.
//
// node scripts/fault-kill.mjs. Environment: ROUNDS (60), MILLRACE (the binary).
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const rounds = Number(process.env.ROUNDS ?? 60);
const binary = process.env.MILLRACE ?? `${process.env.CARGO_TARGET_DIR ?? 'target'}/release/millrace`;
const OBJECTS = 300;
const CLIENTS = 8;

const scratch = mkdtempSync(join(tmpdir(), 'millrace-kill-'));
const www = join(scratch, 'www');
mkdirSync(www);
// From 200 bytes to 4 MiB, small ones more often.
const objects = Array.from({ length: OBJECTS }, (_, n) => {
  const bytes = randomBytes(Math.floor(200 * 21000 ** Math.random()));
  writeFileSync(join(www, String(n)), bytes);
  return bytes;
});

async function start() {
  const begun = performance.now();
  const child = spawn(binary, ['serve', '--origin', www, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--data-dir',
    join(scratch, 'data'), '--memory', '32MiB', '--disk', '512MiB', '--workers', '1'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const ended = new Promise((resolve) => { child.once('exit', resolve); });
  let said = '';
  await new Promise((resolve, reject) => {
    child.stdout.on('data', (text) => {
      said += text;
      if (said.match(/http:\/\/\S+/g)?.length >= 2) resolve();
    });
    ended.then(() => reject(new Error(`the server ended: ${said}`)));
  });
  const port = Number(said.match(/http:\/\/[^:]+:(\d+)/)[1]);
  return { child, ended, port, millis: performance.now() - begun };
}

// The object's bytes as far as they came; throws when one of them is wrong.
function get(server, agent, n, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get({ port: server.port, host: '127.0.0.1', path: `/${n}`, agent, headers }, (reply) => {
      let at = 0;
      reply.on('data', (chunk) => {
        if (reply.statusCode === 200 && !objects[n].subarray(at, at + chunk.length).equals(chunk)) {
          reject(new Error(`/${n}: wrong bytes at ${at}`));
        }
        at += chunk.length;
      });
      const done = () => resolve({ status: reply.statusCode, whole: at === objects[n].length, cache: reply.headers['x-cache'] });
      reply.on('end', done);
      reply.on('error', done);
      reply.on('close', done);
    });
    request.on('error', () => resolve({ status: 0 }));
  });
}

const known = new Set();
const shares = [];
const starts = [];
let answers = 0;
try {
  for (let round = 0; round <= rounds; round += 1) {
    const server = await start();
    starts.push(server.millis);
    const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS });
    let found = 0;
    for (const n of known) {
      const reply = await get(server, agent, n, { 'cache-control': 'only-if-cached' });
      if (reply.status === 200 && reply.whole) found += 1;
    }
    if (known.size > 0) shares.push(found / known.size);
    known.clear();
    let killed = false;
    const client = async () => {
      while (!killed) {
        const n = Math.floor(OBJECTS * Math.random() ** 2);
        const reply = await get(server, agent, n);
        if (reply.status === 200 && reply.whole) {
          known.add(n);
          answers += 1;
        } else if (!killed && reply.status !== 0) {
          throw new Error(`/${n}: ${reply.status}`);
        }
      }
    };
    const clients = Promise.all(Array.from({ length: CLIENTS }, client));
    await Promise.race([clients, new Promise((resolve) => { setTimeout(resolve, 50 + 950 * Math.random()); })]);
    server.child.kill('SIGKILL');
    killed = true;
    await server.ended;
    await clients;
    agent.destroy();
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const sorted = (list) => [...list].sort((a, b) => a - b);
const median = (list) => sorted(list)[Math.floor(list.length / 2)];
const percent = (share) => `${(100 * share).toFixed(1)} %`;
console.log(`${rounds} kills, ${answers} whole answers, no wrong byte`);
console.log(`found after the restart, of what clients had got in full since the start before: median ${percent(median(shares))}, least ${percent(sorted(shares)[0])}`);
console.log(`from start to ports open: median ${median(starts).toFixed(0)} ms, most ${sorted(starts).at(-1).toFixed(0)} ms`);
