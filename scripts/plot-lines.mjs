// Draws series over time as SVG, in the manner of the other plots in docs/plots.

const [width, height] = [720, 360];
const box = { left: 56, right: 560, top: 48, bottom: 310 };

/** `series`: { name, colour, values } with a value for each second; `spans`: { from, to, name } that are shaded. */
export function plotLines({ title, axis, series, spans = [] }) {
  const seconds = Math.max(...series.map(({ values }) => values.length));
  const top = niceTop(Math.max(1, ...series.flatMap(({ values }) => values)));
  const x = (second) => box.left + (second / Math.max(1, seconds - 1)) * (box.right - box.left);
  const y = (value) => box.bottom - (value / top) * (box.bottom - box.top);
  const parts = [`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    `<text x="${box.left}" y="28" font-size="15">${title}</text>`,
    `<text x="${box.left}" y="${height - 14}">${axis}</text>`];
  for (const { from, to, name } of spans) {
    parts.push(`<rect x="${x(from).toFixed(1)}" y="${box.top}" width="${(x(to) - x(from)).toFixed(1)}" height="${box.bottom - box.top}" fill="#f3e3e3"/>`,
      `<text x="${((x(from) + x(to)) / 2).toFixed(1)}" y="${box.top - 6}" text-anchor="middle" fill="#a33">${name}</text>`);
  }
  for (let tick = 0; tick <= 5; tick++) {
    const value = (top / 5) * tick;
    parts.push(`<path d="M${box.left} ${y(value).toFixed(1)}H${box.right}" stroke="#ddd"/><text x="${box.left - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${value}</text>`);
  }
  for (let second = 0; second < seconds; second += seconds > 30 ? 10 : 5) {
    parts.push(`<text x="${x(second).toFixed(1)}" y="${box.bottom + 18}" text-anchor="middle">${second}</text>`);
  }
  series.forEach(({ name, colour, values }, at) => {
    const points = values.map((value, second) => `${x(second).toFixed(1)} ${y(value).toFixed(1)}`);
    parts.push(`<path d="M${points.join('L')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      `<path d="M${box.right + 12} ${box.top + 10 + at * 20}h16" stroke="${colour}" stroke-width="2"/><text x="${box.right + 34}" y="${box.top + 14 + at * 20}">${name}</text>`);
  });
  return `${parts.join('\n')}\n</svg>\n`;
}

/** The next of 5, 10, 25, 50, 100, … */
function niceTop(value) {
  for (let power = 1; ; power *= 10) {
    for (const step of [5, 10, 25]) if (step * power >= value) return step * power;
  }
}
