// Instances: each server with its state and its numbers; those that are scaled can be drained.

import * as api from '../api.js';
import { announce, box, button, confirm, dot, el, link, nothing, renew, table } from '../dom.js';
import { plural, span, text } from '../format.js';
import { Panels, inTurn, last, named, quantile } from '../panels.js';

const OWN = 'job!="millrace-sidecar"';
const STATES = { ready: 'good', warming: 'warn', starting: 'warn', draining: 'warn', stopping: 'warn', failed: 'bad', up: 'good', down: 'bad' };
const LEAVING = new Set(['draining', 'stopping', 'failed']);

const Q = {
  rate: (w) => `sum by (instance) (rate(http_server_request_duration_seconds_count[${w}]))`,
  hit: (w) => `sum by (instance) (rate(millrace_cache_requests_total{outcome=~"hit|stale|revalidated"}[${w}])) / (sum by (instance) (rate(millrace_cache_requests_total{outcome!="bypass"}[${w}])) > 0)`,
  p95: (w) => quantile(0.95, 'millrace_response_head_seconds', w, 'instance'),
  cpu: (w) => `sum by (instance) (rate(process_cpu_seconds_total{${OWN}}[${w}]))`,
  memory: () => `sum by (instance) (process_resident_memory_bytes{${OWN}})`,
  active: () => 'sum by (instance) (http_server_active_requests)',
  warm: () => 'max by (instance) (millrace_warm_ratio)',
};
const pick = (name) => ({ [name]: Q[name] });
/** Names of scaled instances by what they are scraped as. */
const names = new Map();
const rows = (name) => (got) => named(got[name], 'instance').map((row) => ({ ...row, name: names.get(row.name) ?? row.name }));

const PANELS = [
  { title: 'Requests', note: 'per second, by instance', kind: 'rate', queries: pick('rate'), rows: rows('rate'), colour: inTurn },
  { title: 'Hit ratio', note: 'of cacheable requests', kind: 'share', scale: 'whole', queries: pick('hit'), rows: rows('hit'), colour: inTurn },
  { title: 'Latency p95', note: 'to the head of the answer, log scale', kind: 'seconds', scale: 'log', queries: pick('p95'), rows: rows('p95'), colour: inTurn },
  { title: 'Processor', note: '100 % is one core', kind: 'share', queries: pick('cpu'), rows: rows('cpu'), colour: inTurn },
  { title: 'Memory', note: 'resident', kind: 'size', queries: pick('memory'), rows: rows('memory'), colour: inTurn },
  { title: 'In flight', note: 'requests that are being answered', kind: 'count', queries: pick('active'), rows: rows('active'), colour: inTurn },
];

const host = (url) => { try { return new URL(url).host; } catch { return url; } };

/** Those that are scaled, and servers that are only scraped. */
function gather(groups, targets) {
  const scaled = (groups ?? []).flatMap((group) => group.instances.map((one) => ({ ...one, group: group.name, instance: host(one.admin_url) })));
  const known = new Set(scaled.map((one) => one.instance));
  const others = targets.filter((target) => !known.has(target.labels.instance))
    .map((target) => ({ name: target.labels.instance ?? target.scrapeUrl, instance: target.labels.instance, state: target.health === 'unknown' ? 'waiting' : target.health, note: target.lastError, job: target.labels.job }));
  return [...scaled, ...others];
}

/** A bar with its number, as a warm-up is watched. */
export function meter(value) {
  if (value == null) return null;
  const bar = el('span', 'meter-fill');
  bar.style.width = `${Math.min(1, Math.max(0, value)) * 100}%`;
  return box('span', 'meter-cell', box('span', 'meter', bar), el('span', '', text('share', value)));
}

async function leave(one, refresh) {
  const streams = one.streams ? ` ${plural(one.streams, 'stream')} may finish first.` : '';
  if (!await confirm(`Drain ${one.name}?`, `It takes no new requests, finishes what it is at and then stops.${streams} Group ${one.group} wants one instance fewer from then on.`, 'Drain')) return;
  try {
    await api.drain(one.group, one.name);
    announce(`${one.name} is draining`);
  } catch (error) {
    announce(error.status === 403 ? `${error.message} Enter it on the Scaling tab.` : error.message, 'bad');
  }
  refresh();
}

