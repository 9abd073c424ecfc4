// Targets: what is scraped, how it went, and how it has gone.

import * as api from '../api.js';
import { box, dot, el, nothing, renew, table } from '../dom.js';
import { ago, plural, text } from '../format.js';
import { Panels, inTurn, named } from '../panels.js';

const ORDER = { down: 0, unknown: 1, up: 2 };
const COLUMNS = [
  { title: 'State', label: '' }, { title: 'Instance', className: 'mono wrap', label: '' }, { title: 'Job' }, { title: 'Up, in this range', className: 'number', label: 'up' },
  { title: 'Last scrape', className: 'number', label: 'last' }, { title: 'Took', className: 'number', label: 'took' }, { title: 'Samples', className: 'number', label: 'samples' }, { title: 'Last error', className: 'wrap fault wide', label: '' },
];
const PANELS = [
  { title: 'Scrape duration', note: 'until the answer has ended', kind: 'seconds', queries: { took: () => 'scrape_duration_seconds' }, rows: (got) => named(got.took, 'instance'), colour: inTurn },
  { title: 'Targets', note: 'by state', kind: 'count', stack: true, order: ['up', 'down'], queries: { up: () => 'sum(up)', down: () => 'count(up) - sum(up)' }, rows: ({ up, down }) => [...up.map((row) => ({ name: 'up', values: row.values })), ...down.map((row) => ({ name: 'down', values: row.values }))], colour: (name) => (name === 'up' ? '--hit' : '--error') },
  { title: 'Samples', note: 'per scrape', kind: 'count', queries: { samples: () => 'scrape_samples_scraped' }, rows: (got) => named(got.samples, 'instance'), colour: inTurn },
];

function row(target, share, now) {
  const waiting = target.health === 'unknown';
  const instance = el('span', '', target.labels.instance ?? target.scrapeUrl);
  instance.title = target.scrapeUrl;
  return [
    box('span', 'state', dot({ up: 'good', down: 'bad' }[target.health]), waiting ? 'waiting' : target.health),
    instance, target.labels.job ?? '', share == null ? '' : text('share', share),
    waiting ? '' : ago(Date.parse(target.lastScrape), now),
    waiting ? '' : text('seconds', target.lastScrapeDuration),
    waiting || target.health === 'down' ? '' : text('count', target.lastSamples),
    target.lastError,
  ];
}

function open(root) {
  const count = el('span', 'count');
  const list = el('div');
  const panels = new Panels(PANELS, 'Scrapes');
  root.append(box('section', '', box('h2', '', 'Targets ', count), list), box('section', '', el('h2', '', 'Scrapes'), panels.root));

  async function refresh(ctx) {
    const { targets, now } = ctx;
    const seconds = ctx.times.at(-1) - ctx.times[0];
    const shares = new Map();
    const drawn = panels.refresh(ctx);
    const answer = await api.instant(`avg_over_time(up[${seconds}s])`, ctx.at).catch((error) => { if (!error.answered) throw error; });
    for (const { metric, value } of answer?.result ?? []) shares.set(`${metric.job} ${metric.instance}`, Number(value[1]));
    const sorted = [...targets].sort((a, b) => ORDER[a.health] - ORDER[b.health] || a.scrapeUrl.localeCompare(b.scrapeUrl));
    const down = targets.filter((target) => target.health === 'down').length;
    count.textContent = targets.length ? `${plural(targets.length, 'target')}, ${down ? `${down} down` : 'none down'}` : '';
    const rows = sorted.map((target) => row(target, shares.get(`${target.labels.job} ${target.labels.instance}`), now));
    renew(list, rows.length ? table('Targets', COLUMNS, rows) : nothing('No targets', 'Start the sidecar with --target URL, or list targets in its configuration.'));
    await drawn;
  }
  return { refresh, close: () => panels.close() };
}

export default { id: 'targets', title: 'Targets', open };
