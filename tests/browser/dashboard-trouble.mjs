// What a fleet has to bear, on purpose: an origin that fails, one whose bodies break, images that are none, viewers who leave, more
// jobs than there is room for. For tests that want to see it counted.

import { createServer } from 'node:http';

const BODY = Buffer.alloc(300_000, 'frail');

/** What is called an image and is none, at every server: once `spoil` has said of what bytes. */
const JUNK = '/frail/junk.png';

/** One origin under two paths: `/weary` fails, `/frail` breaks off in the middle and goes on from there when it is asked to. */
export async function startTroubledOrigin() {
  let junk;
  const server = createServer((request, response) => {
    if (request.url.startsWith('/weary')) return response.writeHead(503).end();
    if (request.url === JUNK && junk) return response.writeHead(200, { 'content-type': 'image/png', 'cache-control': 'max-age=60', 'content-length': junk.length }).end(junk);
    const [, from] = /^bytes=(\d+)-/.exec(request.headers.range ?? '') ?? [];
    const head = { 'content-type': 'application/octet-stream', etag: '"frail"', 'cache-control': 'max-age=60', 'accept-ranges': 'bytes' };
    if (from === undefined) {
      response.writeHead(200, { ...head, 'content-length': BODY.length });
      return response.write(BODY.subarray(0, BODY.length / 2), () => setTimeout(() => response.destroy(), 50));
    }
    const rest = BODY.subarray(Number(from));
    response.writeHead(206, { ...head, 'content-length': rest.length, 'content-range': `bytes ${from}-${BODY.length - 1}/${BODY.length}` });
    return response.end(rest);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => new Promise((resolve) => { server.close(() => resolve(0)); server.closeAllConnections(); });
  return { url: `http://127.0.0.1:${server.address().port}`, spoil: (bytes) => { junk = bytes; }, stop };
}

/** The servers' settings: little patience, little room, and images that are soon made better. */
export const troubledSettings = (library, origin) => `[cache]
memory = "32MiB"
disk = "128MiB"
[retry]
statuses = true
attempts = 3
backoff_ms = 1
budget_percent = 1
budget_floor_per_sec = 1
[media]
improve_after = 2
[jobs]
queue = 1
workers = 1
${[['library', library], ['weary', origin], ['frail', origin]].map(([name, url]) => `[[origins]]\nname = "${name}"\nurl = "${url}"\n`).join('')}
max_requests = 1
${['weary', 'frail'].map((name) => `[[routes]]\npath = "/${name}"\norigins = ["${name}"]\n`).join('')}
[[routes]]
path = "/"
origins = ["library"]
`;

/** One round of everything at this server. `job` is what a job wants. */
export async function trouble({ data_url: site, admin_url: admin }, round, job) {
  const ask = async (path) => { await (await fetch(site + path)).arrayBuffer(); };
  const all = (many, one) => Promise.allSettled(Array.from({ length: many }, (_, at) => one(at)));
  const leave = async (path) => {
    const leaving = new AbortController();
    const asked = fetch(site + path, { signal: leaving.signal });
    setTimeout(() => leaving.abort(), 15);
    await asked;
  };
  await all(30, (at) => ask(`/weary/${round}-${at}`));
  await all(6, (at) => ask(`/frail/${round}-${at}`));
  await all(4, () => ask('/photos/planet.png?w=120&fm=webp'));
  await all(2, (at) => ask(`${JUNK}?w=${100 + 10 * (round % 50) + at}`));
  await all(12, (at) => leave(`/photos/desert-progressive.jpg?w=${200 + (round * 12 + at) % 700}&fm=webp`));
  await all(4, (at) => fetch(`${admin}/api/v1/jobs`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ ...job, output: `clip-${round}-${at}.mp4` }) }));
}
