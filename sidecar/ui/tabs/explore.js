// Explore: any PromQL, as a plot over the range and as a table of now.

import * as api from '../api.js';
import { Chart } from '../charts.js';
import { complete } from '../complete.js';
import { box, button, el, link, nothing, renew, table } from '../dom.js';
import { clock, pairs, plural } from '../format.js';
import { inTurn } from '../panels.js';
import { blamed } from '../promql.js';

const MAX_ROWS = 200;
/** Lines in a plot; nobody tells more apart. */
const MAX_LINES = 50;
const KEPT = 12;
const EXAMPLES = [
  ['Requests by outcome', 'sum by (outcome) (rate(millrace_cache_requests_total[1m]))'],
  ['p95 by route', 'histogram_quantile(0.95, sum by (http_route, le) (rate(http_server_request_duration_seconds_bucket[5m])))'],
  ['Bytes held by tier', 'sum by (tier) (millrace_cache_tier_bytes)'],
  ['Slowest targets', 'topk(5, scrape_duration_seconds)'],
];

function recent() {
  try { return JSON.parse(localStorage.getItem('queries') ?? '[]').filter((query) => typeof query === 'string'); } catch { return []; }
}

function remember(query) {
  const list = [query, ...recent().filter((known) => known !== query)].slice(0, KEPT);
  try { localStorage.setItem('queries', JSON.stringify(list)); } catch { /* Not remembered, then. */ }
}

const seriesName = ({ __name__: name = '', ...labels }) => (Object.keys(labels).length || !name ? `${name}{${pairs(labels)}}` : name);

