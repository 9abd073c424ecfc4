// Writes the Grafana dashboards beside it, from what each panel says: `node dashboards/build.mjs`. Queries are PromQL as the sidecar
// and Prometheus take it; `$instance` chooses servers. A test compares the files with what this makes.

import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCE = { type: 'prometheus', uid: '${datasource}' };
const ON = 'instance=~"$instance"';
const RATE = '$__rate_interval';
const CACHED = 'outcome=~"hit|stale|revalidated"';

// ---- parts of queries ------------------------------------------------------------------------------------

const rate = (metric, where = '') => `rate(${metric}{${where ? `${where}, ` : ''}${ON}}[${RATE}])`;
const sum = (inner, by) => (by ? `sum by (${by}) (${inner})` : `sum(${inner})`);
const share = (part, whole) => `${part} / (${whole} > 0)`;
const quantile = (phi, histogram, by) => `histogram_quantile(${phi}, sum by (${by ? `${by}, ` : ''}le) (${rate(`${histogram}_bucket`)}))`;
const SERVED = 'http_server_request_duration_seconds';
const HEAD = 'millrace_response_head_seconds';
const ASKED = 'http_client_request_duration_seconds';
const REQUESTS = 'millrace_cache_requests_total';
const HIT_RATIO = share(sum(rate(REQUESTS, CACHED)), sum(rate(REQUESTS, 'outcome!="bypass"')));

// ---- panels ----------------------------------------------------------------------------------------------

const steps = (...pairs) => ({ mode: 'absolute', steps: [{ color: pairs[0], value: null }, ...pairs.slice(1).map(([value, color]) => ({ color, value }))] });
const colours = (map) => Object.entries(map).map(([name, fixedColor]) => ({ matcher: { id: 'byName', options: name }, properties: [{ id: 'color', value: { mode: 'fixed', fixedColor } }] }));
const OUTCOMES = colours({ hit: 'green', revalidated: 'blue', stale: 'purple', miss: 'orange', bypass: 'text', error: 'red' });

const targets = (queries) => queries.map(([expr, legendFormat], at) => ({ refId: String.fromCharCode(65 + at), datasource: SOURCE, editorMode: 'code', expr, legendFormat, range: true }));

function stat(title, description, unit, expr, options = {}) {
  return {
    type: 'stat', title, description, width: 4, height: 4, datasource: SOURCE, targets: targets([[expr, title]]),
    fieldConfig: { defaults: { unit, thresholds: options.thresholds ?? steps('text'), ...(options.max != null && { min: 0, max: options.max }), noValue: options.none ?? '–' }, overrides: [] },
    options: { reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false }, colorMode: options.thresholds ? 'value' : 'none', graphMode: 'area', justifyMode: 'auto', orientation: 'auto', textMode: 'value', wideLayout: true, showPercentChange: false, percentChangeColorMode: 'standard' },
  };
}

function graph(title, description, unit, queries, options = {}) {
  return {
    type: 'timeseries', title, description, width: options.width ?? 8, height: 8, datasource: SOURCE, targets: targets(queries),
    fieldConfig: {
      defaults: {
        unit, min: options.log ? undefined : 0, max: options.max,
        color: { mode: 'palette-classic' },
        ...(options.alert != null && { thresholds: steps('transparent', [options.alert, 'red']) }),
        custom: {
          drawStyle: 'line', lineWidth: options.stack ? 1 : 2, fillOpacity: options.stack ? 60 : 6, showPoints: 'never', spanNulls: false, lineInterpolation: options.step ? 'stepAfter' : 'linear',
          stacking: { mode: options.stack ? 'normal' : 'none', group: 'A' },
          scaleDistribution: options.log ? { type: 'log', log: 10 } : { type: 'linear' },
          thresholdsStyle: { mode: options.alert != null ? 'dashed' : 'off' },
        },
      },
      overrides: options.overrides ?? [],
    },
    options: { legend: { displayMode: 'table', placement: 'bottom', calcs: ['lastNotNull', 'mean', 'max'], showLegend: true }, tooltip: { mode: 'multi', sort: 'desc' } },
  };
}

