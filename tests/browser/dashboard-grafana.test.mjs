// The Grafana dashboards against a live fleet: every query is understood, and those that have something to show show it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { NAMES, text } from '../../dashboards/build.mjs';
import { secret, token } from '../access.mjs';
import { binary, root } from '../processes.mjs';
import { startDashboardFleet } from './dashboard-fleet.mjs';
import { eventually } from './servers.mjs';

/** What a fleet whose origin and clients are well has nothing to say of. */
const QUIET = /^(origins: (Turned away|Repeated requests|Broken bodies|Waiting for an origin)|media: (Errors|Given up|Improved images|Jobs running and refused))$/;

const key = secret();
let fleet;

/** An upload, a job and an encoded segment. */
async function work() {
  const [{ data_url: site, admin_url: admin }] = await fleet.ready();
  const authorization = `Bearer ${token(binary('millrace', 'debug'), key, '--scope', 'upload')}`;
  const picture = await (await fetch(`${site}/photos/planet.png`)).arrayBuffer();
  const put = await fetch(`${site}/assets/planet.png`, { method: 'PUT', headers: { authorization, 'content-type': 'image/png' }, body: picture });
  assert.equal(put.status, 201, await put.text());
  const wanted = { preset: 'trim', source: '/videos/dusk-drive.mp4', output: 'clip.mp4', start: 0, end: 2, exact: false };
  const job = await fetch(`${admin}/api/v1/jobs`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(wanted) });
  assert.equal(job.status, 202, await job.text());
  const playlist = `${site}/videos/dusk-drive.mp4/master.m3u8`;
  const renditions = (await (await fetch(playlist)).text()).match(/^\d+p\/index\.m3u8/gm);
  const index = new URL(renditions.at(-1), playlist);
  const [segment] = (await (await fetch(index)).text()).match(/^seg-\S+/m);
  await (await fetch(new URL(segment, index))).arrayBuffer();
}

before(async () => {
  fleet = await startDashboardFleet({ MILLRACE__ACCESS__SECRET: key });
  await work();
});
after(async () => assert.deepEqual((await fleet?.stop() ?? []).filter((code) => code !== 0), []));

const read = (name) => readFileSync(join(root, 'dashboards', `${name}.json`), 'utf8');

async function ask(expr) {
  const query = expr.replaceAll('$__rate_interval', '30s').replaceAll(/\$(instance|pool)/g, '.*');
  const answer = await fetch(`${fleet.dashboard}/api/v1/query?${new URLSearchParams({ query })}`);
  const body = await answer.json();
  assert.equal(body.status, 'success', `${query}: ${body.error}`);
  return body.data.result.length;
}

test('the files are what build.mjs makes', () => {
  for (const name of NAMES) assert.equal(read(name), text(name), `${name}.json: run node dashboards/build.mjs`);
});

for (const name of NAMES) {
  test(`${name}: every query is answered, and what is measured is shown`, async () => {
    const panels = JSON.parse(read(name)).panels.filter((panel) => panel.type !== 'row');
    let shown = 0;
    for (const panel of panels) {
      for (const { expr } of panel.targets) {
        if (QUIET.test(`${name}: ${panel.title}`)) shown += (await ask(expr)) ? 1 : 0;
        else shown += await eventually(`${panel.title}: ${expr}`, async () => (await ask(expr)) > 0, 60_000) ? 1 : 0;
      }
    }
    console.log(`${name}: ${shown} of ${panels.flatMap((panel) => panel.targets).length} queries have something to show`);
  });
}
