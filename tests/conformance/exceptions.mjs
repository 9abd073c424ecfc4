// Tests that fail on purpose, and why: five optimal ones, three checks, and what the published edition has wrong.

const malformed = 'its origin sends a Content-Range that does not fit the body; passing means serving malformed 206s';
const spent = 'only a check: what is stored gives up its CDN-Cache-Control here, the check wants to see it before it asks';

const always = {
  'conditional-lm-fresh-no-lm': 'its If-Modified-Since is older than the Date, which stands in for the missing Last-Modified (RFC 9111 §4.3.2)',
  'partial-store-partial-reuse-partial': malformed,
  'partial-store-partial-reuse-partial-absent': malformed,
  'partial-store-partial-reuse-partial-byterange': malformed,
  'partial-store-partial-reuse-partial-suffix': malformed,
};

const current = {
  'cdn-remove-age-exceed': spent,
  'cdn-date-update-exceed': spent,
  'cdn-expires-update-exceed': spent,
};

// Since turned into its opposite, or into a check, by the current edition.
const age = 'an Age that is no number is ignored, and of several the first counts (RFC 9111 §5.1)';
const closed = 'no origin made the 502, so it has no number; the edition takes that for an answer from store';
const published = {
  'age-parse-nonnumeric': age,
  'age-parse-negative': age,
  'age-parse-float': age,
  'age-parse-prefix-twoline': age,
  'age-parse-dup-0': age,
  'age-parse-dup-0-twoline': age,
  'age-parse-dup-old': age,
  'age-parse-parameter': age,
  'age-parse-numeric-parameter': age,
  'stale-close-must-revalidate': closed,
  'stale-close-proxy-revalidate': closed,
  'stale-close-no-cache': closed,
  'stale-close-s-maxage=2': closed,
  '304-etag-update-response-Content-MD5': 'a 304 updates the fields that RFC 9111 §3.2 does not except',
  '304-etag-update-response-Content-Type': 'Content-Type belongs to the stored bytes (RFC 9111 §3.2)',
};

/** Reasons by test id. */
export const exceptions = { current: { ...always, ...current }, published: { ...always, ...published } };
