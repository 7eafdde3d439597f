// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_JSON_H_
#define MTM_CLIENT_COMMANDS_JSON_H_

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "nlohmann/json.hpp"

namespace mtm::client {

// Protobuf's JSON with the names of the .proto files: 64-bit integers are strings, bytes are base64. Fields
// without presence are always there.
nlohmann::ordered_json ToJson(const google::protobuf::Message& message);

// {"error": {"code", "message", "fields": [{"field", "description"}]}}, with "retry_after_seconds" where the
// server said so.
nlohmann::ordered_json ErrorToJson(const absl::Status& status);

std::string ToLine(const nlohmann::ordered_json& json);      // for JSON Lines
std::string ToDocument(const nlohmann::ordered_json& json);  // indented

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_JSON_H_
