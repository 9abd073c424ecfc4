// Serves the expositions of many made-up targets on one port, for benchmarks: /t/N is target N. Values follow from N, the series
// and the time, so that every scraper sees the same. Of the series of a target, in this order: buckets of request durations (most of
// them rarely move), counters with a steady rate, gauges that wander, gauges that stay.
//
//   node scripts/exposition-server.mjs PORT SERIES
import http from 'node:http';

const port = Number(process.argv[2] ?? 0);
const series = Number(process.argv[3] ?? 1000);
const BOUNDS = ['0.001', '0.005', '0.01', '0.05', '0.1', '0.25', '0.5', '1', '2.5', '5', '10', '+Inf'];
const begun = Date.now();

function hash(n) {
  let x = Math.imul(n ^ 0x9e3779b9, 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

function exposition(target) {
  const seconds = (Date.now() - begun) / 1000;
  const lines = [];
  let left = series;
  // Half of the series: histograms, 14 series each.
  lines.push('# HELP http_server_request_duration_seconds Time of requests.', '# TYPE http_server_request_duration_seconds histogram');
  for (let route = 0; left > series / 2; route += 1) {
    const rate = hash(target * 1000 + route) % 20 === 0 ? 50 : 0.02;
    const total = Math.floor(1000 + seconds * rate);
    const labels = `http_request_method="GET",http_route="/route/${route}",http_response_status_code="200"`;
    BOUNDS.forEach((bound, at) => {
      lines.push(`http_server_request_duration_seconds_bucket{${labels},le="${bound}"} ${Math.floor(total * Math.min(1, 0.3 + at * 0.08))}`);
    });
    lines.push(`http_server_request_duration_seconds_sum{${labels}} ${(total * 0.0123).toFixed(6)}`, `http_server_request_duration_seconds_count{${labels}} ${total}`);
    left -= 14;
  }
  lines.push('# TYPE millrace_cache_requests_total counter');
  for (let n = 0; left > series / 4; n += 1, left -= 1) {
    const rate = hash(target * 1000 + n + 500) % 100;
    lines.push(`millrace_cache_requests_total{route="/route/${n}",outcome="${n % 3 ? 'hit' : 'miss'}"} ${Math.floor(seconds * rate)}`);
  }
  lines.push('# TYPE millrace_queue_depth gauge');
  for (let n = 0; left > series / 8; n += 1, left -= 1) {
    lines.push(`millrace_queue_depth{queue="q${n}"} ${hash(Math.floor(seconds / 15) * 7919 + n + target) % 40}`);
  }
  lines.push('# TYPE millrace_cache_tier_capacity_bytes gauge');
  for (let n = 0; left > 0; n += 1, left -= 1) lines.push(`millrace_cache_tier_capacity_bytes{tier="t${n}"} ${n * 1048576}`);
  return `${lines.join('\n')}\n`;
}

const server = http.createServer((request, response) => {
  response.setHeader('content-type', 'text/plain; version=0.0.4');
  response.end(exposition(Number(request.url.split('/')[2] ?? 0)));
});
server.keepAliveTimeout = 60_000;
server.listen(port, '127.0.0.1', () => console.log(server.address().port));