const row = (title) => ({ type: 'row', title, width: 24, height: 1, collapsed: false, panels: [] });

// ---- dashboards ------------------------------------------------------------------------------------------

const percentiles = (histogram) => [0.5, 0.95, 0.99].map((phi) => [quantile(phi, histogram), `p${phi * 100}`]);

const BOARDS = {
  overview: {
    title: 'Millrace: overview', description: 'Is it well, how fast, how much comes from the cache, what do origins bear.',
    panels: [
      stat('Requests', 'Requests answered per second, over the chosen servers.', 'reqps', sum(rate(`${SERVED}_count`))),
      stat('Hit ratio', 'Share of cacheable requests that were answered from the cache, revalidated ones included. The shipped alert fires below 80 %.', 'percentunit', HIT_RATIO, { max: 1, thresholds: steps('red', [0.8, 'green']) }),
      stat('Latency p95', 'Time to the head of the answer that 95 % of requests do not exceed. The shipped alert fires above 2 s.', 's', quantile(0.95, HEAD), { thresholds: steps('green', [2, 'red']) }),
      stat('Errors', 'Share of answers that are 5xx. The shipped alert fires above 5 %.', 'percentunit', `(${sum(rate(`${SERVED}_count`, 'http_response_status_code=~"5.."'))} or vector(0)) / (${sum(rate(`${SERVED}_count`))} > 0)`, { max: 1, thresholds: steps('green', [0.05, 'red']) }),
      stat('Bandwidth saved', 'Body bytes sent to clients less those fetched from origins.', 'Bps', `${sum(rate('millrace_cache_response_bytes_total'))} - (${sum(rate('millrace_origin_response_bytes_total'))} or vector(0))`),
      stat('Servers up', 'Servers whose metrics could be scraped.', 'none', 'count(millrace_build_info{component="server"})', { none: 'none' }),
      row('Traffic'),
      graph('Requests by outcome', 'What the cache made of requests.', 'reqps', [[sum(rate(REQUESTS), 'outcome'), '{{outcome}}']], { stack: true, overrides: OUTCOMES }),
      graph('Hit ratio', 'Of cacheable requests; dashed: the shipped alert.', 'percentunit', [[HIT_RATIO, 'hit ratio']], { max: 1 }),
      graph('Latency', 'Time to the head of the answer, from summed buckets; logarithmic.', 's', percentiles(HEAD), { log: true, alert: 2, overrides: colours({ p50: 'green', p95: 'orange', p99: 'red' }) }),
      graph('Requests by status', 'Answers by HTTP status.', 'reqps', [[sum(rate(`${SERVED}_count`), 'http_response_status_code'), '{{http_response_status_code}}']], { stack: true }),
      graph('Bandwidth', 'Bodies to clients and from origins; what lies between is saved.', 'Bps', [[sum(rate('millrace_cache_response_bytes_total')), 'to clients'], [sum(rate('millrace_origin_response_bytes_total')), 'from origins']]),
      graph('In flight', 'Requests that are being answered, and transfers from origins into the cache.', 'none', [[`sum(http_server_active_requests{${ON}})`, 'requests'], [`sum(millrace_fills_in_flight{${ON}})`, 'fills']]),
      row('Servers'),
      graph('Requests by server', 'Load of each server.', 'reqps', [[sum(rate(`${SERVED}_count`), 'instance'), '{{instance}}']]),
      graph('Processor', 'Of each server; 100 % is one core.', 'percentunit', [[sum(rate('process_cpu_seconds_total', 'job!="millrace-sidecar"'), 'instance'), '{{instance}}']]),
      graph('Memory', 'Resident memory of each server.', 'bytes', [[`sum by (instance) (process_resident_memory_bytes{job!="millrace-sidecar", ${ON}})`, '{{instance}}']]),
    ],
  },
  cache: {
    title: 'Millrace: cache', description: 'Hits by outcome, tier and route; what fills, evicts and purges.',
    panels: [
      row('Hits'),
      graph('Share by outcome', 'Of cacheable requests.', 'percentunit', [[`${sum(rate(REQUESTS, 'outcome!="bypass"'), 'outcome')} / scalar(${sum(rate(REQUESTS, 'outcome!="bypass"'))} > 0)`, '{{outcome}}']], { stack: true, max: 1, overrides: OUTCOMES }),
      graph('Hit ratio by route', 'Of cacheable requests, by kind of answer.', 'percentunit', [[share(sum(rate(REQUESTS, CACHED), 'route'), sum(rate(REQUESTS, 'outcome!="bypass"'), 'route')), '{{route}}']], { max: 1 }),
      graph('Hit ratio by tier', 'Of lookups of heads and blocks in each tier.', 'percentunit', [[share(sum(rate('millrace_cache_tier_requests_total', 'result="hit"'), 'tier'), sum(rate('millrace_cache_tier_requests_total'), 'tier')), '{{tier}}']], { max: 1 }),
      graph('Reasons of misses', 'Why requests went on to an origin.', 'reqps', [[sum(rate(REQUESTS, 'outcome="miss"'), 'reason'), '{{reason}}']], { stack: true }),
      graph('Collapsed requests', 'Requests that joined a fill that another one had started.', 'reqps', [[sum(rate('millrace_collapsed_requests_total')), 'collapsed']]),
      graph('Bytes by outcome', 'Body bytes sent to clients.', 'Bps', [[sum(rate('millrace_cache_response_bytes_total'), 'outcome'), '{{outcome}}']], { stack: true, overrides: OUTCOMES }),
      row('Tiers'),
      graph('Filling of tiers', 'Share of its capacity that a tier holds.', 'percentunit', [[`sum by (tier) (millrace_cache_tier_bytes{${ON}}) / sum by (tier) (millrace_cache_tier_capacity_bytes{${ON}})`, '{{tier}}']], { max: 1 }),
      graph('Bytes held', 'By tier, over the chosen servers.', 'bytes', [[`sum by (tier) (millrace_cache_tier_bytes{${ON}})`, '{{tier}}']]),
      graph('Evictions', 'Entries that left memory to make room.', 'ops', [[sum(rate('millrace_cache_evictions_total'), 'tier'), '{{tier}}']]),
      graph('Disk', 'Bytes read from, written to and evicted from the disk tier.', 'Bps', [[sum(rate('millrace_cache_disk_bytes_total'), 'operation'), '{{operation}}']]),
      graph('Admission to disk', 'Objects by whether they were written to disk, or why not.', 'ops', [[sum(rate('millrace_cache_disk_admissions_total'), 'result'), '{{result}}']], { stack: true }),
      graph('State of the disk tier', 'Servers by what their disk tier is: on, behind, off.', 'none', [[`sum by (state) (millrace_cache_disk_state{${ON}})`, '{{state}}']], { stack: true, step: true, overrides: colours({ on: 'green', behind: 'orange', off: 'red' }) }),
      row('Purges'),
      graph('Purges in force', 'Sequence number of the latest purge, by server: servers that differ have not heard of it yet.', 'none', [[`max by (instance) (millrace_purge_sequence{${ON}})`, '{{instance}}']], { width: 12, step: true }),
      graph('Time to apply a purge', 'From its arrival to its receipt. The shipped alert fires above 1 s.', 's', percentiles('millrace_purge_apply_seconds'), { width: 12, alert: 1 }),
    ],
  },
  origins: {
    title: 'Millrace: origins', description: 'What origins are asked, how they answer, and what protects them.',
    panels: [
      row('Answers'),
      graph('Requests by origin', 'Requests sent to each origin.', 'reqps', [[sum(rate('millrace_origin_requests_total'), 'origin'), '{{origin}}']]),
      graph('Requests by result', 'How origins answered.', 'reqps', [[sum(rate('millrace_origin_requests_total'), 'result'), '{{result}}']], { stack: true }),
      graph('Failing', 'Share of requests to an origin that fail; the shipped alert fires above 10 %.', 'percentunit', [[`(${sum(rate('millrace_origin_requests_total', 'result!~"answered|missing"'), 'origin')} or ${sum(rate('millrace_origin_requests_total'), 'origin')} * 0) / (${sum(rate('millrace_origin_requests_total'), 'origin')} > 0)`, '{{origin}}']], { max: 1, alert: 0.1 }),
      graph('Time to the head, p95', 'From asking an origin to the head of its answer; logarithmic.', 's', [[quantile(0.95, ASKED, 'origin'), '{{origin}}']], { log: true }),
      graph('Answers by status', 'HTTP status of what origins answered.', 'reqps', [[sum(rate(`${ASKED}_count`), 'http_response_status_code'), '{{http_response_status_code}}']], { stack: true }),
      graph('Bytes from origins', 'Body bytes received.', 'Bps', [[sum(rate('millrace_origin_response_bytes_total')), 'received']]),
      row('Protection'),
      graph('Breakers', '0 closed, 1 half-open, 2 open; the worst of the chosen servers.', 'none', [[`max by (origin) (millrace_origin_breaker_state{${ON}})`, '{{origin}}']], { step: true, max: 2 }),
      graph('Turned away', 'Requests not sent because a breaker was not closed.', 'reqps', [[sum(rate('millrace_origin_turned_away_total'), 'origin'), '{{origin}}']]),
      graph('Repeated requests', 'Retries, hedges and resumes, and those for which the budget was used up.', 'reqps', [[sum(rate('millrace_origin_retries_total'), 'origin, kind'), '{{origin}} {{kind}}'], [sum(rate('millrace_origin_retries_refused_total'), 'origin, kind'), '{{origin}} {{kind}} refused']]),
      graph('Broken bodies', 'Answers whose body broke, and transfers that were resumed where they stopped.', 'ops', [[sum(rate('millrace_origin_broken_bodies_total'), 'origin, reason'), '{{origin}} {{reason}}'], [sum(rate('millrace_origin_resumes_total')), 'resumed']]),
      graph('Waiting for an origin', 'Requests that wait for others to that origin to end.', 'none', [[`sum by (queue) (millrace_queue_depth{queue=~"origin:.*", ${ON}})`, '{{queue}}']]),
      graph('Fills in flight', 'Transfers from origins into the cache.', 'none', [[`sum by (instance) (millrace_fills_in_flight{${ON}})`, '{{instance}}']]),
    ],
  },
  media: {
    title: 'Millrace: media', description: 'Images and video: what is made, how long it takes, what waits and what fails. Uploads.',
    panels: [
      row('Work'),
      graph('Operations', 'Image and video operations done per second.', 'ops', [[sum(rate('millrace_media_duration_seconds_count'), 'operation'), '{{operation}}']], { stack: true }),
      graph('Run time p95', 'By operation, logarithmic; the shipped alert fires above 60 s.', 's', [[quantile(0.95, 'millrace_media_duration_seconds', 'operation'), '{{operation}}']], { log: true, alert: 60 }),
      graph('Queues', 'Jobs that wait; the shipped alert fires above 100.', 'none', [[`sum by (queue) (millrace_queue_depth{queue!~"origin:.*", ${ON}})`, '{{queue}}']], { alert: 100 }),
      graph('Steps of an image, p95', 'From fetching its source to encoding.', 's', [[quantile(0.95, 'millrace_media_step_duration_seconds', 'step'), '{{step}}']], { log: true }),
      graph('Video segments', 'Encoded, by encoder and by how it ended.', 'ops', [[sum(rate('millrace_media_encodes_total'), 'encoder, result'), '{{encoder}} {{result}}']], { stack: true }),
      graph('Improved images', 'Images asked for often, by what became of encoding them again with more effort.', 'ops', [[sum(rate('millrace_media_improvements_total'), 'result'), '{{result}}']]),
      row('Trouble'),
      graph('Errors', 'Operations that failed, by reason.', 'ops', [[sum(rate('millrace_media_errors_total'), 'operation, reason'), '{{operation}} {{reason}}']], { width: 12 }),
      graph('Given up', 'Jobs that nobody waited for any more, by how far they had come.', 'ops', [[sum(rate('millrace_media_cancelled_total'), 'stage'), '{{stage}}']], { width: 12 }),
      row('Jobs'),
      graph('Jobs', 'Attempts at jobs, by how they ended.', 'ops', [[sum(rate('millrace_jobs_total'), 'result'), '{{result}}']], { stack: true }),
      graph('Jobs, p95', 'Waiting for their turn, and running, by preset.', 's', [[quantile(0.95, 'millrace_job_wait_seconds', 'preset'), '{{preset}} waits'], [quantile(0.95, 'millrace_job_run_seconds', 'preset'), '{{preset}} runs']], { log: true }),
      graph('Jobs running and refused', 'Jobs that are being done, and those per minute that were not taken.', 'none', [[`sum(millrace_jobs_running{${ON}})`, 'running'], [`${sum(rate('millrace_jobs_refused_total'), 'reason')} * 60`, 'refused a minute: {{reason}}']]),
      row('Uploads'),
      graph('Uploads', 'Requests to store or remove an asset, by how they ended.', 'reqps', [[sum(rate('millrace_uploads_total'), 'kind, result'), '{{kind}} {{result}}']]),
      graph('Bytes uploaded', 'Body bytes received.', 'Bps', [[sum(rate('millrace_upload_bytes_total')), 'received']]),
      graph('Uploads under way', 'Uploads whose bytes are being received.', 'none', [[`sum(millrace_uploads_active{${ON}})`, 'active']]),
    ],
  },
  scaling: {
    title: 'Millrace: scaling', description: 'How many instances there are and shall be, what decides it, and what holds it back.', pools: true,
    panels: [
      row('Instances'),
      graph('Wanted and ready', 'Instances of each pool: desired as decided, ready as they answer.', 'none', [['max by (pool) (millrace_scaling_instances{state="desired", pool=~"$pool"})', '{{pool}} wanted'], ['max by (pool) (millrace_scaling_instances{state="ready", pool=~"$pool"})', '{{pool}} ready']], { step: true }),
      graph('By state', 'Instances by what they are.', 'none', [['sum by (state) (millrace_scaling_instances{state!="desired", pool=~"$pool"})', '{{state}}']], { stack: true, step: true, overrides: colours({ ready: 'green', warming: 'orange', starting: 'yellow', draining: 'blue', stopping: 'text', failed: 'red' }) }),
      graph('Warm-up', 'Share of what peers had to offer that an instance is done with.', 'percentunit', [[`max by (instance) (millrace_warm_ratio{${ON}})`, '{{instance}}']], { max: 1 }),
      row('Decisions'),
      graph('Changes', 'Decisions that changed the number of instances, per minute.', 'none', [['sum by (pool, action) (rate(millrace_scaling_decisions_total{action!="hold", pool=~"$pool"}[$__rate_interval])) * 60', '{{pool}} {{action}}']]),
      graph('What held it back', 'Decisions per minute that a constraint kept from being what signals asked for.', 'none', [['sum by (binding) (rate(millrace_scaling_decisions_total{binding!="none", pool=~"$pool"}[$__rate_interval])) * 60', '{{binding}}']], { stack: true }),
      stat('Last change', 'Time since the number of desired instances last changed.', 's', 'time() - (max(millrace_scaling_last_change_timestamp_seconds{pool=~"$pool"}) > 0)', { none: 'never' }),
      row('Signals'),
      graph('Processor', 'Mean over servers; 100 % is one core.', 'percentunit', [[`avg(${rate('process_cpu_seconds_total', 'job!="millrace-sidecar"')})`, 'processor']], { alert: 0.75 }),
      graph('Requests per server', 'Load that one server bears.', 'reqps', [[`${sum(rate(`${SERVED}_count`))} / count(millrace_build_info{component="server"})`, 'requests']], { alert: 100 }),
      graph('Latency p95', 'To the head of the answer, from summed buckets.', 's', [[quantile(0.95, HEAD), 'p95']], { alert: 2 }),
      graph('Queue', 'Jobs that wait, over all servers.', 'none', [[`sum(millrace_queue_depth{${ON}})`, 'waiting']], { alert: 50 }),
      graph('Signals as read', 'What the controller decided by; there is none while a signal is unknown.', 'none', [['max by (pool, signal) (millrace_scaling_signal{pool=~"$pool"})', '{{pool}} {{signal}}']]),
      graph('Coverage of signals', 'Share of ready instances that a signal comes from; below 80 % it is unknown.', 'percentunit', [['min by (pool, signal) (millrace_scaling_signal_coverage_ratio{pool=~"$pool"})', '{{pool}} {{signal}}']], { max: 1 }),
    ],
  },
};

