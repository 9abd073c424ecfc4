// Servers that let somebody in, for tests and scripts outside of Rust.

import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';

/** For `MILLRACE__ACCESS__SECRET`. */
export const secret = () => randomBytes(32).toString('base64');

/** A token of this program, made with the secret. */
export const token = (program, secret, ...args) =>
  execFileSync(program, ['token', '--ttl', '1h', ...args], { env: { ...process.env, MILLRACE__ACCESS__SECRET: secret } })
    .toString()
    .trim();

/** A server that can be killed. `port` is that of its data plane. */
export async function serve(program, secret, args) {
  const env = { ...process.env, MILLRACE__ACCESS__SECRET: secret };
  const child = spawn(program, ['serve', '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => { child.once('exit', resolve); });
  let said = '';
  let complained = '';
  child.stderr.setEncoding('utf8').on('data', (text) => { complained = (complained + text).slice(-4000); });
  await new Promise((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text) => {
      said += text;
      if (said.match(/http:\/\/\S+/g)?.length >= 2) resolve();
    });
    ended.then(() => reject(new Error(`the server ended: ${said}${complained}`)));
  });
  const port = Number(/http:\/\/[^:]+:(\d+)/.exec(said)[1]);
  const kill = async (signal = 'SIGKILL') => {
    child.kill(signal);
    await ended;
  };
  return { port, kill };
}
