#!/usr/bin/env node
// Loads a server as its viewers would, and writes what they met as a page with plots.
//
//   load-test.mjs URL SECONDS USERS [REPORT.html]
//
// A user asks for something, reads it to its end, thinks for a moment (exponentially distributed, THINK_MS on average, 250), and
// asks again. What is asked for: lines of PATHS (a file; `path`, or `path first-last` for a range, the most wanted first), by
// Zipf's law with exponent 0.9; without it what scripts/demo-library.sh makes: thumbnails, segments and ranges.
// With PLOTS (a directory) the plots are written there, too. With SIDECAR (its URL) the page also shows how many instances there were, and what was decided why, of GROUP (the first).
//
// P95_MS is a line in the plot of latency.
//
// One line of JSON at the end sums it up; the exit status is 1 when a request failed. Load goes to loopback addresses only, unless
// ANYWHERE=yes says that the machine is one's own.

import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { plotLines } from './plot-lines.mjs';

const [base, seconds, users, report = 'load-test.html'] = process.argv.slice(2);
const target = new URL(base ?? '');
const [total, crowd] = [Number(seconds), Number(users)];
if (!(total >= 10) || !(crowd >= 1)) throw new Error('usage: load-test.mjs URL SECONDS USERS [REPORT.html]; at least 10 s');
if (!/^(127\.|localhost$|\[::1\]$)/.test(target.hostname) && process.env.ANYWHERE !== 'yes') throw new Error(`${target.hostname} is not this machine: ANYWHERE=yes`);
const think = Number(process.env.THINK_MS ?? 250);
const objective = Number(process.env.P95_MS ?? 0);
const sidecar = process.env.SIDECAR;
const patience = 30_000;

// ---- what is asked for

const wanted = process.env.PATHS
  ? readFileSync(process.env.PATHS, 'utf8').split('\n').filter(Boolean).map((line) => line.split(' '))
  : demo();

function demo() {
  const photos = ['alpine-12mp.jpg', 'dawn-lake.jpg', 'desert-progressive.jpg', 'dusk-ridges.jpg', 'evening-lights.jpg', 'night-lake.jpg'];
  const list = [];
  for (const width of [320, 640, 160, 960]) for (const photo of photos) list.push([`/photos/${photo}?w=${width}&auto=format`]);
  for (let segment = 0; segment < 4; segment++) list.push([`/videos/dusk-drive.mp4/source/seg-${segment + 1}.m4s`]);
  for (let part = 0; part < 8; part++) list.push(['/videos/dusk-drive.mp4', `${part << 19}-${((part + 1) << 19) - 1}`]);
  // Mixed, but the same in each run: by a fixed shuffle.
  let state = 12345;
  const random = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
  return list.map((entry) => [random(), entry]).sort(([a], [b]) => a - b).map(([, entry]) => entry);
}

const shares = [];
wanted.reduce((sum, _, at) => (shares[at] = sum + 1 / (at + 1) ** 0.9), 0);

function choose() {
  const point = Math.random() * shares.at(-1);
  let [low, high] = [0, shares.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (shares[middle] < point) low = middle + 1;
    else high = middle;
  }
  return wanted[low];
}

// ---- users

// FLAT: so many users from the start to the end.
const phases = process.env.FLAT ? [['steady', 1, 1, 1]] : [['baseline', 0.2, 0.25, 0.25], ['ramp', 0.15, 0.25, 1], ['sustained', 0.2, 1, 1], ['spike', 0.2, 3, 3], ['calm', 0.25, 0.25, 0.25]];
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 * crowd });
const perSecond = Array.from({ length: Math.ceil(total) + 1 }, () => ({ firsts: [], hits: 0, answers: 0, failures: 0, bytes: 0 }));
const failures = new Map();
const began = performance.now();
const elapsed = () => (performance.now() - began) / 1000;
let [active, stopped] = [0, false];

function due(at) {
  let start = 0;
  for (const [, share, from, to] of phases) {
    const length = share * total;
    if (at < start + length) return Math.max(1, Math.round(crowd * (from + ((to - from) * (at - start)) / length)));
    start += length;
  }
  return 0;
}