// ---- a whole dashboard -----------------------------------------------------------------------------------

/** From left to right, from top to bottom; a row begins a line of its own. */
function placed(panels) {
  let [x, y, line] = [0, 0, 0];
  return panels.map(({ width, height, ...panel }, at) => {
    if (x + width > 24) [x, y, line] = [0, y + line, 0];
    const gridPos = { h: height, w: width, x, y };
    x += width;
    line = Math.max(line, height);
    return { id: at + 1, gridPos, ...panel };
  });
}

function variable(name, label, query) {
  return {
    name, label, type: 'query', datasource: SOURCE, query: { query, refId: name, qryType: 1 }, refresh: 2, sort: 7, hide: 0, skipUrlSync: false,
    multi: true, includeAll: true, allValue: '.*', current: { selected: true, text: ['All'], value: ['$__all'] }, options: [], regex: '',
  };
}

export function board(name) {
  const { title, description, panels, pools } = BOARDS[name];
  return {
    uid: `millrace-${name}`, title, description, tags: ['millrace'], schemaVersion: 39, version: 1, editable: true, graphTooltip: 1, fiscalYearStartMonth: 0, liveNow: false, weekStart: '',
    refresh: '30s', time: { from: 'now-1h', to: 'now' }, timezone: 'browser', timepicker: {},
    links: [{ title: 'Millrace', type: 'dashboards', tags: ['millrace'], asDropdown: true, includeVars: true, keepTime: true, targetBlank: false, icon: 'external link', tooltip: '', url: '' }],
    annotations: { list: [{ name: 'Firing alerts', datasource: SOURCE, enable: true, hide: false, iconColor: 'red', expr: 'ALERTS{alertstate="firing"}', titleFormat: '{{alertname}}', textFormat: '{{instance}}', step: '60s' }] },
    templating: {
      list: [
        { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', refresh: 1, hide: 0, skipUrlSync: false, multi: false, includeAll: false, current: { selected: false, text: 'default', value: 'default' }, options: [], regex: '' },
        variable('instance', 'Server', 'label_values(millrace_build_info{component="server"}, instance)'),
        ...(pools ? [variable('pool', 'Pool', 'label_values(millrace_scaling_instances, pool)')] : []),
      ],
    },
    panels: placed(panels),
  };
}

export const NAMES = Object.keys(BOARDS);
export const text = (name) => `${JSON.stringify(board(name), null, 2)}\n`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = dirname(fileURLToPath(import.meta.url));
  for (const name of NAMES) writeFileSync(join(folder, `${name}.json`), text(name));
}
