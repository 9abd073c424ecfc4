// Answers what a sidecar with a scaling policy would answer at /api/v1/scaling…, and passes everything else on to a real
// sidecar. Shapes are those of the API; numbers are made up, but for the signals, which are queries to the real one.

import { createServer, request } from 'node:http';

const iso = (millis) => new Date(millis).toISOString();

const rule = (name, direction, verdict, value, threshold, seconds) => ({ name, direction, expr: name, verdict, value, threshold, for_seconds: seconds, true_since: null });

function decision(at, action, from, to, binding, reason, counterfactual, more = {}) {
  return {
    at: iso(at), group: 'edge', action, from, to, binding, reason, counterfactual, ready: from, warming: 0,
    rules: [rule('cpu above 75 %', 'up', action === 'up' ? 'true' : 'false', action === 'up' ? 0.81 : 0.52, 0.75, 60), rule('p95 above 2 s', 'up', 'false', 0.04, 2, 60), rule('cpu below 35 %', 'down', action === 'down' ? 'true' : 'false', 0.31, 0.35, 300)],
    targets: [{ signal: 'requests', value: 92, target: 80, ratio: 1.15, wants: to }],
    ...more,
  };
}

/** A quarter of an hour with everything in it: growth, what held it back, a hand, and calm. Newest first. */
function story(now) {
  const at = (minutes) => now - minutes * 60_000;
  const hold = (minutes, until, count, desired, binding, reason, otherwise) => decision(at(minutes), 'hold', desired, desired, binding, reason, otherwise, { repeated: count, until: iso(at(until)) });
  return [
    hold(1.5, 0, 18, 3, 'none', 'Every signal is between its thresholds.', ''),
    hold(3, 1.6, 17, 3, 'cooldown_down', 'CPU is below 35 %, but the last change was 4 minutes ago; the cooldown is 5.', 'One instance fewer: all down-rules have been true for 5 minutes.'),
    hold(5, 3.1, 23, 3, 'override', 'Held at 3 by kim: load test until 16:00.', 'One instance fewer: CPU is at 31 %.'),
    decision(at(6), 'down', 4, 3, 'none', 'CPU has been below 35 % for 5 minutes on every ready instance; edge-2 leaves, it has the fewest streams.', ''),
    hold(9, 6.1, 35, 4, 'origin_budget', 'CPU is low, but with one cache less the origin would get 142 requests per second; its budget is 120.', 'One instance fewer: all down-rules have been true for 6 minutes.'),
    hold(10.5, 9.1, 17, 4, 'unknown', 'No news of edge-3 for 50 seconds: numbers that are missing are not taken for low ones.', 'Nothing else: no rule is true.'),
    decision(at(11), 'up', 3, 4, 'rate', 'CPU has been above 75 % for 60 seconds.', 'Two instances more at once: the target for requests wants 5.', { ready: 3, warming: 0 }),
    hold(12, 11.1, 11, 3, 'cold_limit', 'CPU is high, but edge-3 is still warming and one cold instance at a time is allowed.', 'One instance more: CPU is at 84 %.', { ready: 2, warming: 1 }),
    decision(at(13.5), 'up', 2, 3, 'none', 'p95 has been above 2 s for 60 seconds, and the origin answers as fast as ever.', '', { ready: 2 }),
    hold(15, 13.6, 17, 2, 'startup', 'The sidecar has just started; nothing is decided before it has seen three scrapes.', 'Nothing else: no rule is true.'),
  ];
}

function body(incoming) {
  return new Promise((resolve) => {
    let text = '';
    incoming.setEncoding('utf8').on('data', (chunk) => { text += chunk; }).on('end', () => resolve(text));
  });
}

