/**
 * What a node refuses to put into a log: what the readers of the log could not make sense of.
 *
 * @module
 */

import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { isControlChannel, MillraceError } from "@millrace/types";
import {
  AlterCollectionHeaderSchema,
  BroadcastHeaderSchema,
  CreateCollectionHeaderSchema,
  DeleteHeaderSchema,
  DropCollectionHeaderSchema,
  InsertHeaderSchema,
  ManualFlushHeaderSchema,
  type Message,
  MessageType,
  PartitionHeaderSchema,
  TruncateCollectionHeaderSchema,
} from "@millrace/types/gen";
import { invalid } from "./request.ts";

const maxHeaderBytes = 1024 * 1024;

/**
 * Checks the messages of an append by their headers; payloads are not looked at. Throws
 * `INVALID_ARGUMENT` with the path of the field.
 */
export function checkMessages(messages: readonly Message[]): void {
  messages.forEach((message, index) => {
    checkMessage(message, `messages[${index}]`);
  });
}

function checkMessage({ type, vchannel, header }: Message, path: string): void {
  const at = `${path}.header`;
  if (isControlChannel(vchannel) !== (type === MessageType.BROADCAST)) {
    throw invalid(
      `${path}.vchannel`,
      "takes messages of type BROADCAST if, and only if, it is a control channel",
    );
  }
  if (header.byteLength > maxHeaderBytes) {
    throw invalid(at, `has ${header.byteLength} bytes; at most ${maxHeaderBytes} are allowed`);
  }
  switch (type) {
    case MessageType.UNSPECIFIED:
      throw invalid(`${path}.type`, "is missing");
    case MessageType.TIME_TICK:
    case MessageType.CREATE_SEGMENT:
      throw invalid(`${path}.type`, "is written by nodes alone");
    case MessageType.INSERT:
      read(InsertHeaderSchema, header, at);
      return;
    case MessageType.DELETE:
      read(DeleteHeaderSchema, header, at);
      return;
    case MessageType.CREATE_COLLECTION: {
      const { collection } = read(CreateCollectionHeaderSchema, header, at);
      if (!collection?.schema) throw invalid(`${at}.collection.schema`, "is missing");
      if (collection.tablePath === "") throw invalid(`${at}.collection.table_path`, "is missing");
      return;
    }
    case MessageType.ALTER_COLLECTION:
      if (!read(AlterCollectionHeaderSchema, header, at).collection?.schema) {
        throw invalid(`${at}.collection.schema`, "is missing");
      }
      return;
    case MessageType.DROP_COLLECTION:
      read(DropCollectionHeaderSchema, header, at);
      return;
    case MessageType.CREATE_PARTITION:
    case MessageType.DROP_PARTITION:
      if (!read(PartitionHeaderSchema, header, at).partition) {
        throw invalid(`${at}.partition`, "is missing");
      }
      return;
    case MessageType.TRUNCATE_COLLECTION:
      read(TruncateCollectionHeaderSchema, header, at);
      return;
    case MessageType.MANUAL_FLUSH:
      read(ManualFlushHeaderSchema, header, at);
      return;
    case MessageType.BROADCAST:
      read(BroadcastHeaderSchema, header, at);
      return;
  }
}

function read<Desc extends DescMessage>(
  schema: Desc,
  header: Uint8Array,
  path: string,
): MessageShape<Desc> {
  try {
    return fromBinary(schema, header);
  } catch (cause) {
    throw new MillraceError("INVALID_ARGUMENT", `${path} is not a ${schema.name}`, {
      field: path,
      cause,
    });
  }
}
