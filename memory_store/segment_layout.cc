// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_layout.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"
#include "memory_store/digest.h"
#include "memory_store/segment_header.h"
#include "nlohmann/json.hpp"

namespace mtm {
namespace {

using Json = nlohmann::json;

// Far above any GPT-2, and low enough for every product of sizes to fit 63 bits.
constexpr int64_t kMaxLayer = 1000;
constexpr int64_t kMaxHeads = 1000;
constexpr int64_t kMaxHeadDim = 10'000;
constexpr int64_t kMaxTokens = 100'000'000;
constexpr size_t kMaxLeading = 100'000;

bool IsUtf8(const std::string& text) {
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)) == text;
}

void Update(Sha256& sha256, std::string_view text) { sha256.Update(std::as_bytes(std::span(text))); }

absl::Status CheckComplete(const SegmentLayout& layout) {
  const auto check = [&](std::string_view kind, int layer) -> absl::Status {
    const auto n = std::count_if(layout.sections.begin(), layout.sections.end(),
                                 [&](const FileSection& s) { return s.kind == kind && s.layer == layer; });
    if (n == 1) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("section ",
                                            FileSection{.kind = std::string(kind), .layer = layer}.Describe(),
                                            " is there ", n, " times instead of once"));
  };
  if (absl::Status status = check("tokens", 0); !status.ok()) return status;
  for (const int layer : layout.spec.layers) {
    for (const std::string_view kind : {"keys", "values"}) {
      if (absl::Status status = check(kind, layer); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace

const FileSection& SegmentLayout::Find(std::string_view kind, int layer) const {
  return *std::find_if(sections.begin(), sections.end(),
                       [&](const FileSection& s) { return s.kind == kind && s.layer == layer; });
}

uint64_t SegmentLayout::RowOffset(std::string_view kind, int layer, int head, int64_t row) const {
  return Find(kind, layer).offset + static_cast<uint64_t>(head * n_tokens + row) * RowSize();
}

uint64_t SegmentLayout::RowSize() const {
  return ElementSize(spec.dtype) * static_cast<uint64_t>(spec.head_dim);
}

absl::Status CheckSpec(const MemorySpec& spec) {
  const auto out_of_range = [](std::string_view field, int64_t value, int64_t min, int64_t max) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory spec: ", AbslView(field), " is ", value, "; it is from ", min, " to ", max));
  };
  if (!IsHex(spec.model_fingerprint, kDigestDigits)) {
    return absl::InvalidArgumentError("memory spec: model_fingerprint is not 64 digits of 0-9, a-f");
  }
  if (spec.layers.empty()) return absl::InvalidArgumentError("memory spec: layers is empty");
  int previous = 0;
  for (const int layer : spec.layers) {
    if (layer < 1 || layer > kMaxLayer) return out_of_range("a layer", layer, 1, kMaxLayer);
    if (layer <= previous) return absl::InvalidArgumentError("memory spec: layers do not ascend");
    previous = layer;
  }
  if (spec.n_head < 1 || spec.n_head > kMaxHeads) return out_of_range("n_head", spec.n_head, 1, kMaxHeads);
  if (spec.head_dim < 1 || spec.head_dim > kMaxHeadDim) {
    return out_of_range("head_dim", spec.head_dim, 1, kMaxHeadDim);
  }
  if (spec.leading.size() > kMaxLeading) {
    return out_of_range("the number of leading tokens", static_cast<int64_t>(spec.leading.size()), 0,
                        kMaxLeading);
  }
  if (std::any_of(spec.leading.begin(), spec.leading.end(), [](int32_t token) { return token < 0; })) {
    return absl::InvalidArgumentError("memory spec: a leading token is negative");
  }
  return absl::OkStatus();
}

absl::Status CheckWindows(const MemorySpec& spec, const std::vector<MemoryWindow>& windows) {
  if (windows.empty()) return absl::InvalidArgumentError("memory: no windows");
  int64_t n_tokens = 0;
  for (size_t i = 0; i < windows.size(); ++i) {
    if (windows[i].n_tokens < 1 || windows[i].n_tokens > kMaxTokens - n_tokens) {
      return absl::InvalidArgumentError(absl::StrCat("memory: window ", i, " has ", windows[i].n_tokens,
                                                     " tokens; each has one or more, and all together ",
                                                     kMaxTokens, " at most"));
    }
    n_tokens += windows[i].n_tokens;
    if (!IsUtf8(windows[i].source)) {
      return absl::InvalidArgumentError(absl::StrCat("memory: the label of window ", i, " is not UTF-8"));
    }
  }
  const double bytes = 2.0 * static_cast<double>(ElementSize(spec.dtype)) *
                       static_cast<double>(spec.layers.size()) * spec.n_head * spec.head_dim *
                       static_cast<double>(n_tokens);
  if (bytes > 0.9 * static_cast<double>(kMaxDataSize))
    return absl::InvalidArgumentError("memory: it has more bytes than a file can hold");
  return absl::OkStatus();
}

int64_t CountTokens(const std::vector<MemoryWindow>& windows) {
  int64_t n = 0;
  for (const MemoryWindow& window : windows) n += window.n_tokens;
  return n;
}

uint64_t SectionSize(const MemorySpec& spec, int64_t n_tokens, std::string_view kind) {
  const auto n = static_cast<uint64_t>(n_tokens);
  if (kind == "tokens") return sizeof(int32_t) * n;
  return ElementSize(spec.dtype) * static_cast<uint64_t>(spec.n_head) * n *
         static_cast<uint64_t>(spec.head_dim);
}

SegmentLayout LayOut(MemorySpec spec, std::vector<MemoryWindow> windows) {
  SegmentLayout layout{.spec = std::move(spec), .windows = std::move(windows)};
  layout.n_tokens = CountTokens(layout.windows);
  for (MemoryWindow& window : layout.windows) window.digest.resize(64, '0');
  const auto add = [&](const char* kind, int layer) {
    layout.sections.push_back(
        {.kind = kind, .layer = layer, .size = SectionSize(layout.spec, layout.n_tokens, kind)});
  };
  add("tokens", 0);
  for (const int layer : layout.spec.layers) {
    add("keys", layer);
    add("values", layer);
  }
  layout.data_size = PlaceAfterHead(layout.sections, [&layout](uint64_t data_size) {
    layout.data_size = data_size;
    return EncodeHead(layout).size();
  });
  return layout;
}

absl::Status CheckLayout(const SegmentLayout& layout, uint64_t head_size) {
  if (absl::Status status = CheckPlacement(layout.sections, head_size, layout.data_size); !status.ok()) {
    return status;
  }
  return CheckComplete(layout);
}

std::string VersionDigest(const MemorySpec& spec, const std::vector<MemoryWindow>& windows) {
  Sha256 sha256;
  Update(sha256, absl::StrCat("mtm-memory 2\n", SettingsJson(spec), "\n"));
  for (const MemoryWindow& window : windows) {
    const std::string source = Json(window.source).dump();
    Update(sha256, absl::StrCat(window.n_tokens, " ", window.digest, " ", source, "\n"));
  }
  return ToHex(sha256.Finish());
}

absl::StatusOr<std::string> WindowDigest(const SegmentLayout& layout, int64_t first, int64_t n,
                                         const ReadBytes& read) {
  Sha256 sha256;
  const auto update = [&](uint64_t offset, uint64_t size) {
    const absl::StatusOr<std::span<const std::byte>> bytes = read(offset, size);
    if (bytes.ok()) sha256.Update(*bytes);
    return bytes.status();
  };
  const auto n_rows = static_cast<uint64_t>(n);
  const uint64_t tokens = layout.Find("tokens", 0).offset + static_cast<uint64_t>(first) * sizeof(int32_t);
  if (absl::Status status = update(tokens, n_rows * sizeof(int32_t)); !status.ok()) return status;
  for (const int layer : layout.spec.layers) {
    for (int head = 0; head < layout.spec.n_head; ++head) {
      for (const char* kind : {"keys", "values"}) {
        const uint64_t size = n_rows * layout.RowSize();
        if (absl::Status status = update(layout.RowOffset(kind, layer, head, first), size); !status.ok()) {
          return status;
        }
      }
    }
  }
  return ToHex(sha256.Finish());
}

}  // namespace mtm
