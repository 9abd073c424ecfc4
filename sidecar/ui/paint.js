// What is drawn in and beside plots: scales, thresholds, marks, sparklines.

const room = (high, least) => { const top = Math.max(high ?? 0, least); return top > 0 ? top * 1.08 : 1; };

/** By name; each takes a value that shall be in the picture in any case. */
export const SCALES = {
  // A little room above the highest value, and a scale even when all is zero.
  linear: (least) => ({ range: (_, low, high) => [Math.min(0, low ?? 0), room(high, least)] }),
  // Good ratios differ in the last tenth: zoom in, in steps of a tenth, but never above 70 %.
  share: () => ({ range: (_, low) => [Math.max(0, Math.min(0.7, Math.floor((low ?? 0) * 10 - 0.5) / 10)), 1] }),
  // The whole, from nothing to all of it.
  whole: () => ({ range: () => [0, 1] }),
  // Whole decades.
  log: (least) => ({ distr: 3, range: (_, low, high) => [10 ** Math.floor(Math.log10(low > 0 ? low : 0.001)), 10 ** Math.ceil(Math.log10((Math.max(high ?? 0, least) || 0.99) * 1.01))] }),
};

/** Steps between ticks of things that come in ones. */
export const WHOLE = [1, 2, 5].flatMap((digit) => Array.from({ length: 10 }, (_, power) => digit * 10 ** power)).sort((a, b) => a - b);

/** Seconds between the times on an axis: as people count them, and close enough for three on a phone. */
export const CLOCK = [1, 2, 5, 10, 15, 30, ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60), ...[1, 2, 3, 6, 12, 24].map((hours) => hours * 3600)];

/** Steps of what is counted in KiB and MiB. */
export const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);

export function isPowerOfTen(value) {
  const exponent = Math.log10(value);
  return Math.abs(exponent - Math.round(exponent)) < 1e-9;
}

function line(u, colour, dash, from, to) {
  const { ctx } = u;
  ctx.strokeStyle = colour;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
  ctx.beginPath();
  ctx.moveTo(...from);
  ctx.lineTo(...to);
  ctx.stroke();
}

/** lines: [{value, name?, tone}], tone being a css variable. */
export function drawThresholds(u, lines, css) {
  const { ctx, bbox } = u;
  ctx.save();
  const written = [];
  for (const { value, name, tone } of lines) {
    if (value > u.scales.y.max || value < u.scales.y.min) continue;
    const y = u.valToPos(value, 'y', true);
    const colour = css(tone ?? '--error');
    line(u, colour, [4, 4], [bbox.left, y], [bbox.left + bbox.width, y]);
    if (!name) continue;
    ctx.font = `${11 * devicePixelRatio}px system-ui, "DejaVu Sans", sans-serif`;
    ctx.textAlign = 'right';
    // Above its line, unless that is outside.
    const above = y - bbox.top > 16 * devicePixelRatio;
    ctx.textBaseline = above ? 'bottom' : 'top';
    const at = [bbox.left + bbox.width - 3 * devicePixelRatio, y + (above ? -2 : 3) * devicePixelRatio];
    const width = ctx.measureText(name).width + 8 * devicePixelRatio;
    const height = 14 * devicePixelRatio;
    // Beside those that stand at its height already.
    for (const other of written) if (Math.abs(other.y - at[1]) < height) at[0] = Math.min(at[0], other.left - 6 * devicePixelRatio);
    written.push({ y: at[1], left: at[0] - width });
    ctx.fillStyle = css('--surface');
    ctx.globalAlpha = 0.8;
    ctx.fillRect(at[0] - width + 4 * devicePixelRatio, above ? at[1] - height : at[1] - devicePixelRatio, width, height);
    ctx.globalAlpha = 1;
    ctx.fillStyle = colour;
    ctx.fillText(name, ...at);
  }
  ctx.restore();
}

/** marks: [{at, tone}] in seconds. */
export function drawMarks(u, marks, css) {
  const { ctx, bbox } = u;
  ctx.save();
  for (const { at, tone } of marks) {
    if (at < u.scales.x.min || at > u.scales.x.max) continue;
    const x = u.valToPos(at, 'x', true);
    ctx.globalAlpha = 0.55;
    line(u, css(tone), [], [x, bbox.top], [x, bbox.top + bbox.height]);
    ctx.globalAlpha = 1;
    ctx.fillStyle = css(tone);
    ctx.beginPath();
    ctx.arc(x, bbox.top, 3 * devicePixelRatio, 0, 2 * Math.PI);
    ctx.fill();
  }
  ctx.restore();
}

const NS = 'http://www.w3.org/2000/svg';

export function svg(tag, attributes) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** A small line without axes; only for a shape at a glance, so it is hidden from screen readers. */
export function spark(values) {
  const made = svg('svg', { class: 'spark', viewBox: '0 0 100 30', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  // A young series fills the width all the same.
  const start = values.findIndex((value) => value != null);
  const young = start < 0 ? [] : values.slice(start);
  const present = young.filter((value) => value != null);
  if (present.length < 2) return made;
  const low = Math.min(...present);
  const high = Math.max(...present);
  // A steady value is a line in the middle, not noise blown up to full height.
  const reach = Math.max(high - low, Math.abs(high) * 0.02, 1e-9);
  const middle = (high + low) / 2;
  const points = young
    .map((value, at) => (value == null ? null : [(at / (young.length - 1)) * 100, 15 - ((value - middle) / reach) * 22]))
    .filter(Boolean);
  const path = points.map(([x, y], at) => `${at ? 'L' : 'M'}${x.toFixed(2)} ${y.toFixed(2)}`).join('');
  made.append(
    svg('path', { class: 'area', d: `${path}L${points.at(-1)[0].toFixed(2)} 30L${points[0][0].toFixed(2)} 30Z` }),
    svg('path', { d: path }),
  );
  return made;
}
