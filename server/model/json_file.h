// SPDX-License-Identifier: Apache-2.0
// Private to server/model. The JSON of a model folder comes from anywhere.
#ifndef MTM_SERVER_MODEL_JSON_FILE_H_
#define MTM_SERVER_MODEL_JSON_FILE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace mtm {

// Bytes of the longest JSON that is parsed: a configuration, an index of shards, a safetensors header. GPT-2
// XL's header has 60 KB. Parsed, a byte costs up to some 80.
inline constexpr size_t kMaxJsonBytes = 4 << 20;

// NOT_FOUND: cannot be opened. INVALID_ARGUMENT: no regular file, too long, or not a JSON object.
inline absl::StatusOr<nlohmann::json> ReadJsonObject(const std::filesystem::path& path) {
  std::ifstream stream(path);
  if (!stream) return absl::NotFoundError(absl::StrCat(path.string(), ": cannot be opened"));
  // A folder opens too, and throws when it is read.
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": not a file"));
  }
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error || size > kMaxJsonBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": longer than ", kMaxJsonBytes, " bytes"));
  }
  std::string text(size, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(size));
  text.resize(static_cast<size_t>(stream.gcount()));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": not a JSON object"));
  return json;
}

// A value as a message shows it. Lists and objects are not spelled out: dump() recurses, and deep nesting
// would overflow the stack.
inline std::string ShowJson(const nlohmann::json& value) {
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  return value.dump().substr(0, 80);
}

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_JSON_FILE_H_
