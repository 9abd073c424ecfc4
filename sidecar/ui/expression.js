// One expression of Explore: where it is typed, what is wrong with it, its plot over the range and its values of now.

import * as api from './api.js';
import { Chart } from './charts.js';
import { complete } from './complete.js';
import { box, button, el, nothing, renew, table } from './dom.js';
import { clock, pairs, plural } from './format.js';
import { inTurn } from './panels.js';
import { blamed } from './promql.js';

const MAX_ROWS = 200;
/** Lines in a plot; nobody tells more apart. */
const MAX_LINES = 50;

const seriesName = ({ __name__: name = '', ...labels }) => (Object.keys(labels).length || !name ? `${name}{${pairs(labels)}}` : name);

/** The kind of number that an expression most likely yields, by the unit in the metric's name. */
function kindOf(expr) {
  if (/quantile\(.*_seconds_bucket/s.test(expr)) return 'seconds';
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

function resultTable({ resultType, result }, caption) {
  const one = resultType === 'scalar' || resultType === 'string';
  const rows = one ? [{ metric: {}, value: result }] : result;
  if (!rows.length) return nothing('Empty result', 'No series match at this moment. Check names and labels, or widen the range in brackets.');
  const made = table(caption, [{ title: 'Series', className: 'mono wrap wide', label: '' }, { title: 'Value', className: 'mono number', label: '' }], rows.slice(0, MAX_ROWS)
    .map(({ metric, value, values }) => [one ? resultType : seriesName(metric), value ? value[1] : `${plural(values.length, 'sample')}, last ${values.at(-1)?.[1]}`]));
  if (rows.length > MAX_ROWS) made.append(el('p', 'quiet more', `${rows.length - MAX_ROWS} more are not shown`));
  return made;
}

let made = 0;

export class Expression {
  /** `submitted(expression)`, `removed(expression)`, and `again()` asks anew. */
  constructor({ submitted, removed, again }) {
    this.id = made++;
    this.expr = '';
    this.again = again;
    this.field = el('textarea', 'mono');
    Object.assign(this.field, { id: this.id ? `query-${this.id}` : 'query', rows: 1, spellcheck: false, placeholder: 'sum by (outcome) (rate(millrace_cache_requests_total[5m]))' });
    for (const [name, value] of [['autocapitalize', 'off'], ['autocomplete', 'off'], ['aria-describedby', 'query-help']]) this.field.setAttribute(name, value);
    this.label = el('label', 'hidden');
    this.label.htmlFor = this.field.id;
    const list = el('ul');
    list.id = `suggestions-${this.id}`;
    const submit = button('is-primary', 'Evaluate');
    submit.type = 'submit';
    this.stack = button('', 'Stack', () => this.turn('stack', !this.chart.spec.stack));
    this.log = button('', 'Log', () => this.turn('scale', this.chart.spec.scale ? undefined : 'log'));
    this.log.title = 'Logarithmic scale';
    this.remove = button('', 'Remove', () => removed(this));
    this.form = box('form', 'explore', this.label, box('div', 'explore-field', this.field, list), box('div', 'actions', submit, this.stack, this.log, button('', 'Format', () => this.tidy()), this.remove));
    this.failed = el('div');
    this.failed.setAttribute('role', 'alert');
    this.cost = el('p', 'quiet cost');
    this.chart = new Chart({ title: '', note: '', kind: 'count', colour: inTurn, height: 'tall' });
    this.result = el('div');
    this.moment = el('summary', '', 'Now');
    this.values = box('details', 'values', this.moment, this.result);
    this.values.open = true;
    this.shown = box('div', 'stack', this.chart.root, this.values);
    this.shown.hidden = true;
    this.root = box('section', 'expression', this.form, this.failed, this.cost, this.shown);
    for (const one of [this.stack, this.log]) one.setAttribute('aria-pressed', 'false');

    const { close } = complete(this.field, list);
    const submitting = () => { close(); submitted(this); };
    this.form.addEventListener('submit', (event) => { event.preventDefault(); submitting(); });
    this.field.addEventListener('input', () => this.grow());
    this.field.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey) return;
      event.preventDefault();
      submitting();
    });
  }

  /** Which of how many it is: those of several bear numbers, and are lower. */
  place(at, of) {
    const number = of > 1 ? ` ${at + 1}` : '';
    this.label.textContent = `PromQL expression${number}`;
    this.chart.name(`Over the range${number && `,${number}`}`);
    this.caption = `Result${number} now`;
    this.remove.hidden = of < 2;
    this.remove.setAttribute('aria-label', `Remove expression${number}`);
    if (this.several !== of > 1) this.values.open = of < 2;
    this.several = of > 1;
    this.chart.plot.classList.toggle('is-tall', of < 2);
  }

  set(wanted) {
    if (wanted !== this.expr || !this.field.value) this.field.value = wanted;
    this.expr = wanted.trim();
    this.grow();
  }

  /** How the plot is drawn: values on top of each other, or their decades; not both, as heights of decades do not add up. */
  turn(what, on) {
    const { spec } = this.chart;
    Object.assign(spec, { stack: false, scale: undefined, [what]: on });
    this.stack.setAttribute('aria-pressed', String(Boolean(spec.stack)));
    this.log.setAttribute('aria-pressed', String(Boolean(spec.scale)));
    this.again();
  }

  grow() {
    this.field.rows = Math.min(8, this.field.value.split('\n').length);
    this.field.style.height = 'auto';
    this.field.style.height = `${Math.min(this.field.scrollHeight + 2, 220)}px`;
  }

  async tidy() {
    try {
      this.field.value = await api.formatted(this.field.value);
      this.grow();
    } catch (error) {
      this.failed.replaceChildren(fault(this.field.value, error.message));
    }
  }

  /** `times` are the moments of the plot, `at` that of the table, if it is not now. */
  async refresh(times, at) {
    this.shown.hidden = !this.expr;
    if (!this.expr) { this.cost.textContent = ''; this.failed.replaceChildren(); return; }
    const begun = performance.now();
    const asked = this.expr;
    const [now, over] = await Promise.allSettled([api.instant(asked, at), api.range(asked, times)]);
    if (asked !== this.expr) return;
    const broken = [now, over].find((answer) => answer.status === 'rejected');
    if (broken && !broken.reason.answered) throw broken.reason;
    const took = performance.now() - begun;
    // A range vector has no plot of its own; that is no fault.
    const plain = now.status === 'fulfilled';
    this.failed.replaceChildren(...(plain ? [] : [fault(asked, now.reason.message)]));
    this.shown.hidden = !plain;
    this.cost.textContent = plain ? `${plural(now.value.resultType === 'scalar' ? 1 : now.value.result.length, 'series', 'series')}, answered in ${took.toFixed(0)} ms · a point each ${times[1] - times[0]} s` : '';
    if (!plain) return;
    this.moment.textContent = at ? `At ${clock(at)}` : 'Now';
    renew(this.result, resultTable(now.value, this.caption));
    if (over.status === 'rejected') this.chart.say('Only a table: this is no plot', over.reason.message);
    else this.draw(times, over.value);
  }

  draw(times, found) {
    this.chart.spec.kind = kindOf(this.expr);
    const rows = found.map((row) => ({ name: seriesName(row.labels), values: row.values }));
    const most = (row) => row.values.reduce((high, value) => Math.max(high, value ?? -Infinity), -Infinity);
    if (rows.length > MAX_LINES) rows.sort((a, b) => most(b) - most(a));
    this.chart.note.textContent = rows.length > MAX_LINES ? `the ${MAX_LINES} highest of ${rows.length} series` : plural(rows.length, 'series', 'series');
    this.chart.show(times, rows.slice(0, MAX_LINES));
  }

  forget() {
    this.chart.forget();
  }
}
