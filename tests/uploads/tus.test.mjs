// A real tus client against the built server: disconnected again and again, and the server killed under it. What is stored in the
// end is what was sent. Environment: BYTES (64 MiB), DISCONNECTS (20), KILLS (2).

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { once } from 'node:events';

import * as tus from 'tus-js-client';

import { secret, serve, token } from '../access.mjs';
import { binary } from '../processes.mjs';

const bytes = Number(process.env.BYTES ?? 64 << 20);
const disconnects = Number(process.env.DISCONNECTS ?? 20);
const kills = Number(process.env.KILLS ?? 2);
const program = binary('millrace', 'debug');

// Passes connections on to wherever the server is now, and cuts all of them when told to.
function proxy() {
  const pairs = new Set();
  let port = 0;
  let passed = 0;
  let watcher = () => {};
  const server = net.createServer((client) => {
    const upstream = net.connect(port, '127.0.0.1');
    const pair = { client, upstream };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) socket.on('error', end).on('close', end);
    client.on('data', (chunk) => {
      passed += chunk.length;
      watcher(passed);
    });
    client.pipe(upstream);
    upstream.pipe(client);
  });
  const cut = () => {
    for (const { client, upstream } of pairs) {
      client.destroy();
      upstream.destroy();
    }
  };
  return { server, cut, to: (at) => { port = at; }, watch: (watch) => { watcher = watch; } };
}

// A file of noise, and its digest.
async function noise(path) {
  const out = createWriteStream(path);
  const digest = createHash('sha256');
  const block = Buffer.alloc(1 << 20);
  let state = 1;
  for (let at = 0; at < bytes; at += block.length) {
    for (let word = 0; word < block.length; word += 4) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      block.writeUInt32LE(state, word);
    }
    const part = block.subarray(0, Math.min(block.length, bytes - at));
    digest.update(part);
    if (!out.write(Buffer.from(part))) await once(out, 'drain');
  }
  out.end();
  await once(out, 'finish');
  return digest.digest('hex');
}

function fetched(port, path) {
  return new Promise((resolve, reject) => {
    http.get({ port, host: '127.0.0.1', path }, (reply) => {
      const digest = createHash('sha256');
      reply.on('data', (chunk) => digest.update(chunk));
      reply.on('end', () => resolve({ status: reply.statusCode, digest: digest.digest('hex') }));
      reply.on('error', reject);
    }).on('error', reject);
  });
}

test('an upload survives disconnects and kill -9', { timeout: 900_000 }, async () => {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-tus-'));
  const key = secret();
  const start = () => serve(program, key, ['--data-dir', join(scratch, 'data'), '--disk', '0', '--memory', '32MiB']);
  let server = await start();
  const between = proxy();
  try {
    const source = join(scratch, 'source.bin');
    const digest = await noise(source);
    between.server.listen(0, '127.0.0.1');
    await once(between.server, 'listening');
    between.to(server.port);
    const endpoint = `http://127.0.0.1:${between.server.address().port}/files/`;
    const authorization = `Bearer ${token(program, key, '--scope', 'upload')}`;

    // Disturbances at even distances; every so often it is the server that goes.
    const total = disconnects + kills;
    let done = 0;
    let restarting = Promise.resolve();
    between.watch((passed) => {
      if (done >= total || passed < ((done + 1) * bytes) / (total + 1)) return;
      done += 1;
      if (done % Math.ceil(total / kills) === 0) {
        restarting = server.kill().then(start).then((next) => {
          server = next;
          between.to(server.port);
        });
      }
      between.cut();
    });
    await new Promise((resolve, reject) => {
      const upload = new tus.Upload(createReadStream(source), {
        endpoint,
        uploadSize: bytes,
        chunkSize: 8 << 20,
        headers: { Authorization: authorization },
        metadata: { filename: 'films/noise.bin', filetype: 'application/octet-stream' },
        retryDelays: Array(total * 10).fill(200),
        onError: reject,
        onSuccess: resolve,
      });
      upload.start();
    });
    await restarting;
    assert.equal(done, total, 'all disturbances have happened');
    assert.deepEqual(await fetched(server.port, '/assets/films/noise.bin'), { status: 200, digest });
    await server.kill();
    server = await start();
    between.to(server.port);
    assert.deepEqual(await fetched(server.port, '/assets/films/noise.bin'), { status: 200, digest });
  } finally {
    between.cut();
    between.server.close();
    await server.kill();
    rmSync(scratch, { recursive: true, force: true });
  }
});
