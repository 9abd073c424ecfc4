// Overview: is it well, how fast, how much comes from the cache, and what do the origins have to bear.

import { box, dot, el, link, nothing, renew, table } from '../dom.js';
import { plural, span, text, units } from '../format.js';
import { spark } from '../paint.js';
import { Panels, inTurn, last, named, quantile, single } from '../panels.js';

const CACHED = 'outcome=~"hit|stale|revalidated"';
const CACHEABLE = 'outcome!="bypass"';
const OUTCOMES = ['hit', 'revalidated', 'stale', 'miss', 'bypass', 'error'];
const TROUBLE = ['--error', '--three', '--five', '--two', '--miss'];
const LATENCY = 'millrace_response_head_seconds';
const UPSTREAM = 'http_client_request_duration_seconds';
const BREAKER = [['good', 'closed'], ['warn', 'half-open'], ['bad', 'open']];

const Q = {
  outcomes: (w) => `sum by (outcome) (rate(millrace_cache_requests_total[${w}]))`,
  shares: (w) => `sum by (outcome) (rate(millrace_cache_requests_total{${CACHED}}[${w}])) / scalar(sum(rate(millrace_cache_requests_total{${CACHEABLE}}[${w}])) > 0)`,
  ratio: (w) => `(sum(rate(millrace_cache_requests_total{${CACHED}}[${w}])) or vector(0)) / (sum(rate(millrace_cache_requests_total{${CACHEABLE}}[${w}])) > 0)`,
  tiers: (w) => `sum by (tier) (rate(millrace_cache_tier_requests_total{result="hit"}[${w}])) / (sum by (tier) (rate(millrace_cache_tier_requests_total[${w}])) > 0)`,
  p50: (w) => quantile(0.5, LATENCY, w),
  p95: (w) => quantile(0.95, LATENCY, w),
  p99: (w) => quantile(0.99, LATENCY, w),
  origin: (w) => `sum by (result) (rate(millrace_origin_requests_total[${w}]))`,
  originP95: (w) => quantile(0.95, UPSTREAM, w, 'origin'),
  sent: (w) => `sum(rate(millrace_cache_response_bytes_total[${w}]))`,
  fetched: (w) => `sum(rate(millrace_origin_response_bytes_total[${w}]))`,
  breaker: () => 'max by (origin) (millrace_origin_breaker_state)',
  asked: (w) => `sum by (origin) (rate(millrace_origin_requests_total[${w}]))`,
  failed: (w) => `sum by (origin) (rate(millrace_origin_requests_total{result!~"answered|missing"}[${w}]))`,
};
const pick = (...names) => Object.fromEntries(names.map((name) => [name, Q[name]]));

const PANELS = [
  { title: 'Requests', note: 'per second, by outcome', kind: 'rate', stack: true, order: OUTCOMES, queries: pick('outcomes'), rows: (got) => named(got.outcomes, 'outcome'), colour: (name) => (OUTCOMES.includes(name) ? `--${name}` : '--four') },
  { title: 'Hit ratio by outcome', note: 'of cacheable requests', kind: 'share', scale: 'whole', stack: true, order: OUTCOMES, queries: pick('shares'), rows: (got) => named(got.shares, 'outcome'), colour: (name) => `--${name}`, thresholds: [{ value: 0.8, name: 'alert below 80 %', tone: '--bad' }] },
  { title: 'Hit ratio by tier', note: 'of lookups of heads and blocks', kind: 'share', scale: 'whole', order: ['memory', 'disk'], queries: pick('tiers'), rows: (got) => named(got.tiers, 'tier'), colour: (name, at) => ({ memory: '--one', disk: '--two' })[name] ?? inTurn(name, at + 2) },
  { title: 'Latency', note: 'to the head of the answer, log scale', kind: 'seconds', scale: 'log', order: ['p50', 'p95', 'p99'], queries: pick('p50', 'p95', 'p99'), rows: (got) => ['p50', 'p95', 'p99'].flatMap((name) => single(got[name], name)), colour: (name) => `--${name}`, thresholds: [{ value: 2, name: 'alert above 2 s', tone: '--bad' }] },
  { title: 'Bandwidth', note: 'bodies; what lies between is saved', kind: 'bytes', order: ['to clients', 'from origins'], queries: pick('sent', 'fetched'), rows: (got) => [...single(got.sent, 'to clients'), ...single(got.fetched, 'from origins')], colour: (name) => (name === 'to clients' ? '--hit' : '--miss') },
  { title: 'Origin requests', note: 'per second, by result', kind: 'rate', order: ['answered', 'missing'], queries: pick('origin'), rows: (got) => named(got.origin, 'result'), colour: (name, at) => (name === 'answered' ? '--one' : name === 'missing' ? '--bypass' : TROUBLE[at % TROUBLE.length]), empty: 'No origin was asked in this range' },
];

