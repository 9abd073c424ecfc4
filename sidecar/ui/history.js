// When alerts were pending and firing: one lane for each, over the range, from the series ALERTS that rules write; and the same as
// a list for those who do not see lanes.

import { box, el, nothing } from './dom.js';
import { clock, span } from './format.js';

const MOST = 24;

/** Stretches of time without a gap: [{from, to, state}] in seconds. */
function stretches(rows, times) {
  const step = times[1] - times[0];
  const found = [];
  for (const { labels, values } of rows) {
    let begun = null;
    values.forEach((value, at) => {
      if (value != null) begun ??= times[at];
      const over = value == null || at === values.length - 1;
      if (over && begun != null) {
        found.push({ from: begun, to: value == null ? times[at] : times[at] + step, state: labels.alertstate });
        begun = null;
      }
    });
  }
  return found.sort((a, b) => a.from - b.from);
}

const HIDDEN = new Set(['__name__', 'alertstate', 'alertname', 'severity']);

/** rows: of the series ALERTS, on `times`. */
export function lanes(rows, times) {
  const byAlert = new Map();
  for (const row of rows) {
    const { alertname, ...rest } = row.labels;
    const about = Object.entries(rest).filter(([name]) => !HIDDEN.has(name)).map(([, value]) => value).join(' ');
    const key = `${alertname} ${about}`;
    if (!byAlert.has(key)) byAlert.set(key, { alertname, about, rows: [] });
    byAlert.get(key).rows.push(row);
  }
  if (!byAlert.size) return [nothing('No alert was active in this range')];
  const [first, end] = [times[0], times.at(-1)];
  const share = (at) => `${((Math.min(Math.max(at, first), end) - first) / (end - first)) * 100}%`;
  const all = [...byAlert.values()].map((alert) => ({ ...alert, parts: stretches(alert.rows, times) }));
  all.sort((a, b) => b.parts.at(-1).to - a.parts.at(-1).to || a.alertname.localeCompare(b.alertname));
  const items = all.slice(0, MOST).map(({ alertname, about, parts }) => {
    const track = el('div', 'lane-track');
    track.setAttribute('aria-hidden', 'true');
    for (const { from, to, state } of parts) {
      const bar = el('span', `lane-bar is-${state}`);
      bar.style.left = share(from);
      bar.style.width = `calc(${share(to)} - ${share(from)})`;
      bar.title = `${state} ${clock(from)}–${clock(to)}, ${span(to - from)}`;
      track.append(bar);
    }
    const fired = parts.filter((part) => part.state === 'firing');
    const seconds = fired.reduce((sum, part) => sum + part.to - part.from, 0);
    const words = fired.length ? `fired ${fired.length > 1 ? `${fired.length}×, ` : ''}${span(seconds)}` : 'only pending';
    const spoken = el('span', 'hidden', parts.map((part) => `${part.state} from ${clock(part.from)} to ${clock(part.to)}`).join('; '));
    return box('li', 'lane', box('span', 'lane-name', el('strong', '', alertname), el('span', 'quiet mono', ` ${about}`)), track, box('span', 'lane-sum quiet', words), spoken);
  });
  const axis = box('li', 'lane is-axis', el('span'), box('div', 'lane-axis', ...[0, 0.25, 0.5, 0.75, 1].map((part) => el('span', '', clock(first + part * (end - first), end - first < 600)))), el('span'));
  axis.setAttribute('aria-hidden', 'true');
  const key = box('p', 'lane-key quiet', el('span', 'lane-bar is-pending'), ' pending ', el('span', 'lane-bar is-firing'), ' firing');
  return [box('ul', 'lanes', ...items, axis), all.length > MOST ? box('p', 'quiet', `and ${all.length - MOST} more`) : null, key];
}
