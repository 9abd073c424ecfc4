// The page: asks the sidecar every five seconds and shows what it says. Everything that comes from outside is set as
// text, never as markup.

import * as api from './api.js';
import { Chart, spark } from './charts.js';
import { el } from './dom.js';
import { ago, clock, span, text, units } from './format.js';
import { drawSilences, silenceForm } from './silences.js';

const REFRESH_MS = 5_000;
const POINTS = 180;
/** A sidecar that has just started shows at least this much, not a sliver at the edge of an empty plot. */
const LEAST_RANGE = 180;
const RANGES = [['15m', 900], ['1h', 3600], ['6h', 21_600], ['24h', 86_400]];
const CACHED = 'outcome=~"hit|stale|revalidated"';
const OUTCOMES = ['hit', 'revalidated', 'stale', 'miss', 'bypass', 'error'];
const SERIES = ['--one', '--two', '--three', '--four', '--five'];
const TROUBLE = ['--error', '--three', '--five', '--two', '--miss'];

const $ = (id) => document.getElementById(id);
const view = { range: 900, busy: false, lastGood: null };

// ---- what is asked ---------------------------------------------------------------------------------------

/** `w` is the window of rates. Each yields rows [{labels, values}]. */
const QUERIES = {
  outcomes: (w) => `sum by (outcome) (rate(millrace_cache_requests_total[${w}]))`,
  ratio: (w) => `(sum(rate(millrace_cache_requests_total{${CACHED}}[${w}])) or vector(0)) / (sum(rate(millrace_cache_requests_total{outcome!="bypass"}[${w}])) > 0)`,
  p50: (w) => quantile(0.5, w),
  p95: (w) => quantile(0.95, w),
  p99: (w) => quantile(0.99, w),
  origin: (w) => `sum by (result) (rate(millrace_origin_requests_total[${w}]))`,
  sent: (w) => `sum(rate(millrace_cache_response_bytes_total[${w}]))`,
  sentCached: (w) => `sum(rate(millrace_cache_response_bytes_total{${CACHED}}[${w}]))`,
  fetched: (w) => `sum(rate(millrace_origin_response_bytes_total[${w}]))`,
  queue: () => 'max by (queue) (millrace_queue_depth)',
};

function quantile(phi, w) {
  return `histogram_quantile(${phi}, sum by (le) (rate(http_server_request_duration_seconds_bucket[${w}])))`;
}

// ---- charts ----------------------------------------------------------------------------------------------

const named = (rows, label) => rows.map((row) => ({ name: row.labels[label] ?? 'all', values: row.values }));
const single = (rows, name) => (rows.length ? [{ name, values: rows[0].values }] : []);

const CHARTS = [
  {
    needs: ['outcomes'],
    rows: (got) => named(got.outcomes, 'outcome'),
    chart: new Chart({ title: 'Requests', note: 'per second, by outcome', kind: 'rate', stack: 'area', order: OUTCOMES, colour: (name) => (OUTCOMES.includes(name) ? `--${name}` : '--four') }),
  },
  {
    needs: ['ratio'],
    rows: (got) => single(got.ratio, 'hit ratio'),
    chart: new Chart({ title: 'Hit ratio', note: 'of cacheable; alert below 80 %', kind: 'share', scale: 'share', threshold: 0.8, colour: () => '--hit' }),
  },
  {
    needs: ['p50', 'p95', 'p99'],
    rows: (got) => ['p50', 'p95', 'p99'].flatMap((name) => single(got[name], name)),
    chart: new Chart({ title: 'Latency', note: 'to the last byte, log scale', kind: 'seconds', scale: 'log', order: ['p50', 'p95', 'p99'], colour: (name) => `--${name}` }),
  },
  {
    needs: ['origin'],
    rows: (got) => named(got.origin, 'result'),
    chart: new Chart({ title: 'Origin requests', note: 'per second, by result', kind: 'rate', order: ['answered', 'missing'], colour: (name, at) => (name === 'answered' ? '--one' : name === 'missing' ? '--bypass' : TROUBLE[at % TROUBLE.length]) }),
  },
  {
    needs: ['sent', 'fetched'],
    rows: (got) => [...single(got.sent, 'to clients'), ...single(got.fetched, 'from origins')],
    chart: new Chart({ title: 'Bandwidth', note: 'bodies', kind: 'bytes', order: ['to clients', 'from origins'], colour: (name) => (name === 'to clients' ? '--hit' : '--miss') }),
  },
  {
    needs: ['queue'],
    rows: (got) => named(got.queue, 'queue'),
    chart: new Chart({ title: 'Queue', note: 'longest of all; alert above 100', kind: 'count', threshold: 100, colour: (_, at) => SERIES[at % SERIES.length] }),
  },
];