const total = (rows) => rows[0]?.values.map((_, at) => {
  const here = rows.map((row) => row.values[at]).filter((value) => value != null);
  return here.length ? here.reduce((sum, value) => sum + value, 0) : null;
});

function tile(name, kind, value, note, extra, state) {
  const shown = el('p', 'tile-value');
  if (value == null || Number.isNaN(value)) shown.textContent = '–';
  else {
    const [number, unit] = units[kind](value);
    shown.append(number, el('small', '', unit));
  }
  return box('div', `tile ${state ? `is-${state}` : ''}`, el('p', 'tile-name', name), shown, el('p', 'tile-note', note), extra);
}

function pips(states) {
  const made = el('div', 'pips');
  for (const [state, title] of states.slice(0, 40)) {
    const pip = el('span', `pip ${state ? `is-${state}` : ''}`);
    pip.title = title;
    made.append(pip);
  }
  return made;
}

function counted(name, states, many, note, bad) {
  const good = states.filter(([state]) => state === 'good').length;
  const made = tile(name, 'count', states.length ? good : null, note, pips(states), bad);
  if (states.length) made.querySelector('small').textContent = `/ ${states.length}`;
  return made;
}

function tiles(got, origins, targets) {
  const requests = total(got.outcomes) ?? [];
  const errors = last(got.outcomes.find((row) => row.labels.outcome === 'error')?.values);
  const rate = last(requests);
  const failing = rate > 0 && errors > 0 ? errors / rate : 0;
  const [ratio, p95, p50, sent] = ['ratio', 'p95', 'p50', 'sent'].map((name) => last(got[name][0]?.values));
  const fetched = last(got.fetched[0]?.values);
  const saved = sent == null ? null : Math.max(0, sent - (fetched ?? 0));
  const down = targets.filter((target) => target.health === 'down').length;
  const healthy = targets.map((target) => [{ up: 'good', down: 'bad' }[target.health], `${target.labels.instance ?? target.scrapeUrl}: ${target.health}`]);
  const asked = origins.map((origin) => [BREAKER[origin.breaker]?.[0], `${origin.name}: breaker ${BREAKER[origin.breaker]?.[1]}`]);
  const shut = origins.filter((origin) => origin.breaker > 0).length;
  return [
    tile('Requests', 'rate', rate, rate == null ? 'no traffic measured' : failing > 0 ? `${text('share', failing)} errors` : 'no errors', spark(requests), failing > 0.05 ? 'bad' : ''),
    tile('Hit ratio', 'share', ratio, ratio == null ? 'no cacheable traffic' : 'of cacheable requests', spark(got.ratio[0]?.values ?? []), ratio != null && ratio < 0.8 ? 'warn' : ''),
    tile('Latency p95', 'seconds', p95, p50 == null ? 'no requests' : `median ${text('seconds', p50)}`, spark(got.p95[0]?.values ?? []), p95 > 2 ? 'warn' : ''),
    tile('Bandwidth saved', 'bytes', saved, sent == null ? 'nothing sent' : sent > 0 ? `${text('share', saved / sent)} of bytes sent` : 'nothing is being sent', spark(got.sent[0]?.values.map((value, at) => (value == null ? null : Math.max(0, value - (got.fetched[0]?.values[at] ?? 0)))) ?? [])),
    counted('Origins well', asked, 'origins', !origins.length ? 'none asked yet' : shut ? `${shut} left alone by the breaker` : 'every breaker is closed', shut ? 'bad' : ''),
    counted('Targets up', healthy, 'targets', down ? `${down} down` : !targets.length ? 'no targets' : healthy.every(([state]) => state) ? 'all of them' : 'waiting for the first scrape', down ? 'bad' : ''),
  ];
}

