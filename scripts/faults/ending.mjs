// What a script has started goes, however the script ends: by itself, by a fault of its own, or because it is told to.

/** Gives what ends the script with a status; `clean` runs before, once. */
export function ending(clean) {
  let begun;
  const end = (status) => {
    begun ??= Promise.resolve().then(clean).catch((error) => console.error(error.message)).then(() => process.exit(status));
    return begun;
  };
  process.on('uncaughtException', (error) => { console.error(error); end(1); });
  process.once('SIGINT', () => end(130));
  process.once('SIGTERM', () => end(143));
  return end;
}
