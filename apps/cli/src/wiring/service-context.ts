/**
 * What every service runs with.
 *
 * @module
 */

import type { Logger } from "@millrace/types";
import type { Config } from "../config/schema/mod.ts";
import type { Io } from "../io.ts";

/** What a service runs with. */
export interface ServiceContext {
  io: Io;
  /** What was in force when it began. */
  config: Config;
  /** What is in force now. */
  current: () => Config;
  logger: Logger;
}
