// Rules that meet, at random and for long: an origin whose answers change in version, lifetime, validator and framing, and fail; clients
// that ask for them in every way; purges, writes and kills in between. Each body says which version it is of, so each answer can be
// judged: right bytes of one version, under that version's validator, and of no version older than rules and purges allow.
//
// node scripts/soak-cache.mjs. Environment: SECS (120), SEED (random), CLIENTS (8), RATE (requests a second, 150), KILL (seconds between
// kills, 0: none), MILLRACE (the binary).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import zlib from 'node:zlib';

const env = (name, otherwise) => Number(process.env[name] ?? otherwise);
const [secs, clients, rate, kill] = [env('SECS', 120), env('CLIENTS', 8), env('RATE', 150), env('KILL', 0)];
const seed = env('SEED', Math.floor(Math.random() * 2 ** 31));
const binary = process.env.MILLRACE ?? `${process.env.CARGO_TARGET_DIR ?? 'target'}/release/millrace`;
// What the rules allow to the second is judged with so many milliseconds to spare.
const SLACK = 2500;
const DAY = 86_400_000;

// mulberry32
let state = seed;
const random = () => {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
const below = (n) => Math.floor(random() * n);
const pick = (...list) => list[below(list.length)];
const chance = (p) => random() < p;

// A body is a row of records of 32 bytes that say what they are of.
const RECORD = 32;
const record = (name, version, variant, at) => `${name} v${version} ${variant} @${at}`.padEnd(RECORD - 1, '.') + '\n';
function bytes(name, version, variant, from, to) {
  const first = Math.floor(from / RECORD);
  let text = '';
  for (let at = first; at * RECORD < to; at += 1) text += record(name, version, variant, at);
  return Buffer.from(text).subarray(from - first * RECORD, to - first * RECORD);
}

// Fixed for each path: how it is validated, framed, and what it varies by. Lengths go from nothing to some blocks of 64 KiB.
const paths = new Map();
for (let n = 0; n < 60; n += 1) {
  paths.set(`/r${n}`, {
    name: `r${n}`,
    validator: ['strong', 'strong', 'strong', 'weak', 'date', 'none'][n % 6],
    varies: n % 4 === 1,
    ranges: n % 5 !== 2,
    chunked: n % 7 === 3,
    text: n % 3 === 0,
    base: [0, 10, 3000, 20_000, 65_536, 70_000, 200_000, 500_000][n % 8],
    version: 1,
    told: new Map(), // version and variant: when it was answered, and how long it may be used
    hard: 0, // the latest hard purge or write
    failed: 0,
  });
}
const length = (path, version) => (path.base === 0 ? 0 : path.base + (version % 5) * 7);
const modified = (path, version) => new Date(1.6e12 + version * 3_600_000).toUTCString();
const tag = (path, version, variant) =>
  ({ strong: `"${version}-${variant}"`, weak: `W/"${version}-${variant}"` })[path.validator];

const tally = { asked: 0, hit: 0, miss: 0, stale: 0, revalidated: 0, bypass: 0, error: 0, cut: 0, purges: 0, kills: 0 };
let fault;
function complain(what, detail) {
  fault ??= `${what}\n${JSON.stringify(detail, null, 1)}`;
}

function control() {
  const said = [pick('max-age=0', 'max-age=1', 'max-age=2', 'max-age=60', 's-maxage=1', 's-maxage=60', 'no-cache', '')];
  if (chance(0.25)) said.push(`stale-while-revalidate=${pick(1, 3)}`);
  if (chance(0.25)) said.push(`stale-if-error=${pick(1, 600)}`);
  if (chance(0.1)) said.push('must-revalidate');
  if (chance(0.04)) said.push('no-store');
  if (chance(0.04)) said.push('private');
  if (chance(0.1)) said.push('public');
  return said.filter(Boolean).join(', ');
}

// Until when what says this may be used, and when an origin fails.
function uses(said, at) {
  const seconds = (name) => (said.match(new RegExp(`(?:^|[ ,])${name}=(\\d+)`)) ?? [])[1];
  const s = seconds('s-maxage');
  const strict = s !== undefined || /no-cache|must-revalidate/.test(said);
  const lifetime = /no-cache|no-store|private/.test(said) ? 0 : 1000 * Number(s ?? seconds('max-age') ?? 0);
  const wait = strict ? 0 : 1000 * Number(seconds('stale-while-revalidate') ?? 0);
  const grace = strict ? 0 : seconds('stale-if-error') === undefined ? DAY : 1000 * Number(seconds('stale-if-error'));
  return { until: at + lifetime + wait, inNeed: at + lifetime + Math.max(wait, grace) };
}

const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

const origin = http.createServer(async (request, response) => {
  const path = paths.get(request.url);
  const began = Date.now();
  request.resume();
  if (!path) return response.writeHead(404).end();
  if (request.method === 'POST') {
    path.version += 1;
    return response.writeHead(204).end();
  }
  if (chance(0.1)) await sleep(below(80));
  if (chance(0.04)) {
    path.failed = Date.now() + 200;
    if (chance(0.5)) return request.socket.destroy();
    return response.writeHead(pick(500, 502, 503, 504), chance(0.2) ? { 'cache-control': 'max-age=1' } : {}).end('failed');
  }
  const variant = path.varies ? (request.headers['x-variant'] ?? 'none') : 'all';
  const version = path.version;
  const total = length(path, version);
  const said = control();
  const fields = { 'cache-control': said, 'content-type': path.text ? 'text/plain' : 'image/png', 'x-told': `${version}` };
  const etag = tag(path, version, variant);
  if (etag) fields.etag = etag;
  if (path.validator === 'date') fields['last-modified'] = modified(path, version);
  if (path.varies) fields.vary = 'X-Variant';
  fields['surrogate-key'] = `all ${path.name}`;
  const told = path.told.get(`${version} ${variant}`) ?? { began: 0, until: 0, inNeed: 0 };
  const { until, inNeed } = uses(said, Date.now() + 5000); // it may be long in coming
  path.told.set(`${version} ${variant}`,
    { began: Math.max(told.began, began), until: Math.max(told.until, until), inNeed: Math.max(told.inNeed, inNeed) });
  const same = etag ? request.headers['if-none-match'] === etag
    : path.validator === 'date' && request.headers['if-modified-since'] === fields['last-modified'];
  if (same) return response.writeHead(304, fields).end();
  let [from, to, status] = [0, total, 200];
  const range = path.ranges && /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '');
  const condition = request.headers['if-range'];
  if (range && (!condition || condition === etag || condition === fields['last-modified'])) {
    if (range[1] === '') [from, to] = [Math.max(0, total - Number(range[2])), total];
    else [from, to] = [Number(range[1]), range[2] === '' ? total : Math.min(total, Number(range[2]) + 1)];
    if (from >= to) return response.writeHead(416, { 'content-range': `bytes */${total}` }).end();
    status = 206;
    fields['content-range'] = `bytes ${from}-${to - 1}/${total}`;
  }
  const body = bytes(path.name, version, variant, from, to);
  if (!path.chunked) fields['content-length'] = body.length;
  response.writeHead(status, fields);
  if (request.method === 'HEAD') return response.end();
  if (chance(0.03) && body.length > 0) {
    path.failed = Date.now() + 200;
    return response.write(body.subarray(0, below(body.length)), () => request.socket.destroy());
  }
  if (chance(0.1)) {
    const half = below(body.length + 1);
    response.write(body.subarray(0, half));
    await sleep(below(60));
    return response.end(body.subarray(half));
  }
  response.end(body);
});
origin.listen(0, '127.0.0.1');
await once(origin, 'listening');

