// Jobs and queues: what waits, what runs, how long it takes, what fails.

import { box, dot, el, nothing, renew, table } from '../dom.js';
import { text } from '../format.js';
import { Panels, inTurn, last, named, quantile, single } from '../panels.js';

const MEDIA = 'millrace_media_duration_seconds';
/** Where the shipped alert HighQueueDepth fires. */
const TOO_LONG = 100;

const Q = {
  depth: () => 'sum by (queue) (millrace_queue_depth)',
  done: (w) => `sum by (operation) (rate(${MEDIA}_count[${w}]))`,
  p95: (w) => quantile(0.95, MEDIA, w, 'operation'),
  p50: (w) => quantile(0.5, MEDIA, w, 'operation'),
  errors: (w) => `sum by (operation) (rate(millrace_media_errors_total[${w}]))`,
  reasons: (w) => `sum by (operation, reason) (rate(millrace_media_errors_total[${w}]))`,
  cancelled: (w) => `sum by (stage) (rate(millrace_media_cancelled_total[${w}]))`,
  encodes: (w) => `sum by (encoder, result) (rate(millrace_media_encodes_total[${w}]))`,
  fills: () => 'sum(millrace_fills_in_flight)',
  active: () => 'sum(http_server_active_requests)',
  uploading: () => 'sum(millrace_uploads_active)',
  running: () => 'sum(millrace_jobs_running)',
  jobs: (w) => `sum by (result) (rate(millrace_jobs_total[${w}]))`,
  jobRun: (w) => quantile(0.95, 'millrace_job_run_seconds', w, 'preset'),
  jobWait: (w) => quantile(0.95, 'millrace_job_wait_seconds', w, 'preset'),
  refused: (w) => `sum by (reason) (rate(millrace_jobs_refused_total[${w}]))`,
  uploads: (w) => `sum by (result) (rate(millrace_uploads_total[${w}]))`,
};
const pick = (...names) => Object.fromEntries(names.map((name) => [name, Q[name]]));
const both = (rows, a, b) => rows.map((row) => ({ name: `${row.labels[a]}: ${row.labels[b]}`, values: row.values }));

const PANELS = [
  { title: 'Waiting', note: 'jobs, by queue, over all instances', kind: 'count', queries: pick('depth'), rows: (got) => named(got.depth, 'queue'), colour: inTurn, thresholds: [{ value: TOO_LONG, name: 'alert above 100', tone: '--bad' }] },
  { title: 'Done', note: 'media operations per second', kind: 'rate', queries: pick('done'), rows: (got) => named(got.done, 'operation'), colour: inTurn, empty: 'No image or video was made in this range' },
  { title: 'Run time p95', note: 'of media operations, log scale', kind: 'seconds', scale: 'log', queries: pick('p95'), rows: (got) => named(got.p95, 'operation'), colour: inTurn, thresholds: [{ value: 60, name: 'alert above 60 s', tone: '--bad' }], empty: 'No image or video was made in this range' },
  { title: 'Jobs', note: 'attempts per second, by how they ended', kind: 'rate', stack: true, queries: pick('jobs', 'refused'), rows: (got) => [...named(got.jobs, 'result'), ...got.refused.map((row) => ({ name: `refused: ${row.labels.reason}`, values: row.values }))], colour: (name, at) => (name === 'succeeded' ? '--hit' : ['--miss', '--error', '--three', '--bypass', '--five'][at % 5]), empty: 'No job was done in this range' },
  { title: 'Jobs, p95', note: 'waiting and running, by preset, log scale', kind: 'seconds', scale: 'log', queries: pick('jobRun', 'jobWait'), rows: (got) => [...named(got.jobRun, 'preset').map(({ name, values }) => ({ name: `${name} runs`, values })), ...named(got.jobWait, 'preset').map(({ name, values }) => ({ name: `${name} waits`, values }))], colour: inTurn, empty: 'No job was done in this range' },
  { title: 'Uploads', note: 'per second, by how they ended', kind: 'rate', stack: true, queries: pick('uploads'), rows: (got) => named(got.uploads, 'result'), colour: (name, at) => ({ stored: '--hit', failed: '--error' })[name] ?? inTurn(name, at + 1), empty: 'Nothing was uploaded in this range' },
  { title: 'In flight', note: 'on all instances', kind: 'count', queries: pick('active', 'fills', 'uploading', 'running'), rows: (got) => [...single(got.active, 'requests'), ...single(got.fills, 'fills from origins'), ...single(got.uploading, 'uploads'), ...single(got.running, 'jobs')], colour: inTurn },
  { title: 'Failed and given up', note: 'per second', kind: 'rate', queries: pick('reasons', 'cancelled'), rows: (got) => [...both(got.reasons, 'operation', 'reason'), ...got.cancelled.map((row) => ({ name: `nobody waited: ${row.labels.stage}`, values: row.values }))], colour: (_, at) => ['--error', '--miss', '--three', '--five', '--bypass'][at % 5], empty: 'Nothing failed in this range' },
  { title: 'Video segments', note: 'per second, by encoder and end', kind: 'rate', queries: pick('encodes'), rows: (got) => both(got.encodes, 'encoder', 'result'), colour: inTurn, empty: 'No segment was encoded in this range' },
];

