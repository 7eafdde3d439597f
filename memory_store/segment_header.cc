// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_header.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "memory_store/checked_file.h"
#include "memory_store/digest.h"
#include "memory_store/json_fields.h"

namespace mtm {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxInt = std::numeric_limits<int>::max();
constexpr std::array<std::string_view, 3> kKinds = {"tokens", "keys", "values"};

// fp32 goes without saying.
absl::StatusOr<WeightType> DecodeWeightType(const Json& header) {
  if (!header.contains("weights")) return WeightType::kF32;
  const absl::StatusOr<std::string> name = StringField(header, "weights");
  if (!name.ok()) return name.status();
  for (const WeightType type : {WeightType::kF16, WeightType::kInt8, WeightType::kBF16}) {
    if (*name == NameOf(type)) return type;
  }
  return absl::FailedPreconditionError(absl::StrCat("its model's weights were ", ShownField(*name),
                                                    "; this reader knows fp16, int8 and bf16"));
}

Json SettingsOf(const MemorySpec& spec) {
  Json settings = {{"dtype", spec.dtype == DataType::kF16 ? "F16" : "F32"},
                   {"head_dim", spec.head_dim},
                   {"layers", spec.layers},
                   {"leading", spec.leading},
                   {"model_fingerprint", spec.model_fingerprint},
                   {"n_head", spec.n_head}};
  if (spec.weights != WeightType::kF32) settings["weights"] = NameOf(spec.weights);
  return settings;
}

absl::StatusOr<DataType> DecodeDataType(const Json& header) {
  const absl::StatusOr<std::string> name = StringField(header, "dtype");
  if (!name.ok()) return name.status();
  if (*name == "F32") return DataType::kF32;
  if (*name == "F16") return DataType::kF16;
  return absl::FailedPreconditionError(
      absl::StrCat("its numbers are stored as ", ShownField(*name), "; this reader reads F32 and F16"));
}

// A list of integers from 0 on.
absl::StatusOr<std::vector<int>> IntListField(const Json& header, const char* key) {
  const auto field = header.find(key);
  if (field == header.end() || !field->is_array()) {
    return absl::DataLossError(absl::StrCat("field '", key, "' is not a list"));
  }
  std::vector<int> numbers;
  for (const Json& number : *field) {
    if (!number.is_number_unsigned() || number.get<uint64_t>() > kMaxInt) {
      return absl::DataLossError(
          absl::StrCat("field '", key, "' has something that is not an integer from 0 to ", kMaxInt));
    }
    numbers.push_back(number.get<int>());
  }
  return numbers;
}

absl::StatusOr<MemorySpec> DecodeSpec(const Json& header) {
  absl::StatusOr<std::string> fingerprint = StringField(header, "model_fingerprint");
  const absl::StatusOr<DataType> dtype = DecodeDataType(header);
  const absl::StatusOr<WeightType> weights = DecodeWeightType(header);
  const absl::StatusOr<int64_t> n_head = IntField(header, "n_head", kMaxInt);
  const absl::StatusOr<int64_t> head_dim = IntField(header, "head_dim", kMaxInt);
  absl::StatusOr<std::vector<int>> layers = IntListField(header, "layers");
  const absl::StatusOr<std::vector<int>> leading = IntListField(header, "leading");
  for (const absl::Status& status : {fingerprint.status(), dtype.status(), weights.status(), n_head.status(),
                                     head_dim.status(), layers.status(), leading.status()}) {
    if (!status.ok()) return status;
  }
  MemorySpec spec{.model_fingerprint = *std::move(fingerprint),
                  .layers = *std::move(layers),
                  .n_head = static_cast<int>(*n_head),
                  .head_dim = static_cast<int>(*head_dim),
                  .leading = {leading->begin(), leading->end()},
                  .dtype = *dtype,
                  .weights = *weights};
  if (absl::Status status = CheckSpec(spec); !status.ok()) return absl::DataLossError(status.message());
  return spec;
}

absl::StatusOr<std::vector<MemoryWindow>> DecodeWindows(const Json& header, const MemorySpec& spec) {
  const auto field = header.find("windows");
  if (field == header.end() || !field->is_array()) {
    return absl::DataLossError("field 'windows' is not a list");
  }
  std::vector<MemoryWindow> windows;
  for (const Json& entry : *field) {
    if (!entry.is_array() || entry.size() != 3 || !entry[0].is_number_unsigned() ||
        entry[0].get<uint64_t>() > kMaxInt || !entry[1].is_string() || !entry[2].is_string() ||
        !IsHex(entry[1].get_ref<const std::string&>(), kDigestDigits)) {
      return absl::DataLossError(
          absl::StrCat("window ", windows.size(), " is not a number of tokens, a digest and a label"));
    }
    windows.push_back({.n_tokens = entry[0].get<int64_t>(),
                       .digest = entry[1].get<std::string>(),
                       .source = entry[2].get<std::string>()});
  }
  if (absl::Status status = CheckWindows(spec, windows); !status.ok()) {
    return absl::DataLossError(status.message());
  }
  return windows;
}

absl::Status CheckSizes(const SegmentLayout& layout) {
  for (const FileSection& section : layout.sections) {
    const bool known = std::find(kKinds.begin(), kKinds.end(), section.kind) != kKinds.end();
    if (!known) continue;
    const uint64_t size = SectionSize(layout.spec, layout.n_tokens, section.kind);
    if (section.size != size) {
      return absl::DataLossError(
          absl::StrCat("section ", section.Describe(), " has ", section.size, " bytes instead of ", size));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string SettingsJson(const MemorySpec& spec) { return SettingsOf(spec).dump(); }

std::string EncodeHead(const SegmentLayout& layout) {
  Json header = SettingsOf(layout.spec);
  Json windows = Json::array();
  for (const MemoryWindow& window : layout.windows) {
    windows.push_back({window.n_tokens, window.digest, window.source});
  }
  header["n_tokens"] = layout.n_tokens;
  header["windows"] = std::move(windows);
  header["sections"] = EncodeSections(layout.sections);
  return EncodeHead(kSegmentMagic, header.dump(), layout.data_size);
}

absl::StatusOr<SegmentLayout> DecodeHead(std::span<const std::byte> head) {
  const absl::StatusOr<FileHead> decoded = DecodeHead(kSegmentMagic, head);
  if (!decoded.ok()) return decoded.status();
  absl::StatusOr<MemorySpec> spec = DecodeSpec(decoded->header);
  if (!spec.ok()) return spec.status();
  absl::StatusOr<std::vector<MemoryWindow>> windows = DecodeWindows(decoded->header, *spec);
  if (!windows.ok()) return windows.status();
  const absl::StatusOr<int64_t> n_tokens = IntField(decoded->header, "n_tokens");
  if (!n_tokens.ok()) return n_tokens.status();
  absl::StatusOr<std::vector<FileSection>> sections = DecodeSections(decoded->header, kKinds);
  if (!sections.ok()) return sections.status();

  SegmentLayout layout{.spec = *std::move(spec),
                       .windows = *std::move(windows),
                       .n_tokens = *n_tokens,
                       .sections = *std::move(sections),
                       .data_size = decoded->data_size};
  if (layout.n_tokens != CountTokens(layout.windows)) {
    return absl::DataLossError(absl::StrCat("field 'n_tokens' is ", layout.n_tokens, "; its windows have ",
                                            CountTokens(layout.windows)));
  }
  if (absl::Status status = CheckSizes(layout); !status.ok()) return status;
  if (absl::Status status = CheckLayout(layout, head.size()); !status.ok()) return status;
  return layout;
}

}  // namespace mtm
