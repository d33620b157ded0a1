import { describeMetaStore, describeObjectStore } from "../src/conformance.ts";
import { createFileMetaStore, createFileObjectStore } from "../src/file.node.ts";
import { systemClock, systemRandom } from "@millrace/types/node";
import {
  createMemoryMetaStore,
  createMemoryObjectStore,
  createObjectMetaStore,
} from "../src/mod.ts";
import { createTempFolder } from "./temp.ts";

describeObjectStore("memory", {
  open: async () => {
    const store = createMemoryObjectStore();
    return { store, close: () => store.close() };
  },
});

describeObjectStore("file", {
  open: async () => {
    const folder = await createTempFolder();
    const store = await createFileObjectStore({ dir: folder.path });
    const other = await createFileObjectStore({ dir: folder.path });
    return {
      store,
      other,
      async close() {
        await store.close();
        await other.close();
        await folder.remove();
      },
    };
  },
});

describeMetaStore("memory", {
  open: async () => {
    const store = createMemoryMetaStore();
    return { store, close: () => store.close() };
  },
});

describeMetaStore("file", {
  open: async () => {
    const folder = await createTempFolder();
    const store = await createFileMetaStore({ dir: folder.path });
    return {
      store,
      async close() {
        await store.close();
        await folder.remove();
      },
    };
  },
});

describeMetaStore("objects in memory", {
  open: async () => {
    const objects = createMemoryObjectStore();
    const options = { prefix: "meta", clock: systemClock, random: systemRandom, pollMs: 5 };
    const store = createObjectMetaStore(objects, options);
    const other = createObjectMetaStore(objects, options);
    return {
      store,
      other,
      async close() {
        await store.close();
        await other.close();
        await objects.close();
      },
    };
  },
});

describeMetaStore("objects in a folder", {
  open: async () => {
    const folder = await createTempFolder();
    const options = { prefix: "meta", clock: systemClock, random: systemRandom, pollMs: 5 };
    const objects = await createFileObjectStore({ dir: folder.path });
    const others = await createFileObjectStore({ dir: folder.path });
    const store = createObjectMetaStore(objects, options);
    const other = createObjectMetaStore(others, options);
    return {
      store,
      other,
      async close() {
        await store.close();
        await other.close();
        await objects.close();
        await others.close();
        await folder.remove();
      },
    };
  },
});
