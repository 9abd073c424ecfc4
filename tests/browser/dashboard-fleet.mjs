// What the dashboard's tests look at: two servers with traffic, a third that is not there, a sidecar that scrapes them every other second,
// rules that fire at once, and in front of the sidecar a double that answers for scaling.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { binary, root, start } from '../processes.mjs';
import { startScalingDouble } from './scaling-double.mjs';
import { eventually } from './servers.mjs';

const RULES = `groups:
  - name: fleet
    rules:
      - alert: TargetDown
        expr: up == 0
        labels: {severity: critical}
        annotations:
          summary: '{{ $labels.instance }} does not answer'
          description: Metrics of {{ $labels.job }} on {{ $labels.instance }} could not be scraped.
          runbook_url: docs/runbooks/TargetDown.md
      - alert: BusyServer
        expr: sum by (instance) (http_server_active_requests) >= 0
        for: 1h
        labels: {severity: warning}
        annotations: {summary: '{{ $labels.instance }} might be busy one day'}
      - alert: DiskFull
        expr: vector(0.97)
        labels: {severity: warning, instance: edge-1}
        annotations: {summary: 'The disk of edge-1 is 97 % full'}
      - record: instance:requests:rate30s
        expr: sum by (instance) (rate(http_server_request_duration_seconds_count[30s]))
`;

const PATHS = [
  '/photos/planet.png?w=160&fm=webp', '/photos/dawn-lake.jpg?w=320&fm=webp', '/photos/dusk-ridges.jpg?w=640', '/photos/night-lake.jpg?w=320&fm=webp', '/photos/desert-progressive.jpg?w=200',
  '/photos/planet.png', '/videos/dusk-drive.mp4/master.m3u8', '/videos/dusk-drive.mp4/source/index.m3u8', '/videos/dusk-drive.mp4/source/init.mp4',
];

/** Asks each server a few times a second until it is stopped; now and then for something new. */
function traffic(sites) {
  let on = true;
  let count = 0;
  const one = async (site) => {
    while (on) {
      count += 1;
      const path = count % 9 ? PATHS[count % PATHS.length] : `/photos/planet.png?w=${100 + (count % 400)}&fm=webp`;
      await fetch(site + path).then((response) => response.arrayBuffer()).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  };
  const done = Promise.all(sites.map(one));
  return async () => { on = false; await done; };
}

/** `options` go to the double. */
export async function startDashboardFleet(options) {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-dashboard-'));
  const started = [];
  let quiet = async () => {};
  const stop = async () => {
    await quiet();
    const codes = await Promise.all(started.reverse().map((process) => process.stop()));
    rmSync(scratch, { recursive: true, force: true });
    return codes.filter((code) => code !== undefined);
  };
  try {
    const library = join(scratch, 'library');
    execFileSync(join(root, 'scripts/demo-library.sh'), ['--small', library], { stdio: ['ignore', 'ignore', 'inherit'] });
    const servers = [];
    for (const name of ['one', 'two']) {
      const server = start(binary('millrace', 'debug'),
        ['serve', '--origin', library, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--data-dir', join(scratch, name), '--memory', '32MiB', '--disk', '128MiB'],
        [/^.*\blistening on (http:\/\/\S+)/m, /^.*\badmin on (http:\/\/\S+)/m]);
      started.push(server);
      const [site, admin] = await server.ready;
      servers.push({ site, admin });
    }
    // The discard port: nobody listens there.
    const admins = [...servers.map(({ admin }) => admin), 'http://127.0.0.1:9'];
    const [rules, config] = [join(scratch, 'rules.yml'), join(scratch, 'sidecar.toml')];
    writeFileSync(rules, RULES);
    writeFileSync(config, `${admins.map((url) => `[[targets]]\nurl = "${url}"\njob = "millrace"\n`).join('')}
[scrape]
interval_secs = 2
timeout_secs = 2
[rules]
files = ["${rules}"]
evaluation_interval_secs = 1
`);
    const sidecar = start(binary('millrace-sidecar', 'debug'), ['serve', '--config', config, '--listen', '127.0.0.1:0', '--data-dir', join(scratch, 'sidecar')], [/^dashboard on (http:\/\/\S+)/m]);
    started.push(sidecar);
    const [real] = await sidecar.ready;
    await eventually('the sidecar ready', async () => (await fetch(`${real}/health/ready`)).ok);
    quiet = traffic(servers.map(({ site }) => site));
    const double = await startScalingDouble(real, admins, options);
    started.push(double);
    return { dashboard: double.url, real, servers, admins, double, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
