/**
 * The services that every Millrace server answers besides its own.
 *
 * @module
 */

import type { DescService } from "@bufbuild/protobuf";
import { health, reflectionV1, reflectionV1alpha } from "@millrace/types/gen-grpc";
import { type HealthOptions, healthService } from "./health.ts";
import { createReflection } from "./reflection.ts";
import type { Routes } from "./routes.ts";

/**
 * The routes with `grpc.health.v1.Health` and server reflection (v1 and v1alpha) over `services`,
 * which are the services of `routes`.
 */
export function withHealthAndReflection(
  routes: Routes,
  services: readonly DescService[],
  options: HealthOptions,
): Routes {
  const all = [...services, health.Health];
  const reflection = createReflection([
    ...all,
    reflectionV1.ServerReflection,
    reflectionV1alpha.ServerReflection,
  ]);
  const names = services.map((service) => service.typeName);
  return (router) => {
    routes(router);
    router.service(health.Health, healthService(names, options));
    router.service(reflectionV1.ServerReflection, reflection.v1);
    router.service(reflectionV1alpha.ServerReflection, reflection.v1alpha);
  };
}
