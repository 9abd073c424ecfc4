// The Grafana dashboards against a live fleet to which everything happens that they tell of: every query has something to show.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { NAMES, text } from '../../dashboards/build.mjs';
import { secret, token } from '../access.mjs';
import { binary, root } from '../processes.mjs';
import { startDashboardFleet } from './dashboard-fleet.mjs';
import { startTroubledOrigin, trouble, troubledSettings } from './dashboard-trouble.mjs';
import { eventually } from './servers.mjs';

const key = secret();
const JOB = { preset: 'trim', source: '/videos/dusk-drive.mp4', output: 'clip.mp4', start: 0, end: 2, exact: false };
let fleet, origin, troubling, calm;

/** An upload, a job and an encoded segment. */
async function work() {
  const [{ data_url: site, admin_url: admin }] = await fleet.ready();
  const authorization = `Bearer ${token(binary('millrace', 'debug'), key, '--scope', 'upload')}`;
  const picture = await (await fetch(`${site}/photos/planet.png`)).arrayBuffer();
  const put = await fetch(`${site}/assets/planet.png`, { method: 'PUT', headers: { authorization, 'content-type': 'image/png' }, body: picture });
  assert.equal(put.status, 201, await put.text());
  // It begins as an image does, and cannot be decoded.
  const spoiled = Buffer.from(picture);
  spoiled.fill(0, spoiled.length / 2, spoiled.length / 2 + 64);
  origin.spoil(spoiled);
  const job = await fetch(`${admin}/api/v1/jobs`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(JOB) });
  assert.equal(job.status, 202, await job.text());
  const playlist = `${site}/videos/dusk-drive.mp4/master.m3u8`;
  const renditions = (await (await fetch(playlist)).text()).match(/^\d+p\/index\.m3u8/gm);
  const index = new URL(renditions.at(-1), playlist);
  const [segment] = (await (await fetch(index)).text()).match(/^seg-\S+/m);
  await (await fetch(new URL(segment, index))).arrayBuffer();
}

before(async () => {
  origin = await startTroubledOrigin();
  fleet = await startDashboardFleet({ MILLRACE__ACCESS__SECRET: key }, (library) => troubledSettings(library, origin.url));
  await work();
  let on = true;
  troubling = (async () => {
    for (let round = 0; on; round++) {
      // Not always the same: a server that has had enough of it is replaced.
      const [site] = await fleet.ready().catch(() => []);
      if (site) await trouble(site, round, JOB);
      await sleep(50);
    }
  })();
  calm = async () => { on = false; await troubling; };
});
after(async () => {
  await calm?.();
  const codes = (await fleet?.stop() ?? []).filter((code) => code !== 0);
  await origin?.stop();
  assert.deepEqual(codes, []);
});

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
  test(`${name}: every query has something to show`, async () => {
    const panels = JSON.parse(read(name)).panels.filter((panel) => panel.type !== 'row');
    let shown = 0;
    for (const panel of panels) {
      for (const { expr } of panel.targets) {
        await eventually(`${panel.title}: ${expr}`, async () => (await ask(expr)) > 0, 120_000);
        shown += 1;
      }
    }
    console.log(`${name}: ${shown} queries have something to show`);
  });
}
