// The public suite of HTTP cache tests, whichever edition: its tests, its client, its origin.
//
// The registry has an edition of 2021; upstream has gone on without publishing. `MILLRACE_CACHE_TESTS` names a checkout
// of upstream (its folder `test-engine` holds what used to stand at the top).

import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { register } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import nodeFetch from 'node-fetch';

const published = fileURLToPath(new URL('node_modules/http-cache-tests', import.meta.url));

export async function load(dir = process.env.MILLRACE_CACHE_TESTS ?? published) {
  const current = existsSync(join(dir, 'test-engine'));
  const engine = current ? join(dir, 'test-engine') : dir;
  const part = (base, path) => import(pathToFileURL(join(base, path)));
  // A checkout needs no packages of its own: what it imports is found here.
  if (current) register('./resolve.mjs', import.meta.url);

  const { runTests, getResults } = await part(engine, 'client/runner.mjs');
  const { default: suites } = await part(dir, 'tests/index.mjs');
  const tests = suites.flatMap((suite) => suite.tests.map((test) => ({ ...test, suite: suite.id, kind: test.kind ?? 'required' })));
  const handlers = Object.fromEntries(await Promise.all(['config', 'test', 'state'].map(
    async (name) => [name, (await part(engine, `server/handle-${name}.mjs`)).default])));

  return {
    edition: current ? 'current' : 'published',
    /** What applies to a cache in front of a server. */
    tests: tests.filter((test) => !test.browser_only),
    /** Results by test id: true, or the kind and the text of the failure. */
    async run(base, chosen) {
      const suite = [{ id: 'all', name: 'all', tests: chosen }];
      await (current ? runTests(suite, false, base) : runTests(suite, nodeFetch, false, base));
      return getResults();
    },
    /** Listens on a free port; resolves to the server. */
    origin() {
      const server = createServer((request, response) => {
        const [handler, ...rest] = new URL(request.url, 'http://origin').pathname.split('/').slice(1);
        if (handlers[handler]) handlers[handler](rest, request, response);
        else response.writeHead(404).end();
      });
      return new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, '127.0.0.1', () => resolve(server));
      });
    },
  };
}
