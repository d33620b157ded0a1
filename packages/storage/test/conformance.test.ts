import { describeMetaStore, describeObjectStore } from "../src/conformance.ts";
import { createFileMetaStore, createFileObjectStore } from "../src/file.node.ts";
import { createMemoryMetaStore, createMemoryObjectStore } from "../src/mod.ts";
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