function originTable(origins) {
  if (!origins.length) return nothing('No origin has been asked yet', 'They appear with the first miss.');
  const columns = [{ title: 'Origin', className: 'mono wrap', label: '' }, { title: 'Breaker' }, { title: 'Requests', className: 'number' }, { title: 'Failing', className: 'number' }, { title: 'p95 to the head', className: 'number' }];
  return table('Origins', columns, origins.map((origin) => {
    const [state, word] = BREAKER[origin.breaker] ?? ['', 'unknown'];
    const share = origin.asked > 0 ? origin.failed / origin.asked : null;
    return [origin.name, box('span', 'state', dot(state), word), text('rate', origin.asked), el('span', share > 0.1 ? 'fault' : '', text('share', share)), text('seconds', origin.p95)];
  }));
}

function firing(groups, now) {
  const alerts = groups.flatMap((group) => group.rules).flatMap((rule) => rule.alerts ?? []).filter((alert) => alert.state === 'firing');
  if (!alerts.length) {
    const rules = groups.flatMap((group) => group.rules);
    if (!rules.length) return [box('p', 'calm', 'No rules are loaded.')];
    if (rules.every((rule) => rule.health === 'unknown')) return [box('p', 'calm', `${plural(rules.length, 'rule')} yet to be evaluated for the first time.`)];
    return [box('p', 'calm', el('strong', '', 'All quiet.'), ` ${plural(rules.length, 'rule')}, none firing.`)];
  }
  const weight = { critical: 0, warning: 1 };
  alerts.sort((a, b) => (weight[a.labels.severity] ?? 2) - (weight[b.labels.severity] ?? 2));
  return alerts.slice(0, 6).map((alert) => box('a', 'alert is-firing is-line',
    el('span', 'badge', alert.labels.severity ?? 'firing'), el('span', 'alert-name', alert.labels.alertname),
    el('span', 'alert-summary', alert.annotations.summary ?? ''), el('span', 'alert-since', `for ${span((now - Date.parse(alert.activeAt)) / 1000)}`)))
    .map((card) => { card.href = '/#/alerts'; return card; })
    .concat(alerts.length > 6 ? [link('/#/alerts', `and ${alerts.length - 6} more`)] : []);
}

function open(root) {
  const alerts = el('div', 'alerts');
  const row = box('div', 'tiles', ...Array.from({ length: 6 }, () => el('div', 'tile is-bone')));
  const panels = new Panels(PANELS, 'History');
  const origins = el('div');
  root.append(box('section', '', el('h2', 'hidden', 'Firing alerts'), alerts), box('section', '', el('h2', 'hidden', 'Now'), row),
    box('section', '', el('h2', 'hidden', 'History'), panels.root), box('section', '', el('h2', '', 'Origins'), origins));

  async function refresh(ctx) {
    renew(alerts, ...firing(ctx.groups, ctx.now));
    const drawn = panels.refresh(ctx);
    const names = Object.keys(Q);
    const answers = await Promise.allSettled(names.map((name) => ctx.range(Q[name](ctx.window))));
    if (answers.every((answer) => answer.status === 'rejected' && !answer.reason.answered)) throw answers[0].reason;
    const got = Object.fromEntries(names.map((name, at) => [name, answers[at].value ?? []]));
    const of = (name, origin) => last(got[name].find((found) => found.labels.origin === origin)?.values);
    const known = got.breaker.map((found) => found.labels.origin).sort();
    const list = known.map((name) => ({ name, breaker: of('breaker', name), asked: of('asked', name) ?? 0, failed: of('failed', name) ?? 0, p95: of('originP95', name) }));
    row.replaceChildren(...tiles(got, list, ctx.targets));
    renew(origins, originTable(list));
    await drawn;
  }
  return { refresh, close: () => panels.close() };
}

export default { id: 'overview', title: 'Overview', open };
