/**
 * The streaming coordinator: who owns which pchannel, time ticks and ids, and the catalog.
 *
 * @module
 */

export { type Coord, type CoordOptions, createCoord } from "./coord.ts";
