// Draws series over time as SVG, in the manner of the other plots in docs/plots.

const [width, height] = [720, 360];
const box = { left: 56, right: 560, top: 48, bottom: 310 };

/**
 * `series`: { name, colour, values } with a value for each second; `spans`: { from, to, name } that are shaded; `marks`: seconds with
 * an upright line; `limit`: { value, name } that should not be exceeded; `log`: decades, from this one.
 */
export function plotLines({ title, axis, series, spans = [], marks = [], limit, log }) {
  const seconds = Math.max(...series.map(({ values }) => values.length));
  const most = Math.max(1, limit?.value ?? 0, ...series.flatMap(({ values }) => values));
  const top = log ? 10 ** Math.max(1, Math.ceil(Math.log10(most))) : niceTop(most);
  const share = (value) => (log ? Math.max(0, Math.log10(Math.max(value, log) / log) / Math.log10(top / log)) : value / top);
  const x = (second) => box.left + (second / Math.max(1, seconds - 1)) * (box.right - box.left);
  const y = (value) => box.bottom - share(value) * (box.bottom - box.top);
  const parts = [`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    `<text x="${box.left}" y="28" font-size="15">${title}</text>`,
    `<text x="${box.left}" y="${height - 14}">${axis}</text>`];
  for (const { from, to, name } of spans) {
    parts.push(`<rect x="${x(from).toFixed(1)}" y="${box.top}" width="${(x(to) - x(from)).toFixed(1)}" height="${box.bottom - box.top}" fill="#f3e3e3"/>`,
      `<text x="${((x(from) + x(to)) / 2).toFixed(1)}" y="${box.top - 6}" text-anchor="middle" fill="#a33">${name}</text>`);
  }
  for (const value of log ? decades(log, top) : Array.from({ length: 6 }, (_, tick) => (top / 5) * tick)) {
    parts.push(`<path d="M${box.left} ${y(value).toFixed(1)}H${box.right}" stroke="#ddd"/><text x="${box.left - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${value}</text>`);
  }
  for (const second of marks) parts.push(`<path d="M${x(second).toFixed(1)} ${box.top}V${box.bottom}" stroke="#888" stroke-dasharray="2 3"/>`);
  if (limit) {
    parts.push(`<path d="M${box.left} ${y(limit.value).toFixed(1)}H${box.right}" stroke="#a33" stroke-dasharray="6 4"/>`,
      // In the plot: beside it are the names of the lines.
      `<text x="${box.left + 4}" y="${(y(limit.value) - 5).toFixed(1)}" fill="#a33" stroke="#fff" stroke-width="3" paint-order="stroke">${limit.name}</text>`);
  }
  // Labels of three digits want 30 units each.
  const step = [5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600].find((step) => x(step) - x(0) >= 30) ?? 7200;
  for (let second = 0; second < seconds; second += step) {
    parts.push(`<text x="${x(second).toFixed(1)}" y="${box.bottom + 18}" text-anchor="middle">${second}</text>`);
  }
  series.forEach(({ name, colour, values }, at) => {
    const points = values.map((value, second) => `${x(second).toFixed(1)} ${y(value).toFixed(1)}`);
    parts.push(`<path d="M${points.join('L')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      `<path d="M${box.right + 12} ${box.top + 10 + at * 20}h16" stroke="${colour}" stroke-width="2"/><text x="${box.right + 34}" y="${box.top + 14 + at * 20}">${name}</text>`);
  });
  return `${parts.join('\n')}\n</svg>\n`;
}

function decades(from, to) {
  return Array.from({ length: Math.round(Math.log10(to / from)) + 1 }, (_, power) => Number((from * 10 ** power).toPrecision(3)));
}

/** The next of 5, 10, 25, 50, 100, … */
function niceTop(value) {
  for (let power = 1; ; power *= 10) {
    for (const step of [5, 10, 25]) if (step * power >= value) return step * power;
  }
}
