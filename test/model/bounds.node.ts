/** How much is explored: `MILLRACE_MODEL=large` takes minutes, and gigabytes. */
export function bounds<T>(small: T, large: T): T {
  return process.env.MILLRACE_MODEL === "large" ? large : small;
}
