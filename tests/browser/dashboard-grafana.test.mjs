// The Grafana dashboards against a live fleet: every query is understood, and those that have something to show show it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { NAMES, text } from '../../dashboards/build.mjs';
import { root } from '../processes.mjs';
import { startDashboardFleet } from './dashboard-fleet.mjs';
import { eventually } from './servers.mjs';

/** What a fleet at peace, without uploads and jobs, has nothing to say of. */
const QUIET = /^(Errors|Given up|Turned away|Repeated requests|Broken bodies|Waiting for an origin|Video segments|Uploads|Bytes uploaded|Uploads under way|Improved images|Evictions|Time to apply a purge|Reasons of misses|Jobs|Jobs, p95|Jobs running and refused)$/;

let fleet;

before(async () => { fleet = await startDashboardFleet(); });
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
        if (QUIET.test(panel.title)) shown += (await ask(expr)) ? 1 : 0;
        else shown += await eventually(`${panel.title}: ${expr}`, async () => (await ask(expr)) > 0, 60_000) ? 1 : 0;
      }
    }
    console.log(`${name}: ${shown} of ${panels.flatMap((panel) => panel.targets).length} queries have something to show`);
  });
}
