// Optimal tests that fail on purpose, and why.

const malformed = 'its origin sends a Content-Range that does not fit the body; passing means serving malformed 206s';

export const exceptions = {
  'conditional-lm-fresh-no-lm': 'without Last-Modified there is nothing to compare If-Modified-Since with (RFC 9111 §4.3.2)',
  'partial-store-partial-reuse-partial': malformed,
  'partial-store-partial-reuse-partial-absent': malformed,
  'partial-store-partial-reuse-partial-byterange': malformed,
  'partial-store-partial-reuse-partial-suffix': malformed,
};
