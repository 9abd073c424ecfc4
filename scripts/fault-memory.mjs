// The built server under memory pressure: 10,000 idle connections, then as many requests for large parts at once, by clients that
// take a few bytes and no more. It must not end, refuse before it grows, and go on answering hits and health. The kernel ends it at
// LIMIT (a memory cgroup) where this may make one; the peak is measured in any case.
//
// node scripts/fault-memory.mjs. Environment: CONNECTIONS (10000), MEMORY (512, in MiB), LIMIT (1.5 times MEMORY), REQUESTS (an eighth of
// MEMORY: requests to the origin at a time, each of which fills a block of a mebibyte), HOLD (30, seconds that clients hold still), STORED
// (1: the parts are stored already), MILLRACE (the binary). As root it takes a network of its own
// with small socket buffers, which would otherwise count for gigabytes of the kernel's memory.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MIB = 1 << 20;
const number = (name, otherwise) => Number(process.env[name] ?? otherwise);
const connections = number('CONNECTIONS', 10_000);
const memory = number('MEMORY', 512);
const limit = number('LIMIT', 1.5 * memory);
const requests = number('REQUESTS', Math.max(16, memory / 8));
const hold = number('HOLD', 30);
const binary = process.env.MILLRACE ?? `${process.env.CARGO_TARGET_DIR ?? 'target'}/release/millrace`;
const self = fileURLToPath(import.meta.url);
/** Large objects and the bytes of each: together more than any tier holds. */
const LARGE = 100;
const LENGTH = 256 * MIB;
/** What each client wants of them, and what it takes. */
const PART = 16 * MIB;
const TAKEN = 64 * 1024;

if (process.argv[2] === 'origin') await origin();
else if (process.getuid() === 0 && !process.env.OWN_NETWORK) await inOwnNetwork();
else await pressure();

function inOwnNetwork() {
  const buffers = 'echo 4096 16384 65536 > /proc/sys/net/ipv4/tcp_rmem; echo 4096 16384 131072 > /proc/sys/net/ipv4/tcp_wmem';
  const room = 'echo 1024 65000 > /proc/sys/net/ipv4/ip_local_port_range';
  const script = `ip link set lo up && ${buffers} && ${room}; exec "$0" "$@"`;
  const child = spawn('unshare', ['--net', 'sh', '-c', script, process.execPath, self], { stdio: 'inherit', env: { ...process.env, OWN_NETWORK: '1' } });
  return new Promise((resolve) => { child.once('exit', (code) => resolve(process.exit(code ?? 1))); });
}

