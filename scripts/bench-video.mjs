// The part of bench-video.sh from cold: an origin that counts bytes, one fresh server for each round, and its clients.

import { spawn } from 'node:child_process';
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, createServer, get as request } from 'node:http';
import { createServer as listener } from 'node:net';
import { join } from 'node:path';

const [millrace, scratch, rounds] = process.argv.slice(2);
const BLOCK = 1 << 20;
const file = join(scratch, 'hour.mp4');
const { size } = statSync(file);

let sent = 0;
const origin = createServer((asked, reply) => {
  // There are no subtitles beside it.
  if (asked.url !== '/hour.mp4') return reply.writeHead(404).end();
  const range = /^bytes=(\d+)-(\d*)$/.exec(asked.headers.range ?? '');
  const start = range ? Number(range[1]) : 0;
  const end = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1;
  const head = { etag: '"1"', 'accept-ranges': 'bytes', 'cache-control': 'max-age=3600', 'content-type': 'video/mp4', 'content-length': end - start + 1 };
  if (range) head['content-range'] = `bytes ${start}-${end}/${size}`;
  reply.writeHead(range ? 206 : 200, head);
  createReadStream(file, { start, end }).on('data', (bytes) => { sent += bytes.length; }).pipe(reply).on('error', () => {});
}).listen(0, '127.0.0.1');

const freePort = () => new Promise((done) => {
  const server = listener().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => done(port));
  });
});

const agent = new Agent({ keepAlive: true, maxSockets: Infinity });

/** Milliseconds to the first byte of the body and to the last, and the body. */
const ask = (url) => new Promise((done, fail) => {
  const begun = performance.now();
  request(url, { agent }, (reply) => {
    let first;
    const parts = [];
    reply.on('data', (bytes) => {
      first ??= performance.now() - begun;
      parts.push(bytes);
    });
    reply.on('end', () => done({ status: reply.statusCode, first, all: performance.now() - begun, body: Buffer.concat(parts) }));
    reply.on('error', fail);
  }).on('error', fail);
});

async function until(condition) {
  const deadline = performance.now() + 20_000;
  while (!(await condition().catch(() => false))) {
    if (performance.now() > deadline) throw new Error('waited in vain');
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** Processor time of a server and of the programs that it has run, in seconds. */
const spent = ({ pid }) => readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ').slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) / 100, 0);

/** `work` with a fresh server, and the addresses of the film and of its admin port. */
async function withServer(work) {
  const [data, admin] = [await freePort(), await freePort()];
  const directory = await mkdtemp(join(scratch, 'data-'));
  const server = spawn(millrace, [
    'serve', '--listen', `127.0.0.1:${data}`, '--admin', `127.0.0.1:${admin}`, '--data-dir', directory,
    '--origin', `http://127.0.0.1:${origin.address().port}`, '--set', 'media.encode_ahead=0',
  ], { stdio: 'ignore' });
  try {
    await until(async () => (await ask(`http://127.0.0.1:${admin}/health/ready`)).status === 200);
    // The encoder has been tried out by then, as on any server that has been running for a second.
    await new Promise((done) => setTimeout(done, 1500));
    return await work(`http://127.0.0.1:${data}/hour.mp4`, `http://127.0.0.1:${admin}`, server);
  } finally {
    server.kill('SIGTERM');
    await new Promise((done) => server.once('exit', done));
    await rm(directory, { recursive: true });
  }
}

const round = () => withServer(async (base, admin) => {
  const encodes = async () => {
    const { body } = await ask(`${admin}/metrics`);
    const lines = body.toString().split('\n').filter((line) => line.startsWith('millrace_media_encodes_total'));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  };
  sent = 0;
  const begun = performance.now();
  await ask(`${base}/master.m3u8`);
  const index = sent;
  const playlist = (await ask(`${base}/480p/index.m3u8`)).body.toString();
  await ask(`${base}/480p/init.mp4`);
  const before = performance.now() - begun;
  const cold = await ask(`${base}/480p/seg-1.m4s`);
  if (cold.status !== 200) throw new Error(`seg-1: ${cold.status} ${cold.body}`);
  const durations = playlist.split('\n').filter((line) => line.startsWith('#EXTINF')).map((line) => parseFloat(line.slice(8)));
  const own = (await ask(`${base}/source/seg-1.m4s`)).body.length;
  const cost = sent - index;
  const warm = await ask(`${base}/480p/seg-8.m4s`);
  const counted = await encodes();
  const crowd = await Promise.all(Array.from({ length: 100 }, () => ask(`${base}/480p/seg-11.m4s`)));
  const same = crowd.every(({ status, body }) => status === 200 && body.equals(crowd[0].body));
  return {
    start: before + cold.first, blocks: cost / BLOCK, allowed: Math.ceil(own / BLOCK) + 2, index: index / BLOCK,
    first: warm.first, speed: warm.all / 1000 / durations[7], crowd: (await encodes()) - counted, same,
  };
});

/** The first sprite of a film that nobody has asked for, and what all of them cost. */
const stills = () => withServer(async (base, _, server) => {
  const before = spent(server);
  const begun = performance.now();
  const cues = (await ask(`${base}/storyboard.vtt`)).body.toString();
  const sprites = [...new Set(cues.match(/storyboard-\d+\.webp/g))];
  await ask(`${base}/${sprites[0]}`);
  const first = performance.now() - begun;
  for (const sprite of sprites.slice(1)) {
    const { status } = await ask(`${base}/${sprite}`);
    if (status !== 200) throw new Error(`${sprite}: ${status}`);
  }
  return { first, cpu: spent(server) - before, sprites: sprites.length };
});

const results = [];
for (let i = 0; i < Number(rounds); i++) results.push(await round());
const median = (name) => results.map((result) => result[name]).sort((a, b) => a - b)[Math.floor(results.length / 2)];
const worst = (name) => Math.max(...results.map((result) => result[name]));
console.log(`${(size / 2 ** 20).toFixed(0)} MiB, medians of ${rounds} rounds, each with a fresh server.\n`);
console.log('| what | goal | measured |\n|---|---|---|');
console.log(`| master to first byte of the first 480p segment | ≤ 0.8 s | ${(median('start') / 1000).toFixed(2)} s |`);
console.log(`| bytes of the origin for the index | | ${median('index').toFixed(1)} MiB |`);
console.log(`| and for the segment | ≤ its blocks + 1 (${worst('allowed')} MiB) | ${worst('blocks').toFixed(1)} MiB |`);
console.log(`| another segment: first byte | ≤ 0.5 s | ${(median('first') / 1000).toFixed(2)} s |`);
console.log(`| another segment: whole | ≤ 0.35 × real time | ${median('speed').toFixed(2)} × |`);
console.log(`| encodes of a segment that 100 want at once | 1 | ${worst('crowd')}${results.every((one) => one.same) ? '' : ', bodies differ'} |`);
const board = await stills();
console.log(`| first sprite of a storyboard | ≤ 3 s | ${(board.first / 1000).toFixed(2)} s |`);
console.log(`| the whole storyboard (${board.sprites} sprites), processor time | ≤ 60 s | ${board.cpu.toFixed(1)} s |`);
agent.destroy();
origin.close();
