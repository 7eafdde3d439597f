// SPDX-License-Identifier: Apache-2.0
#include "memory_store/manifest.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "memory_store/absl_view.h"
#include "memory_store/digest.h"
#include "memory_store/json_fields.h"
#include "memory_store/memory_store.h"
#include "nlohmann/json.hpp"

namespace mtm {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMagic = "mtm-manifest ";
constexpr char kTimeFormat[] = "%Y-%m-%dT%H:%M:%E6S%Ez";

std::string ChecksumOf(std::string_view format, std::string_view body) {
  const std::string covered = absl::StrCat(AbslView(format), "\n", AbslView(body));
  return absl::StrFormat("%016x", BlockChecksum(covered));
}

Json Encode(const StoredMemory& memory) {
  Json versions = Json::array();
  for (const StoredVersion& version : memory.versions) {
    versions.push_back(
        {{"create_time", absl::FormatTime(kTimeFormat, version.create_time, absl::UTCTimeZone())},
         {"digest", version.digest},
         {"n_tokens", version.n_tokens},
         {"segments", version.segments},
         {"size", version.size_bytes},
         {"source_digest", version.source_digest}});
  }
  return {{"labels", memory.labels}, {"metadata", memory.metadata}, {"versions", std::move(versions)}};
}

absl::StatusOr<StoredVersion> DecodeVersion(const Json& json) {
  if (!json.is_object()) return absl::DataLossError("a version is not an object");
  const absl::StatusOr<std::string> digest = DigestField(json, "digest");
  const absl::StatusOr<std::string> source_digest = DigestField(json, "source_digest");
  const absl::StatusOr<std::string> create_time = StringField(json, "create_time");
  const absl::StatusOr<int64_t> n_tokens = IntField(json, "n_tokens");
  const absl::StatusOr<int64_t> size = IntField(json, "size");
  const absl::StatusOr<const Json*> segments = ArrayField(json, "segments");
  for (const absl::Status& status : {digest.status(), source_digest.status(), create_time.status(),
                                     n_tokens.status(), size.status(), segments.status()}) {
    if (!status.ok()) return status;
  }
  StoredVersion version{.digest = *digest,
                        .source_digest = *source_digest,
                        .n_tokens = *n_tokens,
                        .size_bytes = *size,
                        .create_time = {},
                        .segments = {}};
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, *create_time, &version.create_time, &error)) {
    return absl::DataLossError("field 'create_time' is no time");
  }
  for (const Json& segment : **segments) {
    // It becomes part of a path.
    if (!segment.is_string() || !IsHex(segment.get_ref<const std::string&>(), kDigestDigits)) {
      return absl::DataLossError("field 'segments' has something else than digests");
    }
    version.segments.push_back(segment.get<std::string>());
  }
  if (version.segments.empty()) return absl::DataLossError("field 'segments' is empty");
  return version;
}

absl::StatusOr<StoredMemory> DecodeMemory(const Json& json) {
  if (!json.is_object()) return absl::DataLossError("it is not an object");
  const absl::StatusOr<std::string> metadata = StringField(json, "metadata");
  const absl::StatusOr<const Json*> versions = ArrayField(json, "versions");
  for (const absl::Status& status : {metadata.status(), versions.status()}) {
    if (!status.ok()) return status;
  }
  StoredMemory memory{.labels = {}, .metadata = *metadata, .versions = {}};
  const auto labels = json.find("labels");
  if (labels == json.end() || !labels->is_object()) {
    return absl::DataLossError("field 'labels' is not an object");
  }
  for (const auto& [key, value] : labels->items()) {
    if (!value.is_string()) return absl::DataLossError("field 'labels' has something else than strings");
    memory.labels.emplace(key, value.get<std::string>());
  }
  std::set<std::string> digests;
  for (const Json& version : **versions) {
    absl::StatusOr<StoredVersion> decoded = DecodeVersion(version);
    if (!decoded.ok()) return decoded.status();
    if (!digests.insert(decoded->digest).second) {
      return absl::DataLossError(absl::StrCat("version ", decoded->digest, " is there twice"));
    }
    memory.versions.push_back(*std::move(decoded));
  }
  if (memory.versions.empty()) return absl::DataLossError("field 'versions' is empty");
  return memory;
}

