/**
 * Requests of a stream worked on at the same time, answered as they are done.
 *
 * @module
 */

/**
 * Answers requests as they are done, at most `limit` at a time: while so many are under way or not
 * taken yet, no further request is read, so that a slow taker slows the sender. `work` must not
 * reject. Throws what the requests throw, after the answers to those that came before.
 */
export async function* mergeAnswers<Request, Answer>(
  requests: AsyncIterable<Request>,
  limit: number,
  work: (request: Request) => Promise<Answer>,
): AsyncGenerator<Answer> {
  const iterator = requests[Symbol.asyncIterator]();
  const answers: Answer[] = [];
  let running = 0;
  let reading = false;
  let ended = false;
  let failure: { error: unknown } | undefined;
  let wake: () => void = () => undefined;

  const answer = async (request: Request): Promise<void> => {
    running++;
    answers.push(await work(request));
    running--;
    wake();
  };

  const read = async (): Promise<void> => {
    reading = true;
    try {
      const next = await iterator.next();
      if (next.done) ended = true;
      else void answer(next.value);
    } catch (error) {
      ended = true;
      failure = { error };
    }
    reading = false;
    wake();
  };

  while (!ended || running > 0 || answers.length > 0) {
    if (!ended && !reading && running + answers.length < limit) void read();
    const [first] = answers;
    if (first !== undefined) {
      answers.shift();
      yield first;
      continue;
    }
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  if (failure) throw failure.error;
}
