// SPDX-License-Identifier: Apache-2.0
#include "memory_store/export_header.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "memory_store/checked_file.h"
#include "memory_store/json_fields.h"
#include "nlohmann/json.hpp"

namespace mtm {
namespace {

using Json = nlohmann::json;

absl::StatusOr<ExportHeader> Decode(const Json& json) {
  if (!json.is_object()) return absl::DataLossError("it is not a JSON object");
  const absl::StatusOr<int64_t> format = IntField(json, "format");
  if (!format.ok()) return format.status();
  if (*format != kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("it has format version ", *format, "; this reader reads version ", kFormatVersion));
  }
  const absl::StatusOr<std::string> digest = DigestField(json, "digest");
  const absl::StatusOr<std::string> source_digest = DigestField(json, "source_digest");
  const absl::StatusOr<const Json*> segments = ArrayField(json, "segments");
  for (const absl::Status& status : {digest.status(), source_digest.status(), segments.status()}) {
    if (!status.ok()) return status;
  }
  ExportHeader header{.digest = *digest, .source_digest = *source_digest, .segments = {}};
  int64_t left = std::numeric_limits<int64_t>::max() - static_cast<int64_t>(kMaxExportHeaderSize);
  for (const Json& segment : **segments) {
    if (!segment.is_object()) return absl::DataLossError("a segment is not an object");
    const absl::StatusOr<std::string> segment_digest = DigestField(segment, "digest");
    if (!segment_digest.ok()) return segment_digest.status();
    const absl::StatusOr<int64_t> size = IntField(segment, "size", left);
    if (!size.ok()) return size.status();
    if (*size == 0) return absl::DataLossError("a segment has no bytes");
    left -= *size;
    header.segments.push_back({.digest = *segment_digest, .size_bytes = *size});
  }
  if (header.segments.empty()) return absl::DataLossError("field 'segments' is empty");
  return header;
}

}  // namespace

std::string EncodeExportHeader(const ExportHeader& header) {
  Json segments = Json::array();
  for (const ExportHeader::Segment& segment : header.segments) {
    segments.push_back({{"digest", segment.digest}, {"size", segment.size_bytes}});
  }
  const Json json = {{"digest", header.digest},
                     {"format", kFormatVersion},
                     {"segments", std::move(segments)},
                     {"source_digest", header.source_digest}};
  return json.dump() + "\n";
}

absl::StatusOr<ExportHeader> DecodeExportHeader(std::string_view line) {
  absl::StatusOr<ExportHeader> header = Decode(Json::parse(line, nullptr, /*allow_exceptions=*/false));
  if (header.ok()) return header;
  const bool is_other_format = absl::IsFailedPrecondition(header.status());
  return absl::Status(
      is_other_format ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kInvalidArgument,
      absl::StrCat("the first line of the bytes is not an export's: ", header.status().message()));
}

}  // namespace mtm
