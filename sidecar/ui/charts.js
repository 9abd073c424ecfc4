// Time-series plots on uPlot: one legend that also shows values under the pointer and switches series off, one shared cursor, a
// table behind each plot, thresholds and marks drawn in, colours from the stylesheet, and a designed state for "nothing to draw".

import { button, el, table } from './dom.js';
import { clock, text, tick } from './format.js';
import { CLOCK, POWERS, SCALES, WHOLE, drawMarks, drawThresholds, isPowerOfTen } from './paint.js';

/** Half of what a time takes: closer to the left edge it would lie on the lowest value, closer to the right one be cut off. */
const EDGE = { minutes: 16, seconds: 28 };
/** Between the right edge of what is plotted and that of the chart. */
const MARGIN = 18;
const HEIGHT = 190;
/** Entries of a legend; more are drawn, and stand in the table. */
const LEGEND = 12;
const sync = uPlot.sync('dashboard');
const all = new Set();

function times(u, splits) {
  const seconds = splits[1] - splits[0] < 60;
  const edge = seconds ? EDGE.seconds : EDGE.minutes;
  const right = u.bbox.width / devicePixelRatio + MARGIN - edge;
  return splits.map((at) => (u.valToPos(at, 'x') < edge || u.valToPos(at, 'x') > right ? null : clock(at, seconds)));
}

