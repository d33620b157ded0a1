/**
 * A planted fault, loaded into a node by `--import`: as an owner of logs it does not see that another has
 * followed, and acknowledges what no reader will see.
 *
 * @module
 */

import fs, { type PathLike, type StatSyncOptions } from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const statSync = fs.statSync as (path: PathLike, options?: StatSyncOptions) => unknown;
const blindStatSync = (path: PathLike, options?: StatSyncOptions): unknown =>
  String(path).endsWith("/fence") ? undefined : statSync(path, options);
Object.assign(fs, { statSync: blindStatSync });
syncBuiltinESMExports();
