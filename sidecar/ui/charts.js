// Time-series plots on uPlot: one legend that also shows values under the pointer, one shared cursor, colours from the
// stylesheet, and a designed state for "nothing to draw".

import { clock, text, tick } from './format.js';

const HEIGHT = 190;
const sync = uPlot.sync('dashboard');
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(tag, className, content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content != null) made.textContent = content;
  return made;
}

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
   * spec: {title, note, kind, stack?, scale?: 'share' | 'log', threshold?, order?: [name],
   *        colour: (name, index) => css variable}
   */
  constructor(spec) {
    this.spec = spec;
    this.root = element('article', 'chart');
    const head = element('div', 'chart-head');
    this.time = element('span', 'chart-time');
    head.append(element('h3', '', spec.title), element('span', 'chart-unit', spec.note), this.time);
    this.legend = element('ul', 'legend');
    this.plot = element('div', 'plot');
    this.root.append(head, this.legend, this.plot);
    this.empty = element('div', 'plot-empty');
    this.rows = [];
    this.shape = '';
    new ResizeObserver(() => this.resize()).observe(this.plot);
  }

  resize() {
    const width = this.plot.clientWidth;
    if (this.u && width && width !== this.u.width) this.u.setSize({ width, height: HEIGHT });
  }

  /** rows: [{name, values}], all of the length of times. */
  show(times, rows) {
    const place = (name) => { const at = this.spec.order?.indexOf(name) ?? -1; return at < 0 ? 99 : at; };
    this.times = times;
    this.rows = rows.filter((row) => row.values.some((value) => value != null))
      .sort((a, b) => place(a.name) - place(b.name) || a.name.localeCompare(b.name));
    if (!this.rows.length) return this.say('Nothing measured in this range');
    this.empty.remove();
    const rowsOnly = this.rows.map((row) => row.values);
    const drawn = this.spec.stack ? stacked(rowsOnly) : rowsOnly;
    // uPlot draws later series over earlier ones: the tallest of a stack first.
    const order = drawn.map((_, at) => at);
    if (this.spec.stack) order.reverse();
    const data = [times, ...order.map((at) => drawn[at])];
    const shape = JSON.stringify([this.rows.map((row) => row.name), matchMedia('(prefers-color-scheme: dark)').matches]);
    if (this.u && shape === this.shape) {
      this.u.setData(data);
    } else {
      this.u?.destroy();
      this.shape = shape;
      this.u = new uPlot(this.options(order), data, this.plot);
      this.drawLegend();
    }
    this.drawValues();
    const newest = this.rows.map((row) => `${row.name} ${text(this.spec.kind, row.values.findLast((value) => value != null))}`);
    this.plot.setAttribute('role', 'img');
    this.plot.setAttribute('aria-label', `${this.spec.title}, newest: ${newest.join(', ')}`);
  }

  /** In place of a plot. */
  say(message, detail) {
    this.u?.destroy();
    this.u = null;
    this.shape = '';
    this.legend.replaceChildren();
    this.time.textContent = '';
    this.plot.removeAttribute('role');
    this.plot.removeAttribute('aria-label');
    this.empty.replaceChildren(element('span', '', message));
    if (detail) this.empty.append(element('span', 'quiet', detail));
    this.plot.append(this.empty);
  }

  colour(at) {
    return css(this.spec.colour(this.rows[at].name, at));
  }

  options(order) {
    const { kind, stack, scale, threshold } = this.spec;
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
    }));
    return {
      width: this.plot.clientWidth || 320,
      height: HEIGHT,
      padding: [8, 6, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: sync.key }, y: false, drag: { x: false, y: false }, points: { size: 6, show: !stack } },
      scales: { y: SCALES[scale] ?? SCALES.linear },
      axes: [
        { ...axis, grid: { show: false }, size: 20, gap: 3, space: 64, values: (_, splits) => splits.map((at) => clock(at, splits[1] - splits[0] < 60)) },
        { ...axis, grid, size: 62, gap: 4, space: 38, ...(kind === 'count' && { incrs: WHOLE }), values: (_, splits) => splits.map((value) => (scale === 'log' && !isPowerOfTen(value) ? null : tick(kind, value))) },
      ],
      series: [{}, ...series],
      hooks: {
        setCursor: [() => this.drawValues()],
        draw: threshold == null ? [] : [(u) => drawThreshold(u, threshold)],
      },
    };
  }

  drawLegend() {
    this.legend.replaceChildren(...this.rows.map((row, at) => {
      const item = element('li');
      const key = element('span', 'key');
      key.style.background = this.colour(at);
      item.append(key, element('span', '', row.name), element('span', 'value'));
      return item;
    }));
  }

  /** Under the pointer, else the newest. */
  drawValues() {
    const pointed = this.u?.cursor.idx;
    this.time.textContent = pointed == null ? '' : clock(this.times[pointed]);
    this.rows.forEach((row, at) => {
      const value = pointed == null ? row.values.findLast((value) => value != null) : row.values[pointed];
      const shown = this.legend.children[at]?.lastElementChild;
      if (shown) shown.textContent = text(this.spec.kind, value);
    });
  }
}

const SCALES = {
  // A little room above the highest value, and a scale even when all is zero.
  linear: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1] },
  // Good ratios differ in the last tenth: zoom in, in steps of a tenth, but never above 70 %.
  share: { range: (_, low) => [Math.max(0, Math.min(0.7, Math.floor((low ?? 0) * 10 - 0.5) / 10)), 1] },
  // Whole decades.
  log: { distr: 3, range: (_, low, high) => [10 ** Math.floor(Math.log10(low > 0 ? low : 0.001)), 10 ** Math.ceil(Math.log10(high > 0 ? high * 1.01 : 1))] },
};

/** Steps between ticks of things that come in ones. */
const WHOLE = [1, 2, 5].flatMap((digit) => Array.from({ length: 10 }, (_, power) => digit * 10 ** power)).sort((a, b) => a - b);

function isPowerOfTen(value) {
  const exponent = Math.log10(value);
  return Math.abs(exponent - Math.round(exponent)) < 1e-9;
}

function drawThreshold(u, value) {
  if (value > u.scales.y.max || value < u.scales.y.min) return;
  const y = u.valToPos(value, 'y', true);
  const { ctx, bbox } = u;
  ctx.save();
  ctx.strokeStyle = css('--error');
  ctx.globalAlpha = 0.6;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

/** A line without axes, for tiles. */
export function spark(values) {
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('viewBox', '0 0 100 30');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  // A young series fills the width all the same.
  const start = values.findIndex((value) => value != null);
  values = start < 0 ? [] : values.slice(start);
  const present = values.filter((value) => value != null);
  if (present.length < 2) return svg;
  const low = Math.min(...present);
  const high = Math.max(...present);
  // A steady value is a line in the middle, not noise blown up to full height.
  const reach = Math.max(high - low, Math.abs(high) * 0.02, 1e-9);
  const middle = (high + low) / 2;
  const points = values
    .map((value, at) => (value == null ? null : [(at / (values.length - 1)) * 100, 15 - ((value - middle) / reach) * 22]))
    .filter(Boolean);
  const line = points.map(([x, y], at) => `${at ? 'L' : 'M'}${x.toFixed(2)} ${y.toFixed(2)}`).join('');
  const path = (className, d) => {
    const made = document.createElementNS(ns, 'path');
    if (className) made.setAttribute('class', className);
    made.setAttribute('d', d);
    svg.append(made);
  };
  path('area', `${line}L${points.at(-1)[0].toFixed(2)} 30L${points[0][0].toFixed(2)} 30Z`);
  path('', line);
  return svg;
}
