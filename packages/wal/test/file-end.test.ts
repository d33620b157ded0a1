import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createFaultyFiles, systemError } from "./faulty-files.node.ts";
import { createFileFixture, type FileFixture, range, sequencesOf } from "./file-fixture.node.ts";

let fixture: FileFixture;

beforeEach(async () => {
  fixture = await createFileFixture();
});
afterEach(() => fixture.close());

test("an owner makes the end durable that another one wrote down, before it goes on behind it", async () => {
  const first = await fixture.open(1);
  await fixture.fill(first, 2);
  const end = join(fixture.folder(1), "end");
  // Term 2 dies when the end has its name, and before that is durable.
  let written = false;
  const dying = createFaultyFiles({
    before(operation, path) {
      if (written && operation === "syncFolder") throw systemError("EIO");
      if (operation === "link" && path === end) written = true;
    },
  });
  await expect(fixture.open(2, { fs: dying })).rejects.toThrow("EIO");
  const steps: string[] = [];
  const watched = createFaultyFiles({
    before(operation, path) {
      if (path === end || path === fixture.folder(1)) steps.push(operation);
    },
  });
  const third = await fixture.open(3, { fs: watched });
  expect(steps.slice(steps.indexOf("read"))).toContain("syncFolder");
  await fixture.fill(third, 4);
  expect(await sequencesOf(third)).toEqual(range(0, 4));
});