absl::StatusOr<RememberedWrite> DecodeWrite(const Json& json) {
  if (!json.is_object()) return absl::DataLossError("a request is not an object");
  const absl::StatusOr<std::string> id = StringField(json, "id");
  const absl::StatusOr<std::string> name = StringField(json, "name");
  const absl::StatusOr<std::string> digest = StringField(json, "digest");
  for (const absl::Status& status : {id.status(), name.status(), digest.status()}) {
    if (!status.ok()) return status;
  }
  return RememberedWrite{.id = *id, .name = *name, .digest = *digest};
}

absl::StatusOr<Manifest> DecodeBody(std::string_view body) {
  const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError("it is not a JSON object");
  const auto memories = json.find("memories");
  if (memories == json.end() || !memories->is_object()) {
    return absl::DataLossError("field 'memories' is not an object");
  }
  const absl::StatusOr<int64_t> generation = IntField(json, "generation");
  const absl::StatusOr<const Json*> requests = ArrayField(json, "requests");
  for (const absl::Status& status : {generation.status(), requests.status()}) {
    if (!status.ok()) return status;
  }
  Manifest manifest{.generation = *generation, .memories = {}, .writes = {}};
  for (const auto& [name, memory] : memories->items()) {
    if (absl::Status status = CheckMemoryName(name); !status.ok()) {
      return absl::DataLossError(status.message());
    }
    absl::StatusOr<StoredMemory> decoded = DecodeMemory(memory);
    if (!decoded.ok()) {
      return absl::DataLossError(absl::StrCat("memory '", name, "': ", decoded.status().message()));
    }
    manifest.memories.emplace(name, std::make_shared<const StoredMemory>(*std::move(decoded)));
  }
  for (const Json& request : **requests) {
    absl::StatusOr<RememberedWrite> decoded = DecodeWrite(request);
    if (!decoded.ok()) return decoded.status();
    manifest.writes.push_back(*std::move(decoded));
  }
  return manifest;
}

}  // namespace

std::string EncodeManifest(const Manifest& manifest) {
  Json memories = Json::object();
  for (const auto& [name, memory] : manifest.memories) memories[name] = Encode(*memory);
  Json requests = Json::array();
  for (const RememberedWrite& write : manifest.writes) {
    requests.push_back({{"digest", write.digest}, {"id", write.id}, {"name", write.name}});
  }
  const std::string body = Json{
      {"generation", manifest.generation},
      {"memories", std::move(memories)},
      {"requests",
       std::move(requests)}}.dump();
  const std::string format = absl::StrCat(kManifestFormat);
  return absl::StrCat(AbslView(kMagic), format, " ", ChecksumOf(format, body), "\n", body);
}

absl::StatusOr<Manifest> DecodeManifest(std::string_view text) {
  if (text.substr(0, kMagic.size()) != kMagic) return absl::DataLossError("it does not begin as a manifest");
  const size_t line_end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(kMagic.size(), line_end - kMagic.size());
  const size_t space = line.find(' ');
  if (line_end == text.size() || space == std::string_view::npos) {
    return absl::DataLossError("its first line is cut");
  }
  const std::string_view format = line.substr(0, space);
  const std::string_view body = text.substr(line_end + 1);
  if (line.substr(space + 1) != ChecksumOf(format, body)) {
    return absl::DataLossError("it does not match its checksum");
  }
  int64_t number = 0;
  const auto [end, error] = std::from_chars(format.data(), format.data() + format.size(), number);
  if (error != std::errc() || end != format.data() + format.size() || number < 1) {
    return absl::DataLossError("its format version is no number");
  }
  if (number != kManifestFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat("it has format version ", number, "; this reader reads version ", kManifestFormat));
  }
  return DecodeBody(body);
}

}  // namespace mtm
