// SPDX-License-Identifier: Apache-2.0
// Reading fields of a JSON object that somebody else may have written: no exceptions, no silent conversions.
#ifndef MTM_MEMORY_STORE_JSON_FIELDS_H_
#define MTM_MEMORY_STORE_JSON_FIELDS_H_

#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "memory_store/digest.h"
#include "nlohmann/json.hpp"

namespace mtm {

// JSON holds no other text.
inline bool IsUtf8(const std::string& text) {
  using Json = nlohmann::json;
  const Json json(text);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) ==
         json.dump(-1, ' ', false, Json::error_handler_t::ignore);
}

// Each: the field's value, or DATA_LOSS naming the field.

// An integer within [0, max].
inline absl::StatusOr<int64_t> IntField(const nlohmann::json& object, const char* key,
                                        int64_t max = std::numeric_limits<int64_t>::max()) {
  const auto field = object.find(key);
  if (field == object.end() || !field->is_number_unsigned() ||
      field->get<uint64_t>() > static_cast<uint64_t>(max)) {
    return absl::DataLossError(absl::StrCat("field '", key, "' is not an integer from 0 to ", max));
  }
  return static_cast<int64_t>(field->get<uint64_t>());
}

inline absl::StatusOr<std::string> StringField(const nlohmann::json& object, const char* key) {
  const auto field = object.find(key);
  if (field == object.end() || !field->is_string()) {
    return absl::DataLossError(absl::StrCat("field '", key, "' is not a string"));
  }
  return field->get<std::string>();
}

// For messages: what a stranger wrote, without control characters and of bounded length.
inline std::string ShownField(const std::string& text) {
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, 40)), "'");
}

// 64 hexadecimal digits.
inline absl::StatusOr<std::string> DigestField(const nlohmann::json& object, const char* key) {
  absl::StatusOr<std::string> digest = StringField(object, key);
  if (digest.ok() && !IsHex(*digest, kDigestDigits)) {
    return absl::DataLossError(absl::StrCat("field '", key, "' is no digest"));
  }
  return digest;
}

inline absl::StatusOr<const nlohmann::json*> ArrayField(const nlohmann::json& object, const char* key) {
  const auto field = object.find(key);
  if (field == object.end() || !field->is_array()) {
    return absl::DataLossError(absl::StrCat("field '", key, "' is not a list"));
  }
  return &*field;
}

}  // namespace mtm

#endif  // MTM_MEMORY_STORE_JSON_FIELDS_H_