// ---- tiles -----------------------------------------------------------------------------------------------

const last = (values) => values?.findLast((value) => value != null) ?? null;
const total = (rows) => rows[0]?.values.map((_, at) => {
  const here = rows.map((row) => row.values[at]).filter((value) => value != null);
  return here.length ? here.reduce((sum, value) => sum + value, 0) : null;
});

function tile(name, kind, value, note, extra, state) {
  const made = el('div', `tile ${state ?? ''}`);
  made.append(el('p', 'tile-name', name));
  const shown = el('p', 'tile-value');
  if (value == null || Number.isNaN(value)) {
    shown.textContent = '–';
  } else {
    const [number, unit] = units[kind](value);
    shown.append(number, el('small', '', unit));
  }
  made.append(shown, el('p', 'tile-note', note));
  if (extra) made.append(extra);
  return made;
}

function drawTiles(got, targets) {
  const requests = total(got.outcomes ?? []) ?? [];
  const errors = last(got.outcomes?.find((row) => row.labels.outcome === 'error')?.values);
  const rate = last(requests);
  const failing = rate > 0 && errors > 0 ? errors / rate : 0;
  const ratio = last(got.ratio?.[0]?.values);
  const p95 = last(got.p95?.[0]?.values);
  const p50 = last(got.p50?.[0]?.values);
  const sent = last(got.sent?.[0]?.values);
  const cached = last(got.sentCached?.[0]?.values) ?? (sent == null ? null : 0);
  const fetched = last(got.fetched?.[0]?.values);
  const up = targets.filter((target) => target.health === 'up').length;
  const down = targets.filter((target) => target.health === 'down').length;
  const pips = el('div', 'pips');
  for (const target of targets.slice(0, 40)) {
    const pip = el('span', `pip ${target.health === 'up' ? 'is-good' : target.health === 'down' ? 'is-bad' : ''}`);
    pip.title = `${target.labels.instance ?? target.scrapeUrl}: ${target.health}`;
    pips.append(pip);
  }
  const fleet = tile('Targets up', 'count', targets.length ? up : null, down ? `${down} down` : !targets.length ? 'no targets' : up === targets.length ? 'all of them' : 'waiting for the first scrape', pips, down ? 'is-bad' : '');
  if (targets.length) fleet.querySelector('small').textContent = `/ ${targets.length}`;
  $('tiles').replaceChildren(
    tile('Requests', 'rate', rate, rate == null ? 'no traffic measured' : failing > 0 ? `${text('share', failing)} errors` : 'no errors', spark(requests), failing > 0.05 ? 'is-bad' : ''),
    tile('Hit ratio', 'share', ratio, ratio == null ? 'no cacheable traffic' : 'of cacheable requests', spark(got.ratio?.[0]?.values ?? []), ratio != null && ratio < 0.8 ? 'is-warn' : ''),
    tile('Latency p95', 'seconds', p95, p50 == null ? 'no requests' : `median ${text('seconds', p50)}`, spark(got.p95?.[0]?.values ?? []), p95 > 2 ? 'is-warn' : ''),
    tile('From cache', 'bytes', cached, sent == null ? 'nothing sent' : `${text('share', sent > 0 ? cached / sent : 0)} · origins ${text('bytes', fetched ?? 0)}`, spark(got.sentCached?.[0]?.values ?? [])),
    fleet,
  );
}

