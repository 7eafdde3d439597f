// SPDX-License-Identifier: Apache-2.0
// What any change of a memory may carry.
#ifndef MTM_SERVER_RPC_VALIDATE_CHANGE_H_
#define MTM_SERVER_RPC_VALIDATE_CHANGE_H_

#include <google/protobuf/map.h>
#include <google/protobuf/struct.pb.h>

#include <map>
#include <string>

#include "server/rpc/field_errors.h"

namespace mtm {

// Each adds to `errors` what is wrong.

// A name alone, without a digest.
void CheckName(const std::string& field, const std::string& name, FieldErrors& errors);

// At most 64, keys `[a-z0-9][a-z0-9._/-]{0,62}`, values of at most 256 bytes.
std::map<std::string, std::string> ReadLabels(const std::string& field,
                                              const google::protobuf::Map<std::string, std::string>& labels,
                                              FieldErrors& errors);

// As JSON: at most 16 KiB, all numbers finite.
std::string ReadMetadata(const std::string& field, const google::protobuf::Struct& metadata,
                         FieldErrors& errors);

// At most 128 printable ASCII characters; none is no id.
void CheckRequestId(const std::string& field, const std::string& id, FieldErrors& errors);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_VALIDATE_CHANGE_H_
