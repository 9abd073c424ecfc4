// What the tests of uploads share: noise to send, a connection that can be cut, and what is stored in the end.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import http from 'node:http';
import net from 'node:net';

/** Passes connections on to wherever the server is now, and cuts all of them when told to. */
export function proxy() {
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

/** A file of noise; its digest. */
export async function noise(path, bytes) {
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

export function fetched(port, path) {
  return new Promise((resolve, reject) => {
    http.get({ port, host: '127.0.0.1', path }, (reply) => {
      const digest = createHash('sha256');
      reply.on('data', (chunk) => digest.update(chunk));
      reply.on('end', () => resolve({ status: reply.statusCode, digest: digest.digest('hex') }));
      reply.on('error', reject);
    }).on('error', reject);
  });
}
