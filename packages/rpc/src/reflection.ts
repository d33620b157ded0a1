/**
 * Server reflection as gRPC has it: tools call the services without their .proto files.
 *
 * @module
 */

import {
  create,
  createRegistry,
  type DescFile,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  type Registry,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ServiceImpl } from "@connectrpc/connect";
import { reflectionV1, reflectionV1alpha } from "@millrace/types/gen-grpc";

/** The reflection services, in the two versions that tools ask for, of a set of services. */
export interface Reflection {
  v1: ServiceImpl<typeof reflectionV1.ServerReflection>;
  v1alpha: ServiceImpl<typeof reflectionV1alpha.ServerReflection>;
}

type Request = reflectionV1.ServerReflectionRequest["messageRequest"];
type Response = NonNullable<
  MessageInitShape<typeof reflectionV1.ServerReflectionResponseSchema>["messageResponse"]
>;

/** Answers about `services` and every file that they import. */
export function createReflection(services: readonly DescService[]): Reflection {
  const answerOf = createAnswer(services);
  const answer = (request: reflectionV1.ServerReflectionRequest) =>
    create(reflectionV1.ServerReflectionResponseSchema, {
      validHost: request.host,
      originalRequest: request,
      messageResponse: answerOf(request.messageRequest),
    });
  return {
    v1: {
      async *serverReflectionInfo(requests) {
        for await (const request of requests) yield answer(request);
      },
    },
    v1alpha: {
      async *serverReflectionInfo(requests) {
        for await (const request of requests) {
          yield convert(
            reflectionV1.ServerReflectionResponseSchema,
            reflectionV1alpha.ServerReflectionResponseSchema,
            answer(
              convert(
                reflectionV1alpha.ServerReflectionRequestSchema,
                reflectionV1.ServerReflectionRequestSchema,
                request,
              ),
            ),
          );
        }
      },
    },
  };
}

/** The same message in the other version: the two differ in the name of their package alone. */
function convert<From extends DescMessage, To extends DescMessage>(
  from: From,
  to: To,
  message: MessageShape<From>,
): MessageShape<To> {
  return fromBinary(to, toBinary(from, message));
}

function createAnswer(services: readonly DescService[]): (request: Request) => Response {
  const files = new Map<string, DescFile>();
  const add = (file: DescFile): void => {
    const name = file.proto.name;
    if (files.has(name)) return;
    files.set(name, file);
    for (const dependency of file.dependencies) add(dependency);
  };
  for (const service of services) add(service.file);
  const registry = createRegistry(...files.values());

  return (request) => {
    switch (request.case) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: services.map((service) => ({ name: service.typeName })) },
        };
      case "fileByFilename": {
        const file = files.get(request.value);
        return file ? descriptors(file) : notFound(`file ${request.value}`);
      }
      case "fileContainingSymbol": {
        const file = findSymbol(registry, request.value);
        return file ? descriptors(file) : notFound(`symbol ${request.value}`);
      }
      case "fileContainingExtension": {
        const { containingType, extensionNumber } = request.value;
        return notFound(`extension ${extensionNumber} of ${containingType}`);
      }
      case "allExtensionNumbersOfType":
        if (!registry.getMessage(request.value)) return notFound(`message ${request.value}`);
        return {
          case: "allExtensionNumbersResponse",
          value: { baseTypeName: request.value, extensionNumber: [] },
        };
      default:
        return failure(Code.InvalidArgument, "the request asks for nothing");
    }
  };
}

/** The file that declares a type, or a method, field or enum value within one. */
function findSymbol(registry: Registry, symbol: string): DescFile | undefined {
  const type = registry.get(symbol);
  if (type) return type.file;
  const dot = symbol.lastIndexOf(".");
  const parent = dot < 0 ? undefined : registry.get(symbol.slice(0, dot));
  const member = symbol.slice(dot + 1);
  const has = (item: DescMethod | { name: string }): boolean => item.name === member;
  switch (parent?.kind) {
    case "service":
      return parent.methods.some(has) ? parent.file : undefined;
    case "message":
      return parent.members.some(has) ? parent.file : undefined;
    default:
      return undefined;
  }
}

/** A file and everything it imports, itself first, each once. */
function descriptors(file: DescFile): Response {
  const ordered = new Set<DescFile>();
  const add = (next: DescFile): void => {
    if (ordered.has(next)) return;
    ordered.add(next);
    for (const dependency of next.dependencies) add(dependency);
  };
  add(file);
  const fileDescriptorProto = [...ordered].map((each) =>
    toBinary(FileDescriptorProtoSchema, each.proto),
  );
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
}

function notFound(what: string): Response {
  return failure(Code.NotFound, `${what} is not served here`);
}

function failure(errorCode: Code, errorMessage: string): Response {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}