// ---- alerts, targets -------------------------------------------------------------------------------------

function drawAlerts(groups, now) {
  const rules = groups.flatMap((group) => group.rules);
  const alerts = rules.filter((rule) => rule.type === 'alerting').flatMap((rule) => rule.alerts.map((alert) => ({ ...alert, hold: rule.duration })));
  const weight = { critical: 0, warning: 1 };
  const rank = (alert) => (alert.state === 'firing' ? 0 : 10) + (weight[alert.labels.severity] ?? 2);
  alerts.sort((a, b) => rank(a) - rank(b) || Date.parse(a.activeAt) - Date.parse(b.activeAt));
  const failing = rules.filter((rule) => rule.health === 'err');
  const firing = alerts.filter((alert) => alert.state === 'firing').length;
  $('alerts-count').textContent = alerts.length ? `${firing} firing, ${alerts.length - firing} pending` : '';
  const items = alerts.map((alert) => alertCard(alert, now));
  if (!items.length) {
    const calm = el('p', 'calm');
    const waiting = rules.every((rule) => rule.health === 'unknown');
    if (waiting) calm.append(rules.length ? `${rules.length} rules wait for their first evaluation.` : 'No rules are loaded.');
    else calm.append(el('strong', '', 'All quiet.'), ` ${rules.length} rules, none firing or pending.`);
    items.push(calm);
  }
  for (const rule of failing) {
    const fault = el('p', 'fault');
    fault.append(el('strong', '', `Rule ${rule.name} cannot be evaluated: `), rule.lastError ?? '');
    items.push(fault);
  }
  // Whoever is filling in a form is not disturbed.
  if (!$('alerts').querySelector('details[open]')) $('alerts').replaceChildren(...items);
  return firing;
}

function alertCard(alert, now) {
  const card = el('article', `alert ${alert.state === 'firing' ? 'is-firing' : ''}`);
  const head = el('div', 'alert-head');
  const active = (now - Date.parse(alert.activeAt)) / 1000;
  const since = alert.state === 'firing' ? `for ${span(active)}` : `fires in ${span(Math.max(0, alert.hold - active))}`;
  head.append(el('span', 'badge', alert.state), el('span', 'alert-name', alert.labels.alertname), el('span', 'quiet', alert.labels.severity), el('span', 'alert-since', since));
  card.append(head, el('p', '', alert.annotations.summary ?? alert.annotations.description ?? ''));
  const labels = el('p', 'alert-labels');
  for (const [name, value] of Object.entries(alert.labels)) {
    if (name !== 'alertname' && name !== 'severity') labels.append(el('span', 'mono', `${name}=${value}`));
  }
  const book = alert.annotations.runbook_url;
  if (book && /^https?:\/\//.test(book)) {
    const link = el('a', '', 'runbook');
    link.href = book;
    link.rel = 'noopener noreferrer';
    labels.append(link);
  } else if (book) {
    labels.append(el('span', 'mono', book));
  }
  if (labels.children.length) card.append(labels);
  card.append(silenceForm(alert.labels, refresh));
  return card;
}

function drawTargets(targets, now) {
  const order = { down: 0, unknown: 1, up: 2 };
  const sorted = [...targets].sort((a, b) => order[a.health] - order[b.health] || a.scrapeUrl.localeCompare(b.scrapeUrl));
  const rows = sorted.map((target) => {
    const row = el('tr');
    const cell = (className, content, label) => {
      const made = el('td', className, content);
      if (label && content) made.dataset.label = label;
      row.append(made);
      return made;
    };
    const waiting = target.health === 'unknown';
    const state = cell('state');
    state.append(el('span', `dot ${{ up: 'is-good', down: 'is-bad' }[target.health] ?? ''}`), waiting ? 'waiting' : target.health);
    cell('mono wrap', target.labels.instance ?? '').title = target.scrapeUrl;
    cell('', target.labels.job ?? '');
    cell('number', waiting ? '' : ago(Date.parse(target.lastScrape), now));
    cell('number', waiting ? '' : text('seconds', target.lastScrapeDuration), 'took');
    cell('number', waiting || target.health === 'down' ? '' : text('count', target.lastSamples), 'samples');
    cell('wrap wide fault', target.lastError);
    return row;
  });
  if (!rows.length) {
    const row = el('tr');
    const cell = el('td', 'empty', 'No targets. Start the sidecar with --target URL, or list targets in its configuration.');
    cell.colSpan = 7;
    row.append(cell);
    rows.push(row);
  }
  $('targets').tBodies[0].replaceChildren(...rows);
  $('targets-count').textContent = targets.length ? String(targets.length) : '';
}

