// Explore: any PromQL, one expression below the other, at one raster of times, so that they can be read beside each other.

import { box, button, el, field, link, select } from '../dom.js';
import { Expression } from '../expression.js';
import { span } from '../format.js';

/** Expressions at a time. */
const MOST = 8;
const KEPT = 12;
const STEPS = [5, 15, 60, 300, 900, 3600];
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

const cards = (title, entries) => box('section', '', el('h2', '', title), box('ul', 'queries', ...entries.map(([name, query]) => {
  const made = link(`/#/explore?${new URLSearchParams({ expr: query })}`, '', 'query-card');
  made.append(...(name ? [el('strong', '', name)] : []), el('code', '', query));
  return box('li', '', made);
})));

function open(root, { refresh: again }) {
  const list = el('div', 'expressions');
  const help = el('p', 'quiet', 'Enter evaluates, Shift+Enter breaks the line, Ctrl+Space suggests. Drag over a plot to look closer.');
  help.id = 'query-help';
  const step = select([['auto', ''], ...STEPS.map((seconds) => [span(seconds), String(seconds)])]);
  const add = button('', 'Add an expression', () => { place([...wanted(), '']); });
  const start = el('div');
  const chosen = field('Step', step);
  const foot = box('div', 'explore-foot', add, help, chosen);
  root.append(box('section', '', el('h2', 'hidden', 'Expressions'), list), foot, start);
  const shown = [];

  const parameters = () => new URLSearchParams(location.hash.split('?')[1] ?? '');
  const wanted = () => shown.map((one) => one.expr);

  /** The address says what is shown; asks anew when it says so already. */
  function place(expressions) {
    const address = parameters();
    address.delete('expr');
    for (const expr of expressions) address.append('expr', expr);
    if (step.value) address.set('step', step.value);
    else address.delete('step');
    const target = `/#/explore?${address}`;
    if (location.pathname + location.hash === target) again();
    else location.href = target;
  }

  function submitted(one) {
    const expr = one.field.value.trim();
    if (expr) remember(expr);
    place(shown.map((other) => (other === one ? expr : other.expr)));
  }

  function removed(one) {
    const at = shown.indexOf(one);
    take(at);
    place(wanted());
    shown[Math.min(at, shown.length - 1)].field.focus();
  }

  function take(at) {
    const [gone] = shown.splice(at, 1);
    gone.root.remove();
    gone.forget();
  }

  step.addEventListener('change', () => place(wanted()));

  async function refresh(ctx) {
    const some = shown.some((one) => one.expr);
    start.hidden = some;
    if (!some) {
      const own = recent().map((query) => ['', query]);
      start.replaceChildren(...(own.length ? [cards('Asked before on this browser', own)] : []), cards('To begin with', EXAMPLES));
    }
    const times = ctx.raster(Number(step.value));
    const answers = await Promise.allSettled(shown.map((one) => one.refresh(times, ctx.at)));
    const broken = answers.find((answer) => answer.status === 'rejected');
    if (broken) throw broken.reason;
  }

  function at(asked) {
    const expressions = asked.getAll('expr').slice(0, MOST);
    if (!expressions.length) expressions.push('');
    const begun = shown.length > 0;
    while (shown.length > expressions.length) take(shown.length - 1);
    while (shown.length < expressions.length) {
      const one = new Expression({ submitted, removed, again });
      shown.push(one);
      list.append(one.root);
      if (begun) one.field.focus();
    }
    expressions.forEach((expr, place) => { shown[place].place(place, expressions.length); shown[place].set(expr); });
    step.value = STEPS.includes(Number(asked.get('step'))) ? asked.get('step') : '';
    chosen.hidden = !expressions.some(Boolean);
    add.hidden = expressions.length >= MOST || expressions.includes('');
  }

  return { refresh, at, close: () => shown.forEach((one) => one.forget()) };
}

export default { id: 'explore', title: 'Explore', open };
