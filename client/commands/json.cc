// SPDX-License-Identifier: Apache-2.0
#include "client/commands/json.h"

#include "client/status.h"
#include "google/protobuf/util/json_util.h"

namespace mtm::client {
namespace {

using nlohmann::ordered_json;

// Messages may quote a caller's bytes that are no UTF-8.
constexpr auto kReplace = ordered_json::error_handler_t::replace;

}  // namespace

ordered_json ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
#if GOOGLE_PROTOBUF_VERSION >= 5026000
  options.always_print_fields_with_no_presence = true;
#else
  options.always_print_primitive_fields = true;
#endif
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) return {{"unprintable", std::string(status.message())}};
  return ordered_json::parse(text);
}

ordered_json ErrorToJson(const absl::Status& status) {
  ordered_json fields = ordered_json::array();
  for (const FieldViolation& violation : FieldViolations(status)) {
    fields.push_back({{"field", violation.field}, {"description", violation.description}});
  }
  ordered_json error = {{"code", absl::StatusCodeToString(status.code())},
                        {"message", std::string(status.message())},
                        {"fields", fields}};
  if (const auto delay = RetryDelay(status)) error["retry_after_seconds"] = absl::ToDoubleSeconds(*delay);
  return {{"error", error}};
}

std::string ToLine(const ordered_json& json) { return json.dump(-1, ' ', false, kReplace) + "\n"; }

std::string ToDocument(const ordered_json& json) { return json.dump(2, ' ', false, kReplace) + "\n"; }

}  // namespace mtm::client