function drawVerdict(state, words) {
  const verdict = $('verdict');
  if (verdict.lastElementChild.textContent === words && verdict.classList.contains(state)) return;
  verdict.className = `verdict ${state}`;
  verdict.lastElementChild.textContent = words;
}

function drawStatus(status, firing) {
  const { targets, series } = status;
  const [size, unit] = units.size(series.bytes);
  const held = series.oldest ? span((Date.parse(status.now) - Date.parse(series.oldest)) / 1000) : 'nothing';
  $('footprint').textContent = `millrace-sidecar ${status.version} · up ${span(status.uptimeSeconds)} · ${text('count', series.held)} series, ${held} of history in ${size} ${unit} · every ${status.scrapeIntervalSeconds} s`;
  if (firing) drawVerdict('is-bad', `${firing} alert${firing > 1 ? 's' : ''} firing`);
  else if (targets.down) drawVerdict('is-warn', `${targets.down} target${targets.down > 1 ? 's' : ''} down`);
  else if (status.alerts.pending) drawVerdict('is-warn', `${status.alerts.pending} alert${status.alerts.pending > 1 ? 's' : ''} pending`);
  else if (targets.waiting) drawVerdict('', 'Waiting for the first scrape');
  else drawVerdict('is-good', 'All is well');
  const silent = status.receivers.filter((receiver) => receiver.lastError);
  document.title = firing ? `(${firing}) Millrace · operations` : 'Millrace · operations';
  return silent;
}

// ---- refresh ---------------------------------------------------------------------------------------------

async function refresh() {
  if (view.busy || document.hidden) return;
  view.busy = true;
  try {
    const [status, targets, groups, silences] = await Promise.all([api.status(), api.targets(), api.rules(), api.silences()]);
    const now = Date.parse(status.now);
    const times = stepsUntil(now / 1000, status);
    const step = times[1] - times[0];
    const window = `${Math.max(4 * status.scrapeIntervalSeconds, 30, step)}s`;
    const names = Object.keys(QUERIES);
    const answers = await Promise.allSettled(names.map((name) => api.range(QUERIES[name](window), times)));
    const got = {};
    const failed = {};
    answers.forEach((answer, at) => {
      if (answer.status === 'fulfilled') got[names[at]] = answer.value;
      else failed[names[at]] = answer.reason;
    });
    if (answers.every((answer) => answer.status === 'rejected' && !answer.reason.answered)) throw answers[0].reason;
    const firing = drawAlerts(groups, now);
    drawSilences(silences, now, refresh);
    drawStatus(status, firing);
    drawTiles(got, targets);
    drawTargets(targets, now);
    drawCharts(got, failed, times, targets);
    $('clock').textContent = clock(now / 1000);
    view.lastGood = now;
    $('offline').hidden = true;
    document.body.classList.remove('is-stale-view');
  } catch (error) {
    const since = view.lastGood ? ` since ${clock(view.lastGood / 1000)}; what you see is from then` : '';
    $('offline').textContent = `The sidecar does not answer${since}. (${error.name === 'TimeoutError' ? 'timed out' : error.message})`;
    $('offline').hidden = false;
    document.body.classList.add('is-stale-view');
    drawVerdict('is-bad', 'No answer from the sidecar');
  } finally {
    view.busy = false;
  }
}