function open(root) {
  const queues = el('div');
  const operations = el('div');
  const panels = new Panels(PANELS, 'History');
  root.append(
    box('div', 'columns', box('section', '', el('h2', '', 'Queues'), queues), box('section', '', el('h2', '', 'Operations'), operations)),
    box('section', '', el('h2', 'hidden', 'History'), panels.root),
  );

  async function refresh(ctx) {
    const drawn = panels.refresh(ctx);
    const names = ['depth', 'done', 'p50', 'p95', 'errors'];
    const answers = await Promise.allSettled(names.map((name) => ctx.range(Q[name](ctx.window))));
    if (answers.every((answer) => answer.status === 'rejected' && !answer.reason.answered)) throw answers[0].reason;
    const got = Object.fromEntries(names.map((name, at) => [name, answers[at].value ?? []]));
    const highest = (values) => values.reduce((most, value) => Math.max(most, value ?? 0), 0);
    const queueRows = got.depth.map((row) => {
      const now = last(row.values) ?? 0;
      const state = now > TOO_LONG ? 'bad' : now > TOO_LONG / 2 ? 'warn' : 'good';
      return [box('span', 'state', dot(state), row.labels.queue), text('count', now), text('count', highest(row.values)), now > TOO_LONG ? 'too long' : now ? 'working through' : 'nobody waits'];
    });
    const at = (name, operation) => last(got[name].find((row) => row.labels.operation === operation)?.values);
    const operationRows = got.done.map((row) => {
      const { operation } = row.labels;
      const failing = at('errors', operation);
      return [operation, text('rate', last(row.values)), text('seconds', at('p50', operation)), text('seconds', at('p95', operation)), el('span', failing > 0 ? 'fault' : '', text('rate', failing ?? 0))];
    });
    const figure = (title, label) => ({ title, className: 'number', label });
    renew(queues, queueRows.length ? table('Queues', [{ title: 'Queue', label: '' }, figure('Waiting', 'waiting'), figure('Most in this range', 'most'), { title: '', label: '' }], queueRows) : nothing(...(ctx.whyEmpty() ?? ['No queue is reported'])));
    renew(operations, operationRows.length ? table('Operations', [{ title: 'Operation', label: '' }, figure('Done', 'done'), figure('p50'), figure('p95'), figure('Failing', 'failing')], operationRows) : nothing(...(ctx.whyEmpty() ?? ['Nothing was made yet', 'Operations appear with the first image or video.'])));
    await drawn;
  }
  return { refresh, close: () => panels.close() };
}

export default { id: 'jobs', title: 'Jobs & queues', open };