function ask([path, range]) {
  return new Promise((resolve) => {
    const asked = performance.now();
    let [first, hit] = [undefined, false];
    const done = (failure) => {
      const second = perSecond[Math.min(perSecond.length - 1, Math.floor(elapsed()))];
      if (failure) {
        second.failures++;
        failures.set(failure, (failures.get(failure) ?? 0) + 1);
      } else {
        second.answers++;
        if (hit) second.hits++;
        second.firsts.push(first - asked);
      }
      resolve();
    };
    const headers = { accept: 'image/webp,*/*', ...(range && { range: `bytes=${range}` }) };
    const request = http.get({ agent, host: target.hostname.replace(/[[\]]/g, ''), port: target.port || 80, path, headers, timeout: patience }, (answer) => {
      first = performance.now();
      const second = perSecond[Math.min(perSecond.length - 1, Math.floor(elapsed()))];
      hit = /hit/i.test(answer.headers['x-cache'] ?? '');
      let got = 0;
      answer.on('data', (bytes) => { got += bytes.length; second.bytes += bytes.length; });
      answer.on('end', () => {
        const declared = answer.headers['content-length'];
        if (answer.statusCode >= 400) return done(`${answer.statusCode} ${path}`);
        done(!answer.complete || (declared !== undefined && Number(declared) !== got) ? 'cut short' : undefined);
      });
      answer.on('error', (error) => done(`within the body: ${error.code ?? error.message}`));
    });
    request.on('timeout', () => request.destroy(new Error('time-out')));
    request.on('error', (error) => first === undefined && done(error.code ?? error.message));
  });
}

async function user() {
  active++;
  while (!stopped && active <= due(elapsed())) {
    await ask(choose());
    await new Promise((resolve) => setTimeout(resolve, -Math.log(1 - Math.random()) * think));
  }
  active--;
}

// ---- the fleet

const fleet = [];
const decisions = new Map();
async function look() {
  if (!sidecar) return;
  try {
    const get = async (path) => (await (await fetch(new URL(path, sidecar))).json()).data;
    const group = (await get('/api/v1/scaling')).groups.find(({ name }) => !process.env.GROUP || name === process.env.GROUP);
    fleet.push({ at: elapsed(), ready: group.ready, desired: group.desired });
    for (const decision of (await get(`/api/v1/scaling/decisions?group=${group.name}&limit=20`)).decisions) {
      if (decision.action !== 'hold') decisions.set(decision.at, decision);
    }
  } catch (error) {
    console.error(`sidecar: ${error.message}`);
  }
}

// ---- the run

const started = Date.now();
const ticking = setInterval(() => { for (let more = due(elapsed()) - active; more > 0 && !stopped; more--) user(); }, 100);
const looking = setInterval(look, 1000);
await new Promise((resolve) => setTimeout(resolve, total * 1000));
stopped = true;
clearInterval(ticking);
clearInterval(looking);
await look();
while (active > 0) await new Promise((resolve) => setTimeout(resolve, 50));
agent.destroy();

// ---- the report

const quantile = (list, q) => (list.length === 0 ? 0 : list[Math.min(list.length - 1, Math.floor(list.length * q))]);
const whole = perSecond.slice(0, Math.ceil(total));
for (const second of whole) second.firsts.sort((a, b) => a - b);
const all = whole.flatMap(({ firsts }) => firsts).sort((a, b) => a - b);
const sum = (of) => perSecond.reduce((number, second) => number + of(second), 0);
const round = (number) => Math.round(number * 100) / 100;
let start = 0;
const spans = phases.flatMap(([name, share]) => {
  const span = { from: start, to: start + share * total, name };
  start = span.to;
  return phases.length > 1 && ['spike', 'ramp'].includes(name) ? [span] : [];
});
const axis = 'seconds since the start';
const rows = [...decisions.values()].filter(({ at }) => Date.parse(at) >= started).sort((a, b) => Date.parse(a.at) - Date.parse(b.at))
  .map((decision) => [round((Date.parse(decision.at) - started) / 1000), `${decision.from} → ${decision.to}`, decision.binding, decision.reason]);
