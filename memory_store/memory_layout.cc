// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_layout.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"
#include "memory_store/digest.h"
#include "memory_store/memory_header.h"

namespace mtm {
namespace {

// Far above any GPT-2, and low enough for every product of sizes to fit 63 bits.
constexpr int64_t kMaxLayer = 1000;
constexpr int64_t kMaxHeads = 1000;
constexpr int64_t kMaxHeadDim = 10'000;
constexpr int64_t kMaxTokens = 100'000'000;

uint64_t AlignUp(uint64_t offset) {
  return (offset + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

uint64_t TensorSize(const MemorySpec& spec) {
  return sizeof(float) * static_cast<uint64_t>(spec.n_head) * static_cast<uint64_t>(spec.n_tokens) *
         static_cast<uint64_t>(spec.head_dim);
}

void PlaceSections(MemoryLayout& layout, uint64_t begin) {
  uint64_t end = begin;
  for (MemorySection& section : layout.sections) {
    section.offset = AlignUp(end);
    end = section.offset + section.size;
  }
  layout.data_size = AlignUp(end);
}

absl::Status CheckPlacement(const MemoryLayout& layout, uint64_t head_size) {
  uint64_t end = head_size;
  for (const MemorySection& section : layout.sections) {
    if (section.offset % kSectionAlignment != 0 || section.offset < end ||
        section.offset > layout.data_size || section.size > layout.data_size - section.offset) {
      return absl::DataLossError(absl::StrCat("section ", section.Describe(), " lies where it cannot"));
    }
    end = section.offset + section.size;
  }
  return absl::OkStatus();
}

absl::Status CheckComplete(const MemoryLayout& layout) {
  const auto check = [&](std::string_view kind, int layer) -> absl::Status {
    const auto n = std::count_if(layout.sections.begin(), layout.sections.end(),
                                 [&](const MemorySection& s) { return s.kind == kind && s.layer == layer; });
    if (n == 1) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat("section ", MemorySection{.kind = std::string(kind), .layer = layer}.Describe(),
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

std::string MemorySection::Describe() const {
  return layer == 0 ? kind : absl::StrCat(kind, " of layer ", layer);
}

const MemorySection& MemoryLayout::Find(std::string_view kind, int layer) const {
  return *std::find_if(sections.begin(), sections.end(),
                       [&](const MemorySection& s) { return s.kind == kind && s.layer == layer; });
}

absl::Status CheckSpec(const MemorySpec& spec) {
  const auto out_of_range = [](std::string_view field, int64_t value, int64_t min, int64_t max) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory spec: ", AbslView(field), " is ", value, "; it is from ", min, " to ", max));
  };
  if (!IsHex(spec.model_fingerprint, 64)) {
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
  if (spec.n_dropped < 0 || spec.n_dropped > kMaxTokens) {
    return out_of_range("n_dropped", spec.n_dropped, 0, kMaxTokens);
  }
  if (spec.n_tokens < 1 || spec.n_tokens > kMaxTokens) {
    return out_of_range("n_tokens", spec.n_tokens, 1, kMaxTokens);
  }
  // 4 bytes, keys and values: below 2^62 together, so no offset overflows.
  const double bytes = 8.0 * static_cast<double>(spec.layers.size()) * spec.n_head * spec.head_dim *
                       static_cast<double>(spec.n_tokens);
  if (bytes > 4e18) return absl::InvalidArgumentError("memory spec: it has more bytes than a file can hold");
  return absl::OkStatus();
}

uint64_t SectionSize(const MemorySpec& spec, std::string_view kind) {
  return kind == "tokens" ? sizeof(int32_t) * static_cast<uint64_t>(spec.n_tokens) : TensorSize(spec);
}

MemoryLayout LayOut(MemorySpec spec) {
  MemoryLayout layout;
  layout.sections.push_back({.kind = "tokens", .layer = 0, .size = SectionSize(spec, "tokens")});
  for (const int layer : spec.layers) {
    for (const char* kind : {"keys", "values"}) {
      layout.sections.push_back({.kind = kind, .layer = layer, .size = SectionSize(spec, kind)});
    }
  }
  layout.spec = std::move(spec);
  // The header holds the offsets, whose digits may lengthen it: place again until it fits before the first.
  for (uint64_t begin = kSectionAlignment, previous = 0; begin != previous;) {
    PlaceSections(layout, begin);
    previous = begin;
    begin = std::max(begin, AlignUp(EncodeHead(layout).size()));
  }
  return layout;
}

absl::Status CheckLayout(const MemoryLayout& layout, uint64_t head_size) {
  if (absl::Status status = CheckPlacement(layout, head_size); !status.ok()) return status;
  return CheckComplete(layout);
}

}  // namespace mtm