/** `instances`: base URLs of the admin ports. Returns {url, stop, state, say(kind, data)}. */
export async function startScalingDouble(sidecar, instances, options = {}) {
  const begun = Date.now();
  const names = instances.map((_, at) => `edge-${at + 1}`);
  const state = { override: null, drained: [], token: options.token ?? '', posted: [], down: false };
  const listeners = new Set();
  const say = (kind, data) => listeners.forEach((listener) => listener.write(`event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`));

  const view = (name, at) => {
    const draining = state.drained.includes(name);
    const cold = at === 2;
    return { name, data_url: instances[at], admin_url: instances[at], state: draining ? 'draining' : cold ? 'warming' : 'ready', since: iso(begun - (at + 1) * 220_000), warm_ratio: cold ? 0.62 : 1, streams: draining ? 2 : cold ? 0 : 14 - 5 * at, note: draining ? 'waits for 2 streams, at most 4 more minutes' : cold ? 'gets what its peers hold, 166 of 268 MB' : '' };
  };
  const signal = (name, expr, unit, value, up, down, target, more = {}) => ({ name, expr, unit, value, age_seconds: 2.4, coverage: 1, usable: true, why: '', up, down, target, ...more });
  const signals = [
    signal('cpu', 'avg(rate(process_cpu_seconds_total{job="millrace"}[30s]))', 'ratio', 0.52, 0.75, 0.35, null),
    signal('requests', 'sum(rate(http_server_request_duration_seconds_count[30s])) / count(up{job="millrace"})', 'requests/s', 24.2, 100, 30, 80),
    signal('p95', 'histogram_quantile(0.95, sum by (le) (rate(http_server_request_duration_seconds_bucket[30s])))', 'seconds', 0.04, 2, 0.5, null),
    signal('queue', 'sum(millrace_queue_depth)', 'jobs', null, 50, 10, null, { usable: false, age_seconds: 51, coverage: 0.67, why: 'news of only 2 of 3 instances, the newest 51 s old' }),
  ];
  const group = () => ({
    name: 'edge', mode: state.override ? (state.override.pause ? 'paused' : 'override') : 'auto', override: state.override,
    min: 2, max: 8, desired: state.override?.desired ?? 3, ready: names.length - 1 - state.drained.length, reachable: true, converging: state.drained.length > 0, error: null,
    instances: names.map(view), signals, last: story(Date.now())[0],
  });

  async function scaling(incoming, outgoing, url) {
    const answer = (status, data) => { outgoing.writeHead(status, { 'content-type': 'application/json' }); outgoing.end(JSON.stringify(data)); };
    const success = (data) => answer(200, { status: 'success', data });
    const allowed = incoming.method === 'GET' || !state.token || incoming.headers.authorization === `Bearer ${state.token}`;
    if (!allowed) return answer(403, { status: 'error', errorType: 'forbidden', error: 'changes want the token' });
    const path = url.pathname.slice('/api/v1/scaling'.length);
    if (path === '' && incoming.method === 'GET') return success({ groups: [group()] });
    if (path === '/decisions') return success({ decisions: story(Date.now()).filter((one) => !url.searchParams.get('action') || one.action === url.searchParams.get('action')) });
    if (path === '/override' && incoming.method === 'POST') {
      const wanted = JSON.parse(await body(incoming));
      if (!wanted.pause && (wanted.desired < 2 || wanted.desired > 8)) return answer(400, { status: 'error', errorType: 'bad_data', error: 'desired: must be between 2 and 8' });
      state.posted.push(wanted);
      state.override = { desired: wanted.desired ?? 3, pause: Boolean(wanted.pause), by: 'this machine', reason: wanted.reason, until: iso(Date.now() + wanted.seconds * 1000) };
      say('decision', { group: 'edge' });
      return success(state.override);
    }
    if (path === '/override' && incoming.method === 'DELETE') {
      state.override = null;
      return success(null);
    }
    const drain = /^\/instances\/([^/]+)\/drain$/.exec(path);
    if (drain && incoming.method === 'POST') {
      state.drained.push(decodeURIComponent(drain[1]));
      say('instance', { name: drain[1], state: 'draining' });
      return success(null);
    }
    return answer(404, { status: 'error', errorType: 'not_found', error: 'no such thing' });
  }

  const server = createServer((incoming, outgoing) => {
    if (state.down) return outgoing.destroy();
    const url = new URL(incoming.url, sidecar);
    if (options.policy !== false && url.pathname.startsWith('/api/v1/scaling')) return scaling(incoming, outgoing, url);
    const passed = request(url, { method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
      if (url.pathname !== '/api/v1/events') return;
      listeners.add(outgoing);
      outgoing.on('close', () => { listeners.delete(outgoing); passed.destroy(); });
    });
    passed.on('error', () => outgoing.destroy());
    return incoming.pipe(passed);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); });
  return { url: `http://127.0.0.1:${server.address().port}`, stop, state, say };
}
