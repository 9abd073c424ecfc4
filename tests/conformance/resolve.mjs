// Module hook: the suite's client imports `undici`, which stands in this folder's lock file.

export const resolve = (specifier, context, next) =>
  next(specifier, specifier === 'undici' ? { ...context, parentURL: import.meta.url } : context);