/** `/small` is a kibibyte; all else is `LENGTH` bytes, in parts if so wanted. */
function origin() {
  const bytes = Buffer.alloc(MIB, 'millrace ');
  const server = http.createServer((request, response) => {
    const control = { 'cache-control': 'max-age=3600', etag: '"1"' };
    if (request.url.startsWith('/small')) return response.writeHead(200, { ...control, 'content-length': 1024 }).end(bytes.subarray(0, 1024));
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    const start = Number(from ?? 0);
    const end = to ? Math.min(Number(to) + 1, LENGTH) : LENGTH;
    const part = from === undefined ? {} : { 'content-range': `bytes ${start}-${end - 1}/${LENGTH}` };
    response.writeHead(from === undefined ? 200 : 206, { ...control, ...part, 'content-length': end - start });
    let left = end - start;
    const send = () => {
      while (left > 0 && !response.destroyed) {
        const piece = bytes.subarray(0, Math.min(left, 256 * 1024));
        left -= piece.length;
        if (!response.write(piece)) return response.once('drain', send);
      }
      return response.end();
    };
    send();
  });
  server.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`));
}

function started(program, args, wanted) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => { child.once('exit', (code, signal) => resolve(signal ?? code)); });
  return new Promise((resolve, reject) => {
    let said = '';
    child.once('error', reject);
    child.stdout.on('data', (text) => {
      said += text;
      const found = wanted.map((pattern) => pattern.exec(said)?.[1]);
      if (found.every(Boolean)) resolve({ child, ended, found });
    });
    ended.then((how) => reject(new Error(`${program} ended (${how}): ${said}`)));
  });
}

/** A memory cgroup of our own, of either version; undefined where we may not. */
function cgroup(pid) {
  for (const [root, file] of [['/sys/fs/cgroup/memory', 'memory.limit_in_bytes'], ['/sys/fs/cgroup', 'memory.max']]) {
    const folder = join(root, `millrace-fault-${process.pid}`);
    try {
      mkdirSync(folder);
    } catch {
      continue;
    }
    try {
      writeFileSync(join(folder, file), String(limit * MIB));
      writeFileSync(join(folder, 'cgroup.procs'), String(pid));
      return folder;
    } catch {
      rmdirSync(folder);
    }
  }
  return undefined;
}

async function pressure() {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-memory-'));
  const failures = [];
  let source, server, folder, how;
  try {
    source = await started(process.execPath, [self, 'origin'], [/port (\d+)/]);
    const config = join(scratch, 'millrace.toml');
    writeFileSync(config, `[[origins]]\nurl = "http://127.0.0.1:${source.found[0]}"\nmax_requests = ${requests}\n`);
    server = await started(binary, ['serve', '--config', config, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0',
      '--data-dir', join(scratch, 'data'), '--memory', `${memory}MiB`, '--disk', '1GiB'], [/listening on http:\/\/[^:]+:(\d+)/, /admin[^\n]*http:\/\/[^:]+:(\d+)/]);
    const [port, admin] = server.found.map(Number);
    folder = cgroup(server.child.pid);
    server.ended.then((end) => { how = end; });
    const resident = (name) => {
      const line = new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(readFileSync(`/proc/${server.child.pid}/status`, 'utf8'));
      return Math.round(Number(line?.[1] ?? 0) / 1024);
    };
    console.log(`memory ${memory} MiB, ${requests} requests to the origin at a time, ${folder ? `the kernel ends it at ${limit} MiB` : 'no cgroup to be had: measured only'}; at rest ${resident('VmRSS')} MiB`);
    await get(port, '/small');
    for (let n = 0; n * 16 < 1.5 * memory; n += 1) await get(port, `/fill/${n}`, { range: `bytes=0-${PART - 1}` });
    if (process.env.STORED) for (let n = 0; n < 40; n += 1) await get(port, `/large/${n}`, { range: `bytes=0-${PART - 1}` });
    console.log(`memory tier full: ${resident('VmRSS')} MiB`);
    const watch = watching(port, admin, () => how);
    const sockets = await connected(port);
    await pause(1000);
    console.log(`${sockets.length} idle connections: ${resident('VmRSS')} MiB; ${watch.told()}`);
    const told = new Map();
    sockets.forEach((socket, n) => ask(socket, n, told));
    for (let second = 0; second < hold && how === undefined; second += 1) await pause(1000);
    const statuses = [...told].sort().map(([status, count]) => `${status}: ${count}`).join(', ');
    console.log(`as many parts asked for at once: ${statuses || 'no answer'}; ${how === undefined ? `${resident('VmRSS')} MiB, at most ${resident('VmHWM')}` : ''}; ${watch.told()}`);
    sockets.forEach((socket) => socket.destroy());
    await pause(3000);
    const after = watch.stop();
    console.log(`all have left: ${how === undefined ? resident('VmRSS') : '-'} MiB; ${after}`);
    if (how !== undefined) failures.push(`the server ended (${how})`);
    else if (resident('VmHWM') > limit) failures.push(`it took ${resident('VmHWM')} MiB, more than ${limit}`);
    if (watch.failed > 0) failures.push(`${watch.failed} hits or health checks failed`);
  } finally {
    source?.child.kill();
    server?.child.kill();
    await server?.ended;
    rmSync(scratch, { recursive: true, force: true });
    if (folder) rmdirSync(folder);
  }
  failures.forEach((failure) => console.log(`FAIL ${failure}`));
  process.exit(failures.length === 0 ? 0 : 1);
}

function pause(millis) {
  return new Promise((resolve) => { setTimeout(resolve, millis); });
}

/** The status, when all of the body has come. */
function get(port, path, headers = {}) {
  return new Promise((resolve) => {
    const request = http.get({ host: '127.0.0.1', port, path, headers, agent: false, timeout: 30_000 }, (reply) => {
      reply.resume();
      reply.once('end', () => resolve(reply.statusCode));
      reply.once('error', () => resolve(0));
    });
    request.once('timeout', () => request.destroy());
    request.once('error', () => resolve(0));
  });
}

/** Asks for a hit and for health, on connections of their own, all the time. */
function watching(port, admin, ended) {
  const watch = { failed: 0, hits: 0, checks: 0, slowest: 0, running: true };
  const again = async (to, path, name) => {
    while (watch.running && ended() === undefined) {
      const begun = performance.now();
      if (await get(to, path) === 200) watch[name] += 1;
      else if (watch.running) watch.failed += 1;
      watch.slowest = Math.max(watch.slowest, performance.now() - begun);
      await pause(20);
    }
  };
  again(port, '/small', 'hits');
  again(admin, '/health/live', 'checks');
  watch.told = () => `${watch.hits} hits and ${watch.checks} health checks answered, ${watch.failed} not, the slowest after ${watch.slowest.toFixed(0)} ms`;
  watch.stop = () => {
    watch.running = false;
    return watch.told();
  };
  return watch;
}

/** Connections that have been used once: else they would be closed for want of a request. */
async function connected(port) {
  const sockets = [];
  while (sockets.length < connections) {
    await Promise.all(Array.from({ length: Math.min(200, connections - sockets.length) }, () => new Promise((resolve, reject) => {
      const socket = net.connect(port, '127.0.0.1').once('error', reject).once('data', resolve);
      socket.on('error', () => {});
      socket.write('GET /small HTTP/1.1\r\nHost: example\r\n\r\n');
      sockets.push(socket);
    })));
  }
  return sockets;
}

/** Wants much and takes little; `told` counts what it is answered. */
function ask(socket, n, told) {
  const [object, part] = process.env.STORED ? [n % 40, n % 16] : [n % LARGE, Math.floor(n / LARGE) % (LENGTH / MIB)];
  const from = part * MIB;
  let taken = 0;
  let status;
  const seen = (what) => {
    if (status !== undefined) return;
    status = what;
    told.set(what, (told.get(what) ?? 0) + 1);
  };
  socket.on('data', (chunk) => {
    seen(chunk.toString('latin1', 9, 12));
    taken += chunk.length;
    if (taken >= TAKEN) socket.pause();
  });
  socket.once('close', () => seen('closed'));
  socket.write(`GET /large/${object} HTTP/1.1\r\nHost: example\r\nRange: bytes=${from}-${from + PART - 1}\r\n\r\n`);
}