/** The kind of number that an expression most likely yields, by the unit in the metric's name. */
function kindOf(expr) {
  if (/quantile\([^)]*_seconds_bucket/.test(expr)) return 'seconds';
  const rate = /\b(?:i?rate|irate)\s*\(/.test(expr);
  if (/\/.*\b(?:sum|rate|count)/s.test(expr)) return 'count';
  if (/_bytes/.test(expr)) return rate ? 'bytes' : 'size';
  if (rate) return 'rate';
  return /_seconds\b/.test(expr) && !/_timestamp_seconds/.test(expr) ? 'seconds' : 'count';
}

function fault(expr, message) {
  const place = blamed(expr, message);
  const shown = el('pre', 'blame mono');
  if (place) shown.append(expr.slice(0, place[0]), box('mark', '', expr.slice(...place)), expr.slice(place[1]));
  const words = message === 'invalid promql query' ? 'This is no PromQL expression' : message;
  return box('div', 'fault-box', box('p', 'fault', el('strong', '', words)), place ? shown : null);
}

function resultTable({ resultType, result }) {
  const one = resultType === 'scalar' || resultType === 'string';
  const rows = one ? [{ metric: {}, value: result }] : result;
  if (!rows.length) return nothing('Empty result', 'No series match at this moment. Check names and labels, or widen the range in brackets.');
  const made = table('Result now', [{ title: 'Series', className: 'mono wrap wide', label: '' }, { title: 'Value', className: 'mono number', label: '' }], rows.slice(0, MAX_ROWS)
    .map(({ metric, value, values }) => [one ? resultType : seriesName(metric), value ? value[1] : `${plural(values.length, 'sample')}, last ${values.at(-1)?.[1]}`]));
  if (rows.length > MAX_ROWS) made.append(el('p', 'quiet more', `${rows.length - MAX_ROWS} more are not shown`));
  return made;
}

function open(root, { refresh: again }) {
  const field = el('textarea', 'mono');
  Object.assign(field, { id: 'query', rows: 1, spellcheck: false, placeholder: 'sum by (outcome) (rate(millrace_cache_requests_total[5m]))' });
  for (const [name, value] of [['autocapitalize', 'off'], ['autocomplete', 'off'], ['aria-describedby', 'query-help']]) field.setAttribute(name, value);
  const label = el('label', 'hidden', 'PromQL expression');
  label.htmlFor = 'query';
  const list = el('ul');
  list.id = 'suggestions';
  const submit = button('is-primary', 'Evaluate');
  submit.type = 'submit';
  const format = button('', 'Format', tidy);
  const stack = button('', 'Stack', () => {
    chart.spec.stack = !chart.spec.stack;
    stack.setAttribute('aria-pressed', String(chart.spec.stack));
    again();
  });
  stack.setAttribute('aria-pressed', 'false');
  const form = box('form', 'explore', label, box('div', 'explore-field', field, list), box('div', 'actions', submit, stack, format));
  const help = el('p', 'quiet', 'Enter evaluates, Shift+Enter breaks the line, Ctrl+Space suggests. Drag over a plot to look closer.');
  help.id = 'query-help';
  const failed = el('div');
  failed.setAttribute('role', 'alert');
  const cost = el('p', 'quiet cost');
  const chart = new Chart({ title: 'Over the range', note: '', kind: 'count', colour: inTurn, height: 'tall' });
  const result = el('div');
  const moment = el('h2', '', 'Now');
  const shown = box('div', 'stack', chart.root, box('section', '', moment, result));
  const start = el('div');
  root.append(box('section', '', el('h2', 'hidden', 'Expression'), form, help, failed, cost), start, shown);
  let expr = '';
  const { close } = complete(field, list);

  function grow() {
    field.rows = Math.min(8, field.value.split('\n').length);
    field.style.height = 'auto';
    field.style.height = `${Math.min(field.scrollHeight + 2, 220)}px`;
  }

  function submitted() {
    close();
    const wanted = field.value.trim();
    if (wanted) remember(wanted);
    const address = new URLSearchParams(location.hash.split('?')[1] ?? '');
    address.set('expr', wanted);
    const target = `/#/explore?${address}`;
    if (location.pathname + location.hash === target) again();
    else location.href = target;
  }

  async function tidy() {
    try {
      const answer = await fetch(`/api/v1/format_query?${new URLSearchParams({ query: field.value })}`);
      const body = await answer.json();
      if (body.status !== 'success') throw new Error(body.error);
      field.value = body.data;
      grow();
    } catch (error) {
      failed.replaceChildren(fault(field.value, error.message));
    }
  }

  form.addEventListener('submit', (event) => { event.preventDefault(); submitted(); });
  field.addEventListener('input', grow);
  field.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey) return;
    event.preventDefault();
    submitted();
  });

  function drawStart() {
    const cards = (title, entries) => box('section', '', el('h2', '', title), box('ul', 'queries', ...entries.map(([name, query]) => {
      const made = link(`/#/explore?${new URLSearchParams({ expr: query })}`, '', 'query-card');
      made.append(...(name ? [el('strong', '', name)] : []), el('code', '', query));
      return box('li', '', made);
    })));
    const own = recent().map((query) => ['', query]);
    start.replaceChildren(...(own.length ? [cards('Asked before on this browser', own)] : []), cards('To begin with', EXAMPLES));
  }

  async function refresh(ctx) {
    shown.hidden = !expr;
    start.hidden = Boolean(expr);
    if (!expr) { cost.textContent = ''; failed.replaceChildren(); drawStart(); return; }
    const begun = performance.now();
    const asked = expr;
    const [now, over] = await Promise.allSettled([api.instant(expr, ctx.at), ctx.range(expr)]);
    if (asked !== expr) return;
    const broken = [now, over].find((answer) => answer.status === 'rejected');
    if (broken && !broken.reason.answered) throw broken.reason;
    const took = performance.now() - begun;
    // A range vector has no plot of its own; that is no fault.
    const plain = now.status === 'fulfilled';
    failed.replaceChildren(...(plain ? [] : [fault(expr, now.reason.message)]));
    shown.hidden = !plain;
    cost.textContent = plain ? `${plural(now.value.resultType === 'scalar' ? 1 : now.value.result.length, 'series', 'series')}, answered in ${took.toFixed(0)} ms · a point each ${ctx.step} s` : '';
    if (!plain) return;
    moment.textContent = ctx.at ? `At ${clock(ctx.at)}` : 'Now';
    renew(result, resultTable(now.value));
    chart.spec.kind = kindOf(expr);
    if (over.status === 'rejected') chart.say('Only a table: this is no plot', over.reason.message);
    else {
      const rows = over.value.map((row) => ({ name: seriesName(row.labels), values: row.values }));
      const most = (row) => row.values.reduce((high, value) => Math.max(high, value ?? -Infinity), -Infinity);
      if (rows.length > MAX_LINES) rows.sort((a, b) => most(b) - most(a));
      chart.note.textContent = rows.length > MAX_LINES ? `the ${MAX_LINES} highest of ${rows.length} series` : plural(rows.length, 'series', 'series');
      chart.show(ctx.times, rows.slice(0, MAX_LINES));
    }
  }

  function at(parameters) {
    const wanted = parameters.get('expr') ?? '';
    if (wanted !== expr || !field.value) field.value = wanted;
    expr = wanted.trim();
    grow();
  }

  return { refresh, at, close: () => chart.forget() };
}

export default { id: 'explore', title: 'Explore', open };
