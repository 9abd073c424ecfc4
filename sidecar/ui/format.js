// Numbers and times for people: at most four significant digits, always a unit.

const UNSET = '–';

function scaled(value, base, units) {
  let step = 0;
  let rest = Math.abs(value);
  while (rest >= base * 0.9995 && step < units.length - 1) { rest /= base; step += 1; }
  return [Math.sign(value) * rest, units[step]];
}

function digits(value) {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size >= 0.01) return value.toFixed(2);
  return value.toPrecision(2);
}

const DECIMAL = ['', 'k', 'M', 'G', 'T'];

/** [number, unit] so that the unit can be set smaller. */
export const units = {
  rate: (value) => { const [number, unit] = scaled(value, 1000, DECIMAL); return [digits(number), `${unit}/s`]; },
  bytes: (value) => { const [number, unit] = scaled(value, 1000, ['B', 'kB', 'MB', 'GB', 'TB']); return [digits(number), `${unit}/s`]; },
  size: (value) => { const [number, unit] = scaled(value, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']); return [unit === 'B' ? number.toFixed(0) : digits(number), unit]; },
  share: (value) => {
    const percent = value * 100;
    if (Math.abs(percent) < 1e-9) return ['0', '%'];
    if (Math.abs(percent - 100) < 0.005) return ['100', '%'];
    return [percent > 100 ? percent.toFixed(0) : percent.toFixed(percent > 99.5 ? 2 : 1), '%'];
  },
  seconds: (value) => {
    const size = Math.abs(value);
    if (size >= 60) return [digits(value / 60), 'min'];
    if (size >= 1) return [digits(value), 's'];
    if (size >= 0.001) return [digits(value * 1e3), 'ms'];
    return size === 0 ? ['0', 'ms'] : [digits(value * 1e6), 'µs'];
  },
  count: (value) => { const [number, unit] = scaled(value, 1000, DECIMAL); return [unit || !Number.isInteger(value) ? digits(number) : String(value), unit]; },
};

/** The kind that a unit of a scaling policy stands for. */
export function kindOf(unit) {
  if (/^ratio$|^share$|^percent$|^%$/.test(unit)) return 'share';
  if (/^s$|^seconds?$/.test(unit)) return 'seconds';
  if (/bytes?\/s|bytes_per/.test(unit)) return 'bytes';
  if (/^bytes?$/.test(unit)) return 'size';
  if (/\/s$|per_second|^rps$/.test(unit)) return 'rate';
  return 'count';
}

export function text(kind, value) {
  if (value == null || Number.isNaN(value)) return UNSET;
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const [number, unit] = units[kind](value);
  return unit ? `${number} ${unit}` : number;
}

/** For axes: no more digits than the step between two ticks needs; decades of seconds are no minutes. */
export function tick(kind, value) {
  if (kind === 'seconds' && value >= 60 && Number.isInteger(Math.log10(value))) return `${value} s`;
  const [number, unit] = units[kind](value);
  const short = number.includes('.') ? number.replace(/\.?0+$/, '') : number;
  if (value === 0) return '0';
  return unit ? `${short} ${unit}` : short;
}

export function clock(seconds, withSeconds = true) {
  const options = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
  if (withSeconds) options.second = '2-digit';
  return new Date(seconds * 1000).toLocaleTimeString('en-GB', options);
}

/** With the day when it is not today's. */
export function moment(millis, now) {
  const day = (at) => new Date(at).toDateString();
  const time = clock(millis / 1000);
  return day(millis) === day(now) ? time : `${new Date(millis).toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })}, ${time}`;
}

/** "just now", "42 s ago", "3 min ago". */
export function ago(then, now) {
  const seconds = Math.max(0, (now - then) / 1000);
  if (seconds < 1.5) return 'just now';
  return `${span(seconds)} ago`;
}

export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${(seconds / 3600).toFixed(seconds < 36000 ? 1 : 0)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** `name="value"` pairs between commas. */
export const pairs = (labels) => Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(', ');
