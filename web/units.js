// Numbers as people read them, and addresses of the things that an asset can be turned into.

/** @param {number} count of bytes; SI units, as transfer sizes are given. */
export function bytes(count) {
  if (!Number.isFinite(count)) return '–';
  if (count < 1000) return `${count} B`;
  const units = ['kB', 'MB', 'GB'];
  let value = count / 1000, i = 0;
  while (value >= 999.5 && i < units.length - 1) { value /= 1000; i++; }
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[i]}`;
}

/** @param {number} ms */
export function millis(ms) {
  if (!Number.isFinite(ms)) return '–';
  return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** @param {number} total seconds, as 1:05 or 1:02:03. */
export function clock(total) {
  if (!Number.isFinite(total)) return '';
  const s = Math.round(total), pad = (n) => String(n).padStart(2, '0');
  return s < 3600 ? `${Math.floor(s / 60)}:${pad(s % 60)}` : `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}`;
}

/** An age in seconds, in its largest unit. */
export function age(seconds) {
  if (!Number.isFinite(seconds)) return '';
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${seconds} s`;
}

/** The address of an asset, from a path as index.json has it. */
export const assetUrl = (path) => `/${path.replace(/^\/+/, '').split('/').map(encodeURIComponent).join('/')}`;
export const imageUrl = (path, width, format = 'webp') => `${assetUrl(path)}?w=${width}&fm=${format}`;
export const posterUrl = (path, width, at = 2) => `${assetUrl(path)}/poster.webp?t=${at}&w=${width}`;
export const playerUrl = (path) => `/_millrace/player?src=${encodeURIComponent(`/${path.replace(/^\/+/, '')}`)}`;

/** The widths asked for. Few and shared by all pages, so that one cached variant serves many screens. */
export const widths = [160, 320, 480, 640, 960, 1280, 1920];

/** The smallest of them that fills `cssWidth` on this screen without being enlarged. */
export function widthFor(cssWidth, limit = Infinity) {
  const needed = Math.min(cssWidth * Math.min(devicePixelRatio || 1, 2), limit);
  return widths.find((width) => width >= needed * 0.92) ?? widths[widths.length - 1];
}
