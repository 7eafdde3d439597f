// SPDX-License-Identifier: Apache-2.0
#include "memory_store/manifest.h"

#include <algorithm>
#include <charconv>
#include <memory>
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
constexpr uint64_t kMaxManifestSize = uint64_t{1} << 30;
constexpr char kTimeFormat[] = "%Y-%m-%dT%H:%M:%E6S%Ez";

std::string ChecksumOf(std::string_view version, std::string_view body) {
  const std::string covered = absl::StrCat(AbslView(version), "\n", AbslView(body));
  return absl::StrFormat("%016x", BlockChecksum(covered));
}

absl::StatusOr<ManifestEntry> DecodeEntry(const Json& entry) {
  if (!entry.is_object()) return absl::DataLossError("it is not an object");
  const absl::StatusOr<std::string> digest = StringField(entry, "digest");
  const absl::StatusOr<std::string> create_time = StringField(entry, "create_time");
  const absl::StatusOr<int64_t> size = IntField(entry, "size");
  for (const absl::Status& status : {digest.status(), create_time.status(), size.status()}) {
    if (!status.ok()) return status;
  }
  ManifestEntry decoded{.digest = *digest, .create_time = {}, .size_bytes = *size};
  // The digest becomes part of a path.
  if (!IsHex(*digest, 64)) return absl::DataLossError("field 'digest' is no digest");
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, *create_time, &decoded.create_time, &error)) {
    return absl::DataLossError("field 'create_time' is no time");
  }
  return decoded;
}

absl::StatusOr<Manifest> DecodeBody(std::string_view body) {
  const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError("it is not a JSON object");
  const auto memories = json.find("memories");
  if (memories == json.end() || !memories->is_object()) {
    return absl::DataLossError("field 'memories' is not an object");
  }
  Manifest manifest;
  for (const auto& [name, entry] : memories->items()) {
    if (absl::Status status = CheckMemoryName(name); !status.ok())
      return absl::DataLossError(status.message());
    absl::StatusOr<ManifestEntry> decoded = DecodeEntry(entry);
    if (!decoded.ok()) {
      return absl::DataLossError(absl::StrCat("memory '", name, "': ", decoded.status().message()));
    }
    manifest.emplace(name, *std::move(decoded));
  }
  return manifest;
}

absl::StatusOr<std::string> ReadText(FileSystem& file_system, const std::filesystem::path& path) {
  const absl::StatusOr<std::unique_ptr<File>> file = file_system.OpenFile(path);
  if (!file.ok()) return file.status();
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  if (*size > kMaxManifestSize) return absl::DataLossError("it is too long for a manifest");
  std::string text(*size, '\0');
  if (absl::Status status = (*file)->ReadAt(0, std::as_writable_bytes(std::span(text))); !status.ok()) {
    return status;
  }
  return text;
}

absl::Status WriteText(FileSystem& file_system, const std::filesystem::path& path, std::string_view text) {
  const absl::StatusOr<std::unique_ptr<File>> file = file_system.CreateFile(path);
  if (!file.ok()) return file.status();
  if (absl::Status status = (*file)->WriteAt(0, std::as_bytes(std::span(text))); !status.ok()) return status;
  return (*file)->Sync();
}

}  // namespace

std::string EncodeManifest(const Manifest& manifest) {
  Json memories = Json::object();
  for (const auto& [name, entry] : manifest) {
    memories[name] = {{"create_time", absl::FormatTime(kTimeFormat, entry.create_time, absl::UTCTimeZone())},
                      {"digest", entry.digest},
                      {"size", entry.size_bytes}};
  }
  const std::string body = Json{{"memories", std::move(memories)}}.dump();
  const std::string version = absl::StrCat(kManifestVersion);
  return absl::StrCat(AbslView(kMagic), version, " ", ChecksumOf(version, body), "\n", body);
}

absl::StatusOr<Manifest> DecodeManifest(std::string_view text) {
  if (text.substr(0, kMagic.size()) != kMagic) return absl::DataLossError("it does not begin as a manifest");
  const size_t line_end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(kMagic.size(), line_end - kMagic.size());
  const size_t space = line.find(' ');
  if (line_end == text.size() || space == std::string_view::npos) {
    return absl::DataLossError("its first line is cut");
  }
  const std::string_view version = line.substr(0, space);
  const std::string_view body = text.substr(line_end + 1);
  if (line.substr(space + 1) != ChecksumOf(version, body)) {
    return absl::DataLossError("it does not match its checksum");
  }
  int64_t number = 0;
  const auto [end, error] = std::from_chars(version.data(), version.data() + version.size(), number);
  if (error != std::errc() || end != version.data() + version.size() || number < 1) {
    return absl::DataLossError("its version is no number");
  }
  if (number != kManifestVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("it has format version ", number, "; this reader reads version ", kManifestVersion));
  }
  return DecodeBody(body);
}

absl::StatusOr<Manifest> ReadManifest(FileSystem& file_system, const std::filesystem::path& path) {
  const absl::StatusOr<std::string> text = ReadText(file_system, path);
  absl::StatusOr<Manifest> manifest = text.ok() ? DecodeManifest(*text) : text.status();
  if (!manifest.ok()) return WithPath(manifest.status(), path);
  return manifest;
}

absl::Status WriteManifest(FileSystem& file_system, const std::filesystem::path& path,
                           const std::filesystem::path& temporary, const Manifest& manifest) {
  absl::Status status = WriteText(file_system, temporary, EncodeManifest(manifest));
  if (status.ok()) status = file_system.Rename(temporary, path);
  if (!status.ok()) {
    file_system.Remove(temporary).IgnoreError();  // the next open removes what is left
    return status;
  }
  return file_system.SyncFolder(path.parent_path());
}

}  // namespace mtm
