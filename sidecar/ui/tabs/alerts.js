// Alerts: what fires, what is about to, what is held back, what was, and the rules behind it.

import * as api from '../api.js';
import { box, button, dot, el, link, nothing, renew, table } from '../dom.js';
import { ago, plural, span, text } from '../format.js';
import { lanes } from '../history.js';
import { silenceDialog, silenceList } from '../silences.js';

const WEIGHT = { critical: 0, warning: 1 };
const key = (labels) => JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));

/** Everything of an alert in one place: the rule's `for`, and what the receivers are not told. */
function gather(groups, muted) {
  const status = new Map(muted.map((alert) => [key(alert.labels), alert.status]));
  const alerts = groups.flatMap((group) => group.rules).filter((rule) => rule.type === 'alerting')
    .flatMap((rule) => rule.alerts.map((alert) => ({ ...alert, hold: rule.duration, query: rule.query, ...status.get(key(alert.labels)), state: alert.state })));
  return alerts.sort((a, b) => (WEIGHT[a.labels.severity] ?? 2) - (WEIGHT[b.labels.severity] ?? 2) || Date.parse(a.activeAt) - Date.parse(b.activeAt));
}

const isHeld = (alert) => Boolean(alert.silencedBy?.length || alert.inhibitedBy?.length);

function card(alert, now, refresh) {
  const active = (now - Date.parse(alert.activeAt)) / 1000;
  const firing = alert.state === 'firing';
  const since = firing ? `for ${span(active)}` : `fires in ${span(Math.max(0, alert.hold - active))}`;
  const { alertname, severity, ...rest } = alert.labels;
  const more = box('p', 'alert-links', link(`/#/explore?${new URLSearchParams({ expr: alert.query })}`, 'Query'));
  const book = alert.annotations.runbook_url;
  if (book && /^https?:\/\//.test(book)) {
    const made = link(book, 'Runbook');
    made.rel = 'noopener noreferrer';
    more.append(made);
  } else if (book) more.append(el('code', 'quiet', book));
  if (!alert.silencedBy?.length) {
    const mute = button('is-small', 'Silence…', () => silenceDialog(alert.labels, refresh));
    mute.setAttribute('aria-label', `Silence ${alertname} ${Object.values(rest).join(' ')}`);
    more.append(mute);
  }
  return box('article', `alert is-${isHeld(alert) ? 'held' : alert.state}`,
    box('div', 'alert-head', el('span', 'badge', severity ?? alert.state), el('h3', 'alert-name', alertname), el('span', 'alert-since', since)),
    el('p', '', alert.annotations.summary ?? ''), el('p', 'quiet', alert.annotations.description ?? ''),
    isHeld(alert) ? el('p', 'held', [alert.silencedBy?.length ? 'Silenced' : '', alert.inhibitedBy?.length ? 'Another alert says it already' : ''].filter(Boolean).join('. ')) : null,
    box('p', 'alert-labels', ...Object.entries(rest).map(([name, value]) => el('span', 'mono', `${name}=${value}`)), el('span', 'mono', `value=${text('count', Number(alert.value))}`)),
    more);
}

function ruleTable(groups, now) {
  const words = { firing: 'bad', pending: 'warn', inactive: 'good' };
  const rows = groups.flatMap((group) => group.rules.map((rule) => {
    const failed = rule.health === 'err';
    const state = failed ? 'fails' : rule.type === 'recording' ? 'records' : rule.health === 'unknown' ? 'waiting' : rule.state;
    const name = box('span', '', el('strong', '', rule.name), rule.lastError ? el('span', 'fault', ` ${rule.lastError}`) : null);
    return [box('span', 'state', dot(failed ? 'bad' : words[state]), state), name, group.name, rule.type === 'recording' ? '' : rule.duration ? span(rule.duration) : 'at once', rule.health === 'unknown' ? '' : ago(Date.parse(rule.lastEvaluation), now),
      text('seconds', rule.evaluationTime), link(`/#/explore?${new URLSearchParams({ expr: rule.query })}`, 'Query')];
  }));
  return table('Rules', [{ title: 'State', label: '' }, { title: 'Rule', className: 'wrap', label: '' }, { title: 'Group', label: 'group' }, { title: 'Fires after', className: 'number', label: 'after' }, { title: 'Evaluated', className: 'number', label: 'evaluated' }, { title: 'Took', className: 'number', label: 'took' }, { title: '', label: '' }], rows);
}

function open(root, { refresh: again }) {
  const [firing, pending, held, silenced, past, rules] = Array.from({ length: 6 }, () => el('div'));
  const counts = Object.fromEntries(['firing', 'pending', 'held', 'rules'].map((name) => [name, el('span', 'count')]));
  const section = (title, count, place, more) => box('section', '', box('div', 'section-head', box('h2', '', `${title} `, count), more), place);
  const add = button('', 'New silence…', () => silenceDialog(null, again));
  const pendingSection = section('Pending', counts.pending, pending);
  const heldSection = section('Held back', counts.held, held);
  root.append(section('Firing', counts.firing, firing), pendingSection, heldSection, section('Silences', null, silenced, add), section('History', null, past), section('Rules', counts.rules, rules));

  async function refresh(ctx) {
    const { groups, now } = ctx;
    const [muted, silences, history] = await Promise.allSettled([api.alerts(), api.silences(), ctx.range('ALERTS')]);
    const broken = [muted, silences].find((answer) => answer.status === 'rejected');
    if (broken && !broken.reason.answered) throw broken.reason;
    const alerts = gather(groups, muted.value ?? []);
    const kinds = { held: alerts.filter(isHeld), firing: alerts.filter((alert) => alert.state === 'firing' && !isHeld(alert)), pending: alerts.filter((alert) => alert.state === 'pending' && !isHeld(alert)) };
    const cards = (list) => box('div', 'alerts', ...list.map((alert) => card(alert, now, again)));
    const all = groups.flatMap((group) => group.rules);
    const waiting = all.length > 0 && all.every((rule) => rule.health === 'unknown');
    const quiet = !all.length ? nothing('No rules are loaded', 'Name rule files in the sidecar’s configuration.')
      : waiting ? nothing(`${plural(all.length, 'rule')} yet to be evaluated for the first time`) : box('p', 'calm', el('strong', '', 'All quiet.'), ` ${plural(all.length, 'rule')}, none firing.`);
    for (const [name, list] of Object.entries(kinds)) counts[name].textContent = list.length ? String(list.length) : '';
    pendingSection.hidden = !kinds.pending.length;
    heldSection.hidden = !kinds.held.length;
    renew(firing, kinds.firing.length ? cards(kinds.firing) : quiet);
    renew(pending, cards(kinds.pending));
    renew(held, cards(kinds.held));
    const expanded = silenced.querySelector('details')?.open;
    renew(silenced, ...(silences.status === 'fulfilled' ? silenceList(silences.value, now, again) : [el('p', 'fault', silences.reason.message)]));
    if (expanded) silenced.querySelector('details')?.setAttribute('open', '');
    renew(past, ...(history.status === 'fulfilled' ? lanes(history.value, ctx.times) : [el('p', 'fault', history.reason.message)]));
    const failing = all.filter((rule) => rule.health === 'err').length;
    counts.rules.textContent = `${all.length}${failing ? `, ${failing} failing` : ''}`;
    renew(rules, all.length ? ruleTable(groups, now) : null);
  }
  return { refresh };
}

export default { id: 'alerts', title: 'Alerts', open };
