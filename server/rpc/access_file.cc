// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/access_file.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"
#include "memory_store/digest.h"
#include "memory_store/memory_store.h"
#include "nlohmann/json.hpp"

namespace mtm {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kAllOthers[] = "*";
constexpr size_t kSha256Digits = 64;
constexpr size_t kMaxNameLength = 64;

absl::Status Wrong(const std::string& where, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, " ", AbslView(what)));
}

// A misspelt key must not pass for one that is left out.
absl::Status CheckKeys(const std::string& where, const Json& object,
                       std::initializer_list<std::string_view> keys) {
  if (!object.is_object()) return Wrong(where, "must be an object");
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::find(keys, key) == keys.end()) {
      return Wrong(where, absl::StrCat("has the key '", key, "', which means nothing"));
    }
  }
  for (const std::string_view key : keys) {
    if (!object.contains(std::string(key))) return Wrong(where, absl::StrCat("has no ", AbslView(key)));
  }
  return absl::OkStatus();
}

bool IsTokenName(const Json& name) {
  if (!name.is_string()) return false;
  const auto& text = name.get_ref<const std::string&>();
  return !text.empty() && text.size() <= kMaxNameLength && std::ranges::all_of(text, [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
}

bool IsNamespace(const std::string& name) {
  return name.empty() || name == kAllOthers ||
         (name.find('/') == std::string::npos && CheckMemoryName(name).ok());
}

std::optional<Right> ParseRight(const Json& right) {
  if (right == "read") return Right::kRead;
  if (right == "write") return Right::kWrite;
  if (right == "admin") return Right::kAdmin;
  return std::nullopt;
}

absl::StatusOr<std::map<std::string, Right>> ParseRights(const std::string& where, const Json& object) {
  if (!object.is_object()) return Wrong(where, "must be an object");
  std::map<std::string, Right> rights;
  for (const auto& [name, value] : object.items()) {
    if (!IsNamespace(name)) {
      return Wrong(where, absl::StrCat("names '", name,
                                       "', which is no namespace: a name's part before the "
                                       "first slash, \"\" for names without one, or \"*\""));
    }
    const auto right = ParseRight(value);
    if (!right) return Wrong(absl::StrCat(where, " for '", name, "'"), "must be read, write or admin");
    rights[name] = *right;
  }
  return rights;
}

absl::Status AddToken(const std::string& where, const Json& token, Grants& grants) {
  const absl::Status keys = CheckKeys(where, token, {"name", "sha256", "rights"});
  if (!keys.ok()) return keys;
  if (!IsTokenName(token["name"])) return Wrong(where, "has a name that is not [A-Za-z0-9._-]{1,64}");
  const std::string sha256 =
      token["sha256"].is_string() ? absl::AsciiStrToLower(token["sha256"].get<std::string>()) : "";
  if (!IsHex(sha256, kSha256Digits)) return Wrong(where, "has a sha256 that is not 64 hexadecimal digits");
  auto rights = ParseRights(absl::StrCat(where, ".rights"), token["rights"]);
  if (!rights.ok()) return rights.status();
  auto grant = std::make_shared<const Grant>(
      Grant{.name = token["name"].get<std::string>(), .rights = *std::move(rights)});
  const auto [other, is_new] = grants.emplace(sha256, std::move(grant));
  if (!is_new) return Wrong(where, absl::StrCat("is the same token as that of '", other->second->name, "'"));
  return absl::OkStatus();
}

}  // namespace

Right Grant::RightIn(std::string_view name_space) const {
  auto right = rights.find(std::string(name_space));
  if (right == rights.end()) right = rights.find(kAllOthers);
  return right == rights.end() ? Right::kNone : right->second;
}

absl::StatusOr<Grants> ParseAccessFile(std::string_view json) {
  // A key that is there twice would silently lose one of its values.
  std::vector<std::vector<std::string>> keys;
  std::string twice;
  const auto note_key = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event != Json::parse_event_t::key) return true;
    const auto& key = value.get_ref<const std::string&>();
    if (std::ranges::find(keys.back(), key) != keys.back().end()) twice = key;
    keys.back().push_back(key);
    return true;
  };
  const Json root = Json::parse(json, note_key, /*allow_exceptions=*/false);
  if (root.is_discarded()) return absl::InvalidArgumentError("not JSON");
  if (!twice.empty())
    return absl::InvalidArgumentError(absl::StrCat("the key '", twice, "' stands there twice"));
  const absl::Status status = CheckKeys("the file", root, {"tokens"});
  if (!status.ok()) return status;
  if (!root["tokens"].is_array()) return absl::InvalidArgumentError("tokens must be a list");
  Grants grants;
  for (size_t i = 0; i < root["tokens"].size(); ++i) {
    const absl::Status added = AddToken(absl::StrCat("tokens[", i, "]"), root["tokens"][i], grants);
    if (!added.ok()) return added;
  }
  return grants;
}

std::string HashToken(std::string_view token) {
  Sha256 sha256;
  sha256.Update(std::as_bytes(std::span(token)));
  return ToHex(sha256.Finish());
}

std::string AccessFileLine(std::string_view name, std::string_view token) {
  return Json{{"name", name}, {"sha256", HashToken(token)}, {"rights", {{kAllOthers, "read"}}}}.dump();
}

}  // namespace mtm
