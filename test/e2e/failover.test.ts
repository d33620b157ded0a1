import { test } from "vitest";
import { expectFailover } from "../harness/failover.ts";
import { createTempFolder } from "../harness/temp.ts";

test("another coordinator takes over from one that is killed, and from one that is paused", {
  timeout: 180_000,
}, async () => {
  await using temp = await createTempFolder();
  await expectFailover({ folder: temp.path });
});