const scratch = mkdtempSync(join(tmpdir(), 'millrace-rules-'));
let [server, data, admin, up] = [undefined, 0, 0, false];
async function start() {
  server = spawn(binary, ['serve', '--origin', `http://127.0.0.1:${origin.address().port}`, '--listen', `127.0.0.1:${data}`, '--admin',
    `127.0.0.1:${admin}`, '--data-dir', scratch, '--memory', '12MiB', '--disk', '96MiB', '--set', 'cache.block_size=64KiB'],
  { stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  for await (const text of server.stdout) {
    said += text;
    if (said.match(/http:\/\/\S+/g)?.length >= 2) break;
  }
  [data, admin] = said.match(/http:\/\/[^\s:]+:\d+/g).map((address) => Number(address.split(':')[2]));
  up = true;
}
process.on('exit', () => server?.kill('SIGKILL'));
await start();

function ask(port, { path, method = 'GET', headers = {}, body, leaves = false }) {
  return new Promise((resolve) => {
    const request = http.request({ port, host: '127.0.0.1', path, method, headers, agent: false }, (reply) => {
      const chunks = [];
      const done = (cut) => resolve({ status: reply.statusCode, fields: reply.headers, body: Buffer.concat(chunks), cut });
      reply.on('data', (chunk) => {
        chunks.push(chunk);
        if (leaves) request.destroy();
      });
      reply.on('end', () => done(false));
      reply.on('error', () => done(true));
    });
    request.on('error', () => resolve(undefined));
    request.end(body);
  });
}

// Which version and variant these bytes at `from` are of; undefined when of none, null when there are too few to tell.
function versionOf(path, body, from) {
  const skip = (RECORD - (from % RECORD)) % RECORD;
  if (body.length < skip + RECORD) return null;
  const [, version, variant] = /^\S+ v(\d+) (\S+) @/.exec(body.toString('latin1', skip, skip + RECORD)) ?? [];
  if (version === undefined) return undefined;
  const same = bytes(path.name, version, variant, from, from + body.length).equals(body);
  return same ? { version: Number(version), variant } : undefined;
}

function allowed(path, version, variant, { began, ended, headers }) {
  const told = path.told.get(`${version} ${variant}`);
  if (!told) return 'the origin never answered that';
  if (told.began < path.hardAt(began)) return 'it was purged';
  if (version === path.version || told.began >= began) return undefined;
  const staleness = /max-stale(?:=(\d+))?/.exec(headers['cache-control'] ?? '');
  const accepted = staleness ? 1000 * Number(staleness[1] ?? 86_400) : 0;
  const failed = path.failed >= began - 5000 && path.failed - 200 <= ended;
  const until = Math.max(told.until + accepted, failed ? told.inNeed : 0);
  return began <= until + SLACK ? undefined : `it was good until ${began - until} ms before`;
}

function judge(path, asked, reply, began, ended) {
  const { headers, method } = asked;
  const wrong = (what, more = {}) => complain(what, { seed, path, asked, status: reply.status, fields: reply.fields, more,
    body: reply.body.toString('latin1', 0, 200), length: reply.body.length, cut: reply.cut, told: [...path.told].slice(-6), began, ended });
  const { status, fields } = reply;
  tally[(fields['x-cache'] ?? 'error').toLowerCase()] += 1;
  if (!/^millrace(; [a-z-]+(=[A-Za-z0-9_.-]+)?)*$/.test(fields['cache-status'] ?? '')) return wrong('Cache-Status is malformed');
  if (fields['surrogate-key']) return wrong('a tag went out');
  if (status >= 500 || status === 412) return undefined;
  const variant = path.varies ? (headers['x-variant'] ?? 'none') : 'all';
  const coding = fields['content-encoding'];
  const version = Number(fields['x-told']);
  const is = (found) => {
    if (found === undefined) return wrong('bytes of no version, or of several');
    if (found === null) return undefined;
    if (found.variant !== variant) return wrong(`of the variant ${found.variant}, not ${variant}`);
    const expected = tag(path, found.version, variant);
    const told = coding && expected ? expected.replace(/"$/, `-${coding}"`) : expected;
    // What was confirmed by a 304 keeps the body's fields, but for those that the 304 replaced.
    if (fields.etag !== told) return wrong('the tag is of another version', { found, told });
    const why = allowed(path, found.version, variant, { began, ended, headers });
    return why && wrong(`too old: ${why}`, { found });
  };
  if (status === 416) {
    return fields['content-range']?.startsWith('bytes */') ? undefined : wrong('416 without the length');
  }
  if (status === 304) {
    if (!headers['if-none-match'] && !headers['if-modified-since']) return wrong('304 without a condition');
    return undefined;
  }
  if (![200, 206].includes(status)) return wrong('an unexpected status');
  if (method === 'HEAD') {
    if (path.validator === 'strong' && !coding && fields['content-length'] !== undefined) {
      const named = Number(/"(\d+)-/.exec(fields.etag)?.[1]);
      if (Number(fields['content-length']) !== length(path, named)) return wrong('HEAD tells another length than its version has');
    }
    return undefined;
  }
  if (reply.cut) {
    tally.cut += 1;
    return coding || status === 206 ? undefined : is(versionOf(path, reply.body, 0));
  }
  if (status === 200) {
    let body = reply.body;
    if (coding) {
      body = { br: zlib.brotliDecompressSync, gzip: zlib.gunzipSync }[coding](body);
    }
    const found = body.length === 0 ? null : versionOf(path, body, 0);
    if (found && body.length !== length(path, found.version)) return wrong('not all of its bytes', { found });
    if (found && !path.varies && Number.isNaN(version)) return wrong('no version is told');
    return is(found);
  }
  const boundary = /^multipart\/byteranges; boundary=(\S+)/.exec(fields['content-type'])?.[1];
  const parts = [];
  if (boundary) {
    const text = reply.body.toString('latin1');
    const open = /--(\S+)\r\n(?:Content-Type: [^\r]*\r\n)?Content-Range: bytes (\d+)-(\d+)\/(\d+)\r\n\r\n/g;
    for (let match; (match = open.exec(text)); ) {
      const [from, last, total] = match.slice(2).map(Number);
      parts.push({ from, total, body: reply.body.subarray(open.lastIndex, open.lastIndex + last + 1 - from) });
      open.lastIndex += last + 1 - from;
    }
  } else {
    const [, from, last, total] = (/^bytes (\d+)-(\d+)\/(\d+)$/.exec(fields['content-range']) ?? []).map(Number);
    if (last + 1 - from !== reply.body.length) return wrong('another length than Content-Range says');
    parts.push({ from, total, body: reply.body });
  }
  if (parts.length === 0) return wrong('206 without a part');
  const found = parts.map((part) => versionOf(path, part.body, part.from));
  const known = found.filter((one) => one !== null);
  if (known.some((one) => one?.version !== known[0]?.version)) return wrong('parts of several versions', { found });
  if (known[0] && parts.some((part) => part.total !== length(path, known[0].version))) return wrong('the length of another version');
  return is(known.length > 0 ? known[0] : null);
}

// The latest hard purge whose receipt had come by then, by when it was sent.
for (const path of paths.values()) {
  path.purges = [];
  path.hardAt = (time) => path.purges.reduce((latest, { sent, received }) => (received <= time ? Math.max(latest, sent) : latest), 0);
}
function purged(concerned, sent) {
  const purge = { sent, received: Date.now() };
  for (const path of concerned) {
    path.purges.push(purge);
    if (path.purges.length > 200) path.purges.shift();
  }
}

async function act() {
  const [target, path] = [...paths][Math.floor(paths.size * random() ** 2)];
  const dice = random();
  const sent = Date.now();
  if (dice < 0.03) {
    path.version += 1;
    return;
  }
  if (dice < 0.06) {
    const soft = chance(0.4);
    const [purge, concerned] = pick([{ urls: [target] }, [path]], [{ tags: [path.name] }, [path]], [{ prefixes: [target] }, [path]],
      [{ tags: ['ALL'] }, [...paths.values()]], [{ all: true }, [...paths.values()]]);
    const receipt = await ask(admin, { path: '/api/v1/purge', method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...purge, soft }) });
    if (receipt?.status === 200 && !soft) purged(concerned, sent);
    tally.purges += 1;
    return;
  }
  if (dice < 0.07) {
    const reply = await ask(data, { path: target, method: 'POST', body: 'x' });
    if (reply?.status === 204) purged([path], sent);
    return;
  }
  const headers = {};
  const version = Math.max(1, path.version - below(2));
  const variant = path.varies ? pick('a', 'b') : 'all';
  if (path.varies) headers['x-variant'] = variant;
  const total = length(path, version);
  const span = () => {
    const from = below(total + 100);
    return pick(`${from}-${from + below(2000)}`, `${from}-`, `-${1 + below(5000)}`, `${from}-${from + below(200_000)}`);
  };
  if (chance(0.4)) headers.range = `bytes=${chance(0.2) ? `${span()}, ${span()}` : span()}`;
  const known = tag(path, version, variant);
  if (known && chance(0.15)) headers[pick('if-none-match', 'if-range', 'if-match')] = known;
  if (path.validator === 'date' && chance(0.15)) headers[pick('if-modified-since', 'if-range')] = modified(path, version);
  if (chance(0.15)) {
    headers['cache-control'] = pick('no-cache', 'max-age=0', 'max-age=1', 'max-stale', 'max-stale=2', 'min-fresh=1', 'only-if-cached',
      'no-store', 'stale-if-error=1');
  }
  if (chance(0.3)) headers['accept-encoding'] = pick('br', 'gzip', 'gzip, br;q=0.5', 'identity');
  if (chance(0.03)) headers.authorization = 'Bearer x';
  const asked = { path: target, method: chance(0.08) ? 'HEAD' : 'GET', headers, leaves: chance(0.03) };
  const began = Date.now();
  const reply = await ask(data, asked);
  tally.asked += 1;
  if (!reply) {
    if (up && !asked.leaves && Date.now() - killed > 3000) complain('no answer', { seed, asked });
    return;
  }
  judge(path, asked, asked.leaves ? { ...reply, cut: true } : reply, began, Date.now());
}

let [over, killed] = [false, 0];
async function client() {
  while (!over && !fault) {
    if (up) await act();
    await sleep((1000 * clients) / rate);
  }
}

const began = Date.now();
const running = Promise.all(Array.from({ length: clients }, client));
let next = began + kill * 1000;
while (Date.now() - began < secs * 1000 && !fault) {
  await sleep(200);
  if (kill > 0 && Date.now() > next) {
    [up, killed] = [false, Date.now()];
    server.kill('SIGKILL');
    await once(server, 'exit');
    await start();
    killed = Date.now();
    tally.kills += 1;
    next = Date.now() + kill * 1000 * (0.5 + Math.random());
  }
}
over = true;
await running;
server.kill('SIGTERM');
await once(server, 'exit');
origin.close();
origin.closeAllConnections();
rmSync(scratch, { recursive: true, force: true });
console.log(`seed ${seed}:`, JSON.stringify(tally));
if (fault) {
  console.error(fault);
  process.exitCode = 1;
}
