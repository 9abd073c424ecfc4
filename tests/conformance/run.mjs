// Runs the public cache suite against the real binary: node run.mjs [TEST-ID]... [--verbose]
//
// Without ids it runs everything and ends with 1 below the bar: every required and every optimal test but the named
// exceptions, and no test that fails for another reason than what it tests. With ids, both sides of the exchange are shown.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';

import { binary, start } from '../processes.mjs';
import { exceptions } from './exceptions.mjs';
import { load } from './suite.mjs';
import { judge } from './verdict.mjs';

/** The suite takes under a minute; its client has no deadline of its own in every edition. */
const DEADLINE_MS = 300_000;
/** Fewer tests than any edition has would be no run of the suite. */
const LEAST = { required: 157, optimal: 86 };

const options = process.argv.slice(2);
const verbose = options.includes('--verbose');
const ids = options.filter((option) => !option.startsWith('--'));

/** Its tests tell seconds apart: when it is kept waiting itself for as long, its set-ups fail, whatever the server does. */
const STALL_MS = 500;
const delays = monitorEventLoopDelay({ resolution: 20 });

const suite = await load();
const shown = suite.tests.filter((test) => ids.includes(test.id));
if (shown.length < ids.length) throw new Error(`no such test among: ${ids.join(' ')}`);
const chosen = ids.length === 0 ? suite.tests : shown.map((test) => ({ ...test, dump: true, depends_on: [] }));

const results = await run();
process.exit(report() ? 0 : 1);

async function run() {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-conformance-'));
  const origin = await suite.origin();
  const server = start(binary('millrace', 'release'),
    ['serve', '--origin', `http://127.0.0.1:${origin.address().port}`, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0',
      '--data-dir', join(scratch, 'data'), '--memory', '64MiB', '--disk', '256MiB',
      // The suite holds that an answer with Set-Cookie and a lifetime is stored; by default we do not.
      '--set', 'cache.cookies_with_lifetime=true'],
    [/^.*\blistening on (http:\/\/\S+)/m]);
  const deadline = setTimeout(() => {
    console.log(`not finished within ${DEADLINE_MS / 1000} s`);
    server.stop().finally(() => process.exit(1));
  }, DEADLINE_MS);
  try {
    const [base] = await server.ready;
    delays.enable();
    return await suite.run(base.replace(/\/$/, ''), chosen);
  } finally {
    clearTimeout(deadline);
    const code = await server.stop();
    if (verbose || ids.length > 0) console.log(server.output());
    origin.closeAllConnections();
    origin.close();
    rmSync(scratch, { recursive: true, force: true });
    if (code !== 0) throw new Error(`the server ended with ${code}`);
  }
}

/** Prints what there is to say; true when the bar is reached. */
function report() {
  const { counts, faults, excepted, answeredNo } = judge(chosen, results, exceptions[suite.edition]);
  for (const { test, failure, reason } of faults) {
    const what = failure ? `${failure.cause}: ${failure.text}` : `passes, but is expected to fail: ${reason}`;
    console.log(`FAIL ${test.kind} ${test.id} (${test.suite}) ${test.name}\n     ${what}`);
  }
  for (const { test, reason } of excepted) console.log(`left ${test.kind} ${test.id}: ${reason}`);
  if (verbose) for (const { test, failure } of answeredNo) console.log(`no   ${test.id} ${test.name}\n     ${failure.text}`);
  const summary = Object.entries(counts).map(([kind, { passed, all }]) => `${kind} ${passed}/${all}`).join(', ');
  console.log(`${suite.edition} edition: ${summary}; ${faults.length} below the bar`);
  const complete = ids.length > 0 || Object.entries(LEAST).every(([kind, least]) => counts[kind].all >= least);
  const stall = delays.max / 1e6;
  if (faults.length > 0 && stall > STALL_MS) console.log(`the suite itself was kept waiting for up to ${stall.toFixed(0)} ms: the machine may be too busy`);
  if (!complete) console.log(`the suite has fewer tests than expected: ${JSON.stringify(LEAST)}`);
  return complete && faults.length === 0;
}