/** Multiples of the step, so that a refresh moves the plot instead of redrawing it differently. */
function stepsUntil(now, { series, scrapeIntervalSeconds }) {
  const history = series.oldest ? now - Date.parse(series.oldest) / 1000 : 0;
  const range = Math.min(view.range, Math.max(history, LEAST_RANGE));
  const step = Math.max(scrapeIntervalSeconds, Math.ceil(range / POINTS));
  const end = Math.floor(now / step) * step;
  const times = [];
  for (let at = end - Math.floor(range / step) * step; at <= end; at += step) times.push(at);
  return times;
}

function drawCharts(got, failed, times, targets) {
  const servers = targets.filter((target) => target.labels.job !== 'millrace-sidecar');
  const waiting = servers.length > 0 && servers.every((target) => target.health === 'unknown');
  const down = servers.length > 0 && servers.every((target) => target.health === 'down');
  for (const { needs, rows, chart } of CHARTS) {
    const broken = needs.find((name) => failed[name]);
    if (broken) { chart.say('This query failed', failed[broken].message); continue; }
    const found = rows(got);
    const measured = found.some((row) => row.values.some((value) => value != null));
    if (!measured && !servers.length) chart.say('No server is being scraped');
    else if (!measured && waiting) chart.say('Waiting for the first scrape');
    else if (!measured && down) chart.say('No server answers', servers[0].lastError);
    else chart.show(times, found);
  }
}

// ---- query -----------------------------------------------------------------------------------------------

async function explore(query) {
  const result = $('explore-result');
  if (!query.trim()) return result.replaceChildren();
  try {
    const answer = await api.instant(query);
    result.replaceChildren(resultTable(answer));
  } catch (error) {
    result.replaceChildren(el('p', 'fault', error.message));
  }
}

const MAX_ROWS = 200;

function resultTable({ resultType, result }) {
  const single = resultType === 'scalar' || resultType === 'string';
  const rows = single ? [{ metric: {}, value: result }] : result;
  if (!rows.length) return el('p', 'quiet', 'Empty: no series match.');
  const frame = el('div', 'table-frame');
  const table = el('table', 'table');
  const body = el('tbody');
  for (const { metric, value, values } of rows.slice(0, MAX_ROWS)) {
    const row = el('tr');
    const { __name__: name = '', ...labels } = metric;
    const pairs = Object.entries(labels).map(([key, value]) => `${key}="${value}"`).join(', ');
    row.append(el('td', 'mono wrap', pairs || !name ? `${name}{${pairs}}` : name));
    row.append(el('td', 'mono number', value ? value[1] : `${values.length} samples, last ${values.at(-1)?.[1]}`));
    body.append(row);
  }
  table.append(body);
  frame.append(table);
  if (rows.length > MAX_ROWS) frame.append(el('p', 'quiet empty', `${rows.length - MAX_ROWS} more not shown`));
  return frame;
}

function exploreFromAddress() {
  const query = new URLSearchParams(location.hash.slice(1)).get('query');
  if (!query) return;
  $('query').value = query;
  explore(query);
  $('explore').scrollIntoView();
}

// ---- start -----------------------------------------------------------------------------------------------

for (const [name, seconds] of RANGES) {
  const button = el('button', '', name);
  button.type = 'button';
  button.setAttribute('aria-pressed', String(seconds === view.range));
  button.addEventListener('click', () => {
    view.range = seconds;
    for (const other of $('ranges').children) other.setAttribute('aria-pressed', String(other === button));
    refresh();
  });
  $('ranges').append(button);
}
$('charts').replaceChildren(...CHARTS.map(({ chart }) => chart.root));
for (const { chart } of CHARTS) chart.say('Connecting…');
drawTiles({}, []);
$('explore').addEventListener('submit', (event) => {
  event.preventDefault();
  const query = $('query').value;
  history.replaceState(null, '', `#${new URLSearchParams({ query })}`);
  explore(query);
});
addEventListener('hashchange', exploreFromAddress);
document.addEventListener('visibilitychange', refresh);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', refresh);
exploreFromAddress();
refresh();
setInterval(refresh, REFRESH_MS);
