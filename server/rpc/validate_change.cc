// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/validate_change.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "memory_store/memory_store.h"

namespace mtm {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr int kMaxLabels = 64;
constexpr size_t kMaxKeyBytes = 63;
constexpr size_t kMaxValueBytes = 256;
constexpr size_t kMaxMetadataBytes = 16 * 1024;
constexpr size_t kMaxIdBytes = 128;

bool IsAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool IsLabelKey(std::string_view key) {
  return !key.empty() && key.size() <= kMaxKeyBytes && IsAlphanumeric(key[0]) &&
         std::ranges::all_of(key, [](char c) {
           return IsAlphanumeric(c) || std::string_view("._/-").find(c) != std::string_view::npos;
         });
}

// JSON has no other numbers.
bool IsFinite(const Value& value) {
  switch (value.kind_case()) {
    case Value::kNumberValue:
      return std::isfinite(value.number_value());
    case Value::kStructValue:
      return std::ranges::all_of(value.struct_value().fields(),
                                 [](const auto& field) { return IsFinite(field.second); });
    case Value::kListValue:
      return std::ranges::all_of(value.list_value().values(), IsFinite);
    default:
      return true;
  }
}

}  // namespace

void CheckName(const std::string& field, const std::string& name, FieldErrors& errors) {
  const absl::Status status = CheckMemoryName(name);
  if (!status.ok()) errors.Add(field, std::string(status.message()));
}

std::map<std::string, std::string> ReadLabels(const std::string& field,
                                              const google::protobuf::Map<std::string, std::string>& labels,
                                              FieldErrors& errors) {
  if (labels.size() > kMaxLabels) {
    errors.Add(field, absl::StrCat("has ", labels.size(), " labels; at most ", kMaxLabels, " are kept"));
  }
  const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  for (const auto& [key, value] : sorted) {
    const std::string at = absl::StrCat(field, "[", key, "]");
    if (!IsLabelKey(key)) {
      errors.Add(at, "has a key that is not of the form [a-z0-9][a-z0-9._/-]{0,62}");
    }
    if (value.size() > kMaxValueBytes) {
      errors.Add(at, absl::StrCat("has ", value.size(), " bytes; at most ", kMaxValueBytes));
    }
  }
  return sorted;
}

std::string ReadMetadata(const std::string& field, const Struct& metadata, FieldErrors& errors) {
  for (const auto& [key, value] : metadata.fields()) {
    if (!IsFinite(value)) errors.Add(absl::StrCat(field, "[", key, "]"), "has a number that is not finite");
  }
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(metadata, &json);
  if (!status.ok()) {
    errors.Add(field, absl::StrCat("has no form as JSON: ", std::string(status.message())));
  } else if (json.size() > kMaxMetadataBytes) {
    errors.Add(field, absl::StrCat("has ", json.size(), " bytes as JSON; at most ", kMaxMetadataBytes));
  }
  return json;
}

void CheckRequestId(const std::string& field, const std::string& id, FieldErrors& errors) {
  if (id.size() <= kMaxIdBytes && std::ranges::all_of(id, [](char c) { return c >= ' ' && c <= '~'; })) {
    return;
  }
  errors.Add(field, absl::StrCat("must be 1 to ", kMaxIdBytes, " printable ASCII characters, as a UUID"));
}

}  // namespace mtm