const probe = el('span', 'hidden');
/** As the canvas takes it: `light-dark()` and `var()` resolved. */
export function css(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

const newestOf = (values) => values.findLast((value) => value != null) ?? null;

/** Values on top of each other, first at the bottom; gaps count as nothing. */
function stacked(rows) {
  const sums = [];
  let below = null;
  for (const row of rows) {
    const over = below;
    below = row.map((value, at) => (value == null && over?.[at] == null ? null : (value ?? 0) + (over?.[at] ?? 0)));
    sums.push(below);
  }
  return sums;
}

export class Chart {
  /**
   * spec: {title, note, kind, stack?, scale?: 'share' | 'whole' | 'log', order?: [name], height?, step?,
   *        thresholds?: [{value, name, tone}], colour: (name, index) => css variable, query?}
   */
  constructor(spec) {
    this.spec = spec;
    this.thresholds = spec.thresholds ?? [];
    this.marks = [];
    this.hidden = new Set();
    this.root = el('article', 'chart');
    const head = el('div', 'chart-head');
    this.title = el('h3', '', spec.title);
    this.note = el('span', 'chart-unit', spec.note);
    this.time = el('span', 'chart-time');
    this.tools = el('span', 'chart-tools');
    this.flip = button('chart-flip', 'Table', () => this.turn());
    this.flip.setAttribute('aria-label', `${spec.title} as a table`);
    this.flip.setAttribute('aria-pressed', 'false');
    this.tools.append(this.flip);
    head.append(this.title, this.note, this.time, this.tools);
    this.legend = el('ul', 'legend');
    this.plot = el('div', 'plot');
    if (spec.height) this.plot.classList.add(`is-${spec.height}`);
    this.behind = el('div', 'plot-table');
    this.behind.hidden = true;
    this.spoken = el('p', 'hidden');
    this.spoken.setAttribute('aria-live', 'polite');
    this.root.append(head, this.legend, this.plot, this.behind, this.spoken);
    this.empty = el('div', 'plot-empty');
    this.rows = [];
    this.shape = '';
    this.plot.addEventListener('keydown', (event) => this.key(event));
    new ResizeObserver(() => this.resize()).observe(this.plot);
    all.add(this);
  }

  /** Another title. */
  name(title) {
    if (this.spec.title === title) return;
    this.spec.title = title;
    this.title.textContent = title;
    this.flip.setAttribute('aria-label', `${title} as a table`);
  }

  forget() {
    this.u?.destroy();
    this.u = null;
    all.delete(this);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (this.u && width && (width !== this.u.width || height !== this.u.height)) this.u.setSize({ width, height: height || HEIGHT });
  }

  /** Plot or table. */
  turn() {
    const asTable = this.behind.hidden;
    this.behind.hidden = !asTable;
    this.plot.hidden = asTable;
    this.flip.setAttribute('aria-pressed', String(asTable));
    if (asTable) this.drawTable();
    else this.resize();
  }

  /** rows: [{name, values}], all of the length of times. */
  show(times, rows) {
    const place = (name) => { const at = this.spec.order?.indexOf(name) ?? -1; return at < 0 ? 99 : at; };
    this.times = times;
    this.rows = rows.filter((row) => row.values.some((value) => value != null))
      .sort((a, b) => place(a.name) - place(b.name) || a.name.localeCompare(b.name, 'en', { numeric: true }));
    if (!this.rows.length) return this.say('Nothing measured in this range');
    this.empty.remove();
    const shown = this.rows.map((row) => (this.hidden.has(row.name) ? row.values.map(() => null) : row.values));
    // Nothing has no place among decades.
    const placed = this.spec.scale === 'log' ? shown.map((values) => values.map((value) => (value > 0 ? value : null))) : shown;
    const drawn = this.spec.stack ? stacked(placed) : placed;
    // uPlot draws later series over earlier ones: the tallest of a stack first.
    const order = drawn.map((_, at) => at);
    if (this.spec.stack) order.reverse();
    const data = [times, ...order.map((at) => drawn[at])];
    const shape = JSON.stringify([this.rows.map((row) => row.name), [...this.hidden], css('--ink'), this.thresholds, this.spec.stack, this.spec.scale, this.spec.kind]);
    if (this.u && shape === this.shape) {
      this.u.setData(data);
    } else {
      this.u?.destroy();
      this.shape = shape;
      this.u = new uPlot(this.options(order), data, this.plot);
      this.drawLegend();
    }
    this.drawValues();
    if (!this.behind.hidden) this.drawTable();
    const newest = this.rows.slice(0, LEGEND).map((row) => `${row.name} ${text(this.spec.kind, newestOf(row.values))}`);
    this.plot.tabIndex = 0;
    this.plot.setAttribute('role', 'img');
    this.plot.setAttribute('aria-label', `${this.spec.title}, newest: ${newest.join(', ')}. Arrow keys read values.`);
  }

  /** In place of a plot. */
  say(message, detail) {
    this.u?.destroy();
    this.u = null;
    this.shape = '';
    this.rows = [];
    this.legend.replaceChildren();
    this.behind.replaceChildren();
    this.time.textContent = '';
    this.plot.tabIndex = -1;
    this.plot.removeAttribute('role');
    this.plot.removeAttribute('aria-label');
    this.empty.replaceChildren(el('span', '', message));
    if (detail) this.empty.append(el('span', 'quiet', detail));
    this.plot.append(this.empty);
  }

  colour(at) {
    return css(this.spec.colour(this.rows[at].name, at));
  }

  options(order) {
    const { kind, stack, scale } = this.spec;
    const axis = { stroke: css('--quiet'), font: '11px system-ui, "DejaVu Sans", sans-serif', ticks: { show: false }, border: { show: false } };
    const grid = { stroke: css('--grid'), width: 1 };
    if (scale === 'log') grid.filter = (_, splits) => splits.map((value) => (isPowerOfTen(value) ? value : null));
    const series = order.map((at) => ({
      label: this.rows[at].name,
      stroke: this.colour(at),
      width: stack ? 1 : 1.6,
      fill: stack ? this.colour(at) : undefined,
      points: { show: false },
      spanGaps: false,
      ...(this.spec.step && { paths: uPlot.paths.stepped({ align: 1 }) }),
    }));
    const highest = Math.max(...this.thresholds.filter((line) => line.inRange).map((line) => line.value), 0);
    return {
      width: this.plot.clientWidth || 320,
      height: this.plot.clientHeight || HEIGHT,
      padding: [8, MARGIN, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: sync.key }, y: false, drag: { x: true, y: false, setScale: false, dist: 8 }, points: { size: 6, show: !stack } },
      scales: { y: (SCALES[scale] ?? SCALES.linear)(highest) },
      axes: [
        { ...axis, grid: { show: false }, size: 20, gap: 3, space: 50, incrs: CLOCK, values: (u, splits) => times(u, splits) },
        { ...axis, grid, size: 56, gap: 4, space: 38, ...(kind === 'count' && this.isWhole() && { incrs: WHOLE }), ...(kind === 'size' && { incrs: POWERS }), values: (_, splits) => splits.map((value) => (scale === 'log' && !isPowerOfTen(value) ? null : tick(kind, value))) },
      ],
      series: [{}, ...series],
      hooks: {
        setCursor: [() => this.drawValues()],
        setSelect: [(u) => this.zoom(u)],
        draw: [(u) => { drawThresholds(u, this.thresholds, css); drawMarks(u, this.marks, css); }],
      },
    };
  }

  /** What was dragged over is what the page shall show. */
  zoom(u) {
    const { left, width } = u.select;
    if (width < 8) return;
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    // The shared cursor tells the other plots too; only the one under the pointer speaks.
    if (!this.plot.matches(':hover')) return;
    const [from, to] = [u.posToVal(left, 'x'), u.posToVal(left + width, 'x')].map(Math.round);
    if (to > from) this.root.dispatchEvent(new CustomEvent('zoom', { bubbles: true, detail: { from, to } }));
  }

  isWhole() {
    return this.rows.every((row) => row.values.every((value) => value == null || Number.isInteger(value)));
  }

  drawLegend() {
    const items = this.rows.slice(0, LEGEND).map((row, at) => {
      const key = el('span', 'key');
      key.style.background = this.colour(at);
      const entry = button('is-legend', '', () => this.toggle(row.name));
      entry.setAttribute('aria-pressed', String(!this.hidden.has(row.name)));
      entry.title = this.hidden.has(row.name) ? 'Show' : 'Hide';
      entry.append(key, el('span', 'legend-name', row.name), el('span', 'value'));
      const item = el('li');
      item.append(entry);
      return item;
    });
    if (this.rows.length > LEGEND) items.push(el('li', 'quiet', `and ${this.rows.length - LEGEND} more, see the table`));
    this.legend.replaceChildren(...items);
  }

  toggle(name) {
    if (!this.hidden.delete(name)) this.hidden.add(name);
    this.show(this.times, this.rows);
    [...this.legend.querySelectorAll('button')].find((entry) => entry.querySelector('.legend-name').textContent === name)?.focus();
  }

  /** Under the pointer, else the newest. */
  drawValues() {
    const pointed = this.u?.cursor.idx;
    this.time.textContent = pointed == null ? '' : clock(this.times[pointed]);
    this.rows.slice(0, LEGEND).forEach((row, at) => {
      const value = pointed == null ? newestOf(row.values) : row.values[pointed];
      const shown = this.legend.children[at]?.querySelector('.value');
      if (shown) shown.textContent = text(this.spec.kind, value);
    });
  }

  drawTable() {
    const { kind } = this.spec;
    const rows = this.rows.map((row) => {
      const present = row.values.filter((value) => value != null);
      const mean = present.reduce((sum, value) => sum + value, 0) / present.length;
      return [row.name, ...[newestOf(row.values), Math.min(...present), mean, Math.max(...present)].map((value) => text(kind, value))];
    });
    const figure = (title) => ({ title, className: 'number' });
    this.behind.replaceChildren(table(`${this.spec.title}, in the range shown`, [{ title: 'Series', className: 'wrap', label: '' }, figure('newest'), figure('lowest'), figure('mean'), figure('highest')], rows));
  }

  /** Arrow keys move the cursor and say what is there. */
  key(event) {
    if (!this.u || !this.times) return;
    const last = this.times.length - 1;
    const at = this.u.cursor.idx;
    const to = { ArrowLeft: (at ?? last + 1) - 1, ArrowRight: (at ?? last - 1) + 1, Home: 0, End: last }[event.key];
    if (event.key === 'Escape') this.u.setCursor({ left: -10, top: -10 });
    if (to == null) return;
    event.preventDefault();
    const place = Math.min(last, Math.max(0, to));
    this.u.setCursor({ left: this.u.valToPos(this.times[place], 'x'), top: 10 });
    const values = this.rows.slice(0, LEGEND).map((row) => `${row.name} ${text(this.spec.kind, row.values[place])}`);
    this.spoken.textContent = `${clock(this.times[place])}: ${values.join(', ')}`;
  }
}

/** After the colours have changed. */
export function repaint() {
  for (const chart of all) if (chart.u) chart.show(chart.times, chart.rows);
}
