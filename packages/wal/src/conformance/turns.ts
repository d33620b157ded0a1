/**
 * Letting other things run, on every runtime.
 *
 * @module
 */

/** Lets other things run, also those that wait for the operating system. */
export function nextTurn(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

/** Lets other things run several times. */
export async function nextTurns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await nextTurn();
}
