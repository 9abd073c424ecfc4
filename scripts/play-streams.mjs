// Plays a long video as players do: each stream reads at the pace of the picture, for as long as the film lasts, and must end whole
// and with the very bytes of the film.

import { createHash } from 'node:crypto';
import http from 'node:http';

/** Reads `url` at so many bytes a second. Resolves to `undefined`, or to what went wrong. `seen` gets the answer's head. */
function play(url, { bytesPerSecond, digest, length, seen }) {
  return new Promise((resolve) => {
    const began = performance.now();
    const hash = createHash('sha256');
    let got = 0;
    // As little as possible waits in buffers: what is there has been played.
    const request = http.get(url, { agent: false, highWaterMark: 16 << 10 }, (answer) => {
      seen(answer);
      if (answer.statusCode !== 200) {
        answer.resume();
        return resolve(`status ${answer.statusCode}`);
      }
      answer.on('data', (bytes) => {
        hash.update(bytes);
        got += bytes.length;
        const early = (got / bytesPerSecond) * 1000 - (performance.now() - began);
        if (early > 20) {
          answer.pause();
          setTimeout(() => answer.resume(), early);
        }
      });
      answer.on('error', (error) => resolve(`cut after ${got} of ${length} bytes: ${error.code ?? error.message}`));
      answer.on('end', () => {
        if (!answer.complete || got !== length) return resolve(`ended after ${got} of ${length} bytes`);
        return resolve(hash.digest('hex') === digest ? undefined : 'other bytes');
      });
    });
    request.on('error', (error) => resolve(`after ${got} of ${length} bytes: ${error.code ?? error.message}`));
  });
}

/**
 * Starts a stream every `everySeconds` until it is told that no more are wanted. `leaving` says which instances are on their way out;
 * the balancer tells in `x-instance` which one a stream is on (HAProxy puts the group before it).
 */
export function playStreams(url, film, { everySeconds, seconds, leaving }) {
  const streams = [];
  const length = film.length;
  const digest = createHash('sha256').update(film).digest('hex');
  const one = () => {
    const stream = { instance: undefined, done: false, outlastedLeaving: false };
    streams.push(stream);
    stream.end = play(url, { bytesPerSecond: length / seconds, digest, length, seen: ({ headers }) => { stream.instance = headers['x-instance']?.split(':').at(-1); } })
      .then((fault) => Object.assign(stream, { fault, done: true }));
  };
  one();
  const starting = setInterval(one, everySeconds * 1000);
  const looking = setInterval(async () => {
    const names = await leaving().catch(() => []);
    for (const stream of streams) if (!stream.done && names.includes(stream.instance)) stream.outlastedLeaving = true;
  }, 500);
  return async () => {
    clearInterval(starting);
    await Promise.all(streams.map(({ end }) => end));
    clearInterval(looking);
    const faults = streams.filter(({ fault }) => fault).map(({ instance, fault }) => `${instance}: ${fault}`);
    return { played: streams.length, seconds_each: seconds, bytes_each: length, on_instances: [...new Set(streams.map(({ instance }) => instance))].sort(),
      while_their_instance_left: streams.filter(({ outlastedLeaving }) => outlastedLeaving).length, faults };
  };
}
