// What the suite's results mean: which tests passed, and whether the others may fail.

/** Why a test did not pass; undefined when it did. */
function failure(test, tests, results) {
  const result = results[test.id];
  if (result === undefined) return { cause: 'untested', text: 'has no result' };
  for (const id of test.depends_on ?? []) {
    const known = tests.get(id);
    const first = known && failure(known, tests, results);
    // On a question that was answered with no, the next one does not arise.
    if (first && isAnswer(known, first)) return { cause: 'moot', text: `${id} was answered with no` };
    if (!known || first) return { cause: 'dependency', text: `depends on ${id}` };
  }
  if (result === true) return undefined;
  const [name, text] = result;
  if (name === 'Setup') return { cause: text === 'retry' ? 'retry' : 'set-up', text };
  if (name === 'Assertion') return { cause: 'assertion', text };
  return { cause: 'harness', text: `${name}: ${text}` };
}

/** A check only asks how a cache behaves: no is an answer, too; not coming to an answer is a fault. */
const isAnswer = (test, failure) => test.kind === 'check' && ['assertion', 'moot'].includes(failure.cause);

/** `exceptions`: reasons by id of the tests that are meant to fail. */
export function judge(list, results, exceptions) {
  const tests = new Map(list.map((test) => [test.id, test]));
  const judged = list.map((test) => ({ test, failure: failure(test, tests, results), reason: exceptions[test.id] }));
  const count = (kind) => {
    const some = judged.filter(({ test }) => test.kind === kind);
    return { passed: some.filter((one) => !one.failure).length, all: some.length };
  };
  const isFault = ({ test, failure, reason }) => (failure ? !reason && !isAnswer(test, failure) : Boolean(reason));
  return {
    counts: { required: count('required'), optimal: count('optimal'), check: count('check') },
    faults: judged.filter(isFault),
    excepted: judged.filter(({ failure, reason }) => failure && reason),
    answeredNo: judged.filter(({ test, failure }) => failure && isAnswer(test, failure)),
  };
}
