/** Something that happens once, and that others wait for. */
export interface Latch {
  /** Resolves when it is open. */
  opened: Promise<void>;
  open(): void;
}

/** Creates a latch that is closed. */
export function createLatch(): Latch {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
