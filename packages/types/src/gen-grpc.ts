/**
 * The generated messages and services of `proto/grpc`: health checking and server reflection.
 *
 * @module
 */

export * as health from "./gen/grpc/health/v1/health_pb.ts";
export * as reflectionV1 from "./gen/grpc/reflection/v1/reflection_pb.ts";
export * as reflectionV1alpha from "./gen/grpc/reflection/v1alpha/reflection_pb.ts";
