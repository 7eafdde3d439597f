// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_MESSAGES_H_
#define MTM_SERVER_RPC_MESSAGES_H_

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"

namespace mtm {

// Our services take requests as bytes and parse them here: what gRPC cannot parse it answers with
// UNIMPLEMENTED and no word on why.
//
// INVALID_ARGUMENT: a text field is no UTF-8 (BadRequest names it), or the bytes are no such message.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message);

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_MESSAGES_H_
