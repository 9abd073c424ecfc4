// The built server, killed with SIGKILL at random moments while assets are put in place, again and again on one directory.
// No acknowledged upload may be missing or altered, none that was not acknowledged may be there in part, and no file may be
// left that belongs to nobody.
//
// node scripts/fault-upload.mjs. Environment: ROUNDS (20), UPLOADS (200), BYTES (10 MB), CONCURRENCY (32), MILLRACE (the binary).
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { secret, serve, token } from '../tests/access.mjs';

const rounds = Number(process.env.ROUNDS ?? 20);
const uploads = Number(process.env.UPLOADS ?? 200);
const bytes = Number(process.env.BYTES ?? 10_000_000);
const concurrency = Number(process.env.CONCURRENCY ?? 32);
const binary = process.env.MILLRACE ?? `${process.env.CARGO_TARGET_DIR ?? 'target'}/release/millrace`;

const scratch = mkdtempSync(join(tmpdir(), 'millrace-upload-'));
const key = secret();
const bearer = `Bearer ${token(binary, key, '--scope', 'upload')}`;
const start = () => serve(binary, key, ['--data-dir', join(scratch, 'data'), '--disk', '0', '--memory', '32MiB']);
const base = randomBytes(bytes);
// All that may be there.
const known = new Set();

// Each body is the noise behind its own number, so that none is like another.
function body(number) {
  const copy = Buffer.from(base);
  // In front, nothing that could be taken for the beginning of a program.
  copy.writeUInt32LE(0, 0);
  copy.writeUInt32LE(number, 4);
  return copy;
}
const digest = (data) => createHash('sha256').update(data).digest('base64');

function put(port, name, data, abort) {
  return new Promise((resolve) => {
    const headers = { Authorization: bearer, 'Content-Length': data.length, 'Content-Digest': `sha-256=:${digest(data)}:` };
    const request = http.request({ port, host: '127.0.0.1', method: 'PUT', path: `/assets/${name}`, headers, agent: false }, (reply) => {
      reply.resume();
      reply.on('end', () => resolve(reply.statusCode));
      reply.on('error', () => resolve(0));
    });
    request.on('error', () => resolve(0));
    if (abort) setTimeout(() => request.destroy(), Math.random() * 100);
    request.end(data);
  });
}

function get(port, name) {
  return new Promise((resolve, reject) => {
    http.get({ port, host: '127.0.0.1', path: `/assets/${name}`, agent: false }, (reply) => {
      const chunks = [];
      reply.on('data', (chunk) => chunks.push(chunk));
      reply.on('end', () => resolve({ status: reply.statusCode, body: Buffer.concat(chunks) }));
      reply.on('error', reject);
    }).on('error', reject);
  });
}

function files() {
  const found = [];
  const walk = (dir) => {
    for (const name of readdirSync(dir)) {
      const path = join(dir, name);
      if (statSync(path).isDirectory()) walk(path);
      else found.push(path);
    }
  };
  for (const part of ['drafts', 'blobs']) walk(join(scratch, 'data/assets', part));
  return found;
}

// Of each name: the number acknowledged last, and those sent since, of which each may have made it or not.
const acknowledged = new Map();
const uncertain = new Map();
let number = 0;
let acks = 0;
let cut = 0;
let server;
const readies = [];

async function check(server) {
  let present = 0;
  for (const name of uncertain.keys()) known.add(name);
  for (const name of acknowledged.keys()) known.add(name);
  for (const name of known) {
    const { status, body: found } = await get(server.port, name);
    const may = new Set([acknowledged.get(name), ...(uncertain.get(name) ?? [])]);
    if (status === 404) {
      if (acknowledged.has(name)) throw new Error(`${name}: acknowledged, and missing`);
      continue;
    }
    if (status !== 200) throw new Error(`${name}: ${status}`);
    const is = found.readUInt32LE(4);
    if (!may.has(is)) throw new Error(`${name}: has ${is}, may be one of ${[...may]}`);
    if (digest(found) !== digest(body(is))) throw new Error(`${name}: altered`);
    present += 1;
    if (name.startsWith('n')) {
      acknowledged.set(name, is);
      uncertain.delete(name);
    }
  }
  const left = files();
  if (left.length !== present) throw new Error(`${left.length} files for ${present} assets`);
}

try {
  for (let round = 0; round < rounds; round += 1) {
    const begun = performance.now();
    server = await start();
    readies.push(performance.now() - begun);
    await check(server);
    let killed = false;
    let sent = 0;
    // So many are acknowledged before it is killed.
    const before = acks + Math.floor(Math.random() * Math.max(1, uploads - concurrency));
    let enough;
    const reached = new Promise((resolve) => { enough = resolve; });
    const client = async (which) => {
      while (!killed && sent < uploads) {
        sent += 1;
        // One client for each name, so that the order of its uploads is known.
        // What a client breaks off may have come as a whole and take its place late, after others of the same name; so
        // those have names of their own, where any of them may be found.
        const abort = Math.random() < 0.05;
        const name = `${abort ? 'x' : 'n'}${which}.bin`;
        number += 1;
        const mine = number;
        const maybe = uncertain.get(name) ?? new Set();
        uncertain.set(name, maybe.add(mine));
        const status = await put(server.port, name, body(mine), abort);
        if (status === 201 || status === 204) {
          acks += 1;
          if (acks >= before) enough();
          if (!abort) {
            acknowledged.set(name, mine);
            uncertain.delete(name);
          }
        } else if (status === 0) {
          cut += 1;
        } else if (status !== 503) {
          throw new Error(`${name}: ${status}`);
        }
      }
    };
    const clients = Promise.all(Array.from({ length: concurrency }, (_, which) => client(which)));
    await Promise.race([clients, reached]);
    await new Promise((resolve) => { setTimeout(resolve, 300 * Math.random()); });
    killed = true;
    await server.kill();
    await clients;
  }
  server = await start();
  await check(server);
  await server.kill();
} finally {
  await server?.kill();
  rmSync(scratch, { recursive: true, force: true });
}
readies.sort((a, b) => a - b);
console.log(`${rounds} kills, ${acks} acknowledged uploads of ${bytes} bytes, ${cut} cut off: none missing, none altered, nothing left over`);
console.log(`from start to ports open: median ${readies[Math.floor(readies.length / 2)].toFixed(0)} ms, most ${readies.at(-1).toFixed(0)} ms`);