const figure = (title, label) => ({ title, className: 'number', label });
const COLUMNS = [{ title: 'Instance', className: 'mono', label: '' }, { title: 'State', label: '' }, { title: 'Warm', label: 'warm' }, figure('Streams', 'streams'), figure('Requests', 'requests'), figure('Hit ratio', 'hits'), figure('p95'), figure('Processor', 'cpu'), figure('Memory', 'memory'), { title: '', className: 'number', label: '' }];

export function instanceTable(list, got, now, refresh) {
  const of = (name, one) => last(got[name]?.find((row) => row.labels.instance === one.instance)?.values);
  const columns = list.some((one) => one.group) ? COLUMNS : COLUMNS.slice(0, -1);
  return table('Instances', columns, list.map((one) => {
    const word = box('span', 'state', dot(STATES[one.state]), one.state, one.since ? el('span', 'quiet', ` for ${span((now - Date.parse(one.since)) / 1000)}`) : null);
    const state = one.note ? box('div', '', word, el('div', 'quiet note', one.note)) : word;
    let act = null;
    if (one.group && !LEAVING.has(one.state)) {
      act = button('is-small', 'Drain…', () => leave(one, refresh));
      act.setAttribute('aria-label', `Drain ${one.name}`);
    }
    const name = box('div', '', el('strong', '', one.name), one.group ? el('div', 'quiet', one.instance) : el('div', 'quiet', one.job));
    const figures = [['count', one.streams ?? of('active', one)], ['rate', of('rate', one)], ['share', of('hit', one)], ['seconds', of('p95', one)], ['share', of('cpu', one)], ['size', of('memory', one)]];
    // Of one that tells nothing at all, six dashes say no more than nothing.
    const silent = figures.every(([, value]) => value == null);
    const cells = [name, state, meter(one.warm_ratio ?? of('warm', one)), ...figures.map(([kind, value]) => (silent ? '' : text(kind, value))), act];
    return cells.slice(0, columns.length);
  }));
}

function open(root, { refresh: again }) {
  const count = el('span', 'count');
  const list = el('div');
  const panels = new Panels(PANELS, 'History');
  root.append(box('section', '', box('h2', '', 'Instances ', count), list), box('section', '', el('h2', 'hidden', 'History'), panels.root));

  async function refresh(ctx) {
    const [groups] = await Promise.allSettled([api.scaling()]);
    names.clear();
    for (const one of (groups.value ?? []).flatMap((group) => group.instances)) names.set(host(one.admin_url), one.name);
    const drawn = panels.refresh(ctx);
    const asked = Object.keys(Q);
    const answers = await Promise.allSettled(asked.map((name) => ctx.range(Q[name](ctx.window))));
    if (answers.every((answer) => answer.status === 'rejected' && !answer.reason.answered)) throw answers[0].reason;
    const got = Object.fromEntries(asked.map((name, at) => [name, answers[at].value ?? []]));
    const found = gather(groups.value, ctx.servers);
    const well = found.filter((one) => one.state === 'ready' || one.state === 'up').length;
    count.textContent = found.length ? `${well} of ${found.length} take requests` : '';
    const scaled = groups.value?.length ? null : box('p', 'quiet note', groups.status === 'rejected' ? `Scaling does not answer: ${groups.reason.message}` : 'These are the servers that are scraped. Instances that the sidecar scales can also be drained here; ', groups.status === 'rejected' ? null : link('/#/scaling', 'no scaling is configured.'));
    renew(list, ...(found.length ? [instanceTable(found, got, ctx.now, again), scaled] : [nothing('No server is being scraped', 'Start the sidecar with --target URL.')]));
    await drawn;
  }
  return { refresh, close: () => panels.close() };
}

export default { id: 'instances', title: 'Instances', open };
