/**
 * Reading logs.
 *
 * @module
 */

export { type Assembler, type AssemblerOptions, createAssembler } from "./assembler.ts";
export { type OpenWalReaderOptions, openWalReader, type WalReader } from "./open-reader.ts";