const marks = rows.map(([second]) => second).filter((second) => second < total);
const plot = (title, series, more = {}) => plotLines({ title, axis, spans, series, ...more });
const stepped = (key) => whole.map((_, second) => fleet.findLast(({ at }) => at <= second + 1)?.[key] ?? fleet[0]?.[key] ?? 0);
const plots = [
  plot('Requests per second', [
    { name: 'answered', colour: '#1f77b4', values: whole.map(({ answers }) => answers) },
    { name: 'failed', colour: '#d62728', values: whole.map(({ failures }) => failures) }]),
  plot('Milliseconds to the first byte, logarithmic', [
    { name: 'median', colour: '#2ca02c', values: whole.map(({ firsts }) => quantile(firsts, 0.5)) },
    { name: 'p95', colour: '#ff7f0e', values: whole.map(({ firsts }) => quantile(firsts, 0.95)) },
    { name: 'p99', colour: '#d62728', values: whole.map(({ firsts }) => quantile(firsts, 0.99)) }], { log: 0.1, marks, ...(objective && { limit: { value: objective, name: `goal of p95: ${objective}` } }) }),
  plot('Hits, percent', [{ name: 'hits', colour: '#1f77b4', values: whole.map(({ hits, answers }) => (answers ? (100 * hits) / answers : 0)) }]),
  ...(fleet.length > 0 ? [plot('Instances', [
    { name: 'wanted', colour: '#999999', values: stepped('desired') },
    { name: 'ready', colour: '#1f77b4', values: stepped('ready') }], { marks })] : []),
];
const escape = (text) => String(text).replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
const summary = {
  requests: sum(({ answers }) => answers), failed: sum(({ failures: failed }) => failed), seconds: total, users: crowd,
  hits_percent: round((100 * sum(({ hits }) => hits)) / Math.max(1, sum(({ answers }) => answers))),
  mib: round(sum(({ bytes }) => bytes) / 2 ** 20), first_byte_ms: { p50: round(quantile(all, 0.5)), p95: round(quantile(all, 0.95)), p99: round(quantile(all, 0.99)) },
  ...(fleet.length > 0 && { instances: { least: Math.min(...fleet.map(({ ready }) => ready)), most: Math.max(...fleet.map(({ ready }) => ready)), last: fleet.at(-1).ready } }),
};
const table = (head, body) => `<section><table><tr>${head.map((cell) => `<th>${escape(cell)}</th>`).join('')}</tr>${body.map((row) => `<tr>${row.map((cell) => `<td>${escape(cell)}</td>`).join('')}</tr>`).join('')}</table></section>`;
writeFileSync(report, `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Load test</title>
<style>body{font:16px/1.5 sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}h1{font-size:1.5rem}h2{font-size:1.2rem}table{border-collapse:collapse;margin:1rem 0}td{font-variant-numeric:tabular-nums}section{overflow-x:auto}div{display:flex;flex-wrap:wrap;gap:1rem}svg{width:min(100%,35rem);border:1px solid #ddd}td,th{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:left}</style>
<h1>Load test of ${escape(target.origin)}</h1>
<p>${new Date(started).toISOString().slice(0, 16).replace('T', ' ')} UTC, ${total} s, up to ${Math.max(...phases.map(([, , from, to]) => Math.max(from, to))) * crowd} users at a time.</p>
${table(['requests', 'failed', 'hits', 'first byte p50', 'p95', 'p99', 'bodies', ...(fleet.length > 0 ? ['instances'] : [])], [[summary.requests, summary.failed, `${summary.hits_percent} %`, ...['p50', 'p95', 'p99'].map((name) => `${summary.first_byte_ms[name]} ms`), `${summary.mib} MiB`, ...(fleet.length > 0 ? [`${summary.instances.least} to ${summary.instances.most}`] : [])]])}
<div>${plots.join('')}</div>
${rows.length > 0 ? `<h2>Decisions</h2>${table(['second', 'instances', 'bound by', 'reason'], rows)}` : ''}
${failures.size > 0 ? `<h2>Failures</h2>${table(['what', 'how often'], [...failures])}` : ''}
</html>
`);
if (process.env.PLOTS) {
  for (const [at, name] of ['requests', 'latency', 'hits', 'instances'].entries()) if (plots[at]) writeFileSync(join(process.env.PLOTS, `scaling-${name}.svg`), plots[at]);
}
console.log(JSON.stringify({ ...summary, failures: Object.fromEntries(failures), report }));
process.exit(summary.failed > 0 ? 1 : 0);
