// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/trace_context.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "memory_store/digest.h"

namespace mtm {
namespace {

// Offsets in `00-<32 digits>-<16 digits>-<2 digits>`.
constexpr size_t kTraceId = 3, kSpanId = 36, kFlags = 53, kSize = 55;

bool IsId(std::string_view text, size_t n_digits) {
  return IsHex(text, n_digits) && text.find_first_not_of('0') != std::string_view::npos;
}

// A later version may have more behind a further dash; ff is none.
bool IsTraceparent(std::string_view text) {
  if (text.size() < kSize || text[kTraceId - 1] != '-' || text[kSpanId - 1] != '-' ||
      text[kFlags - 1] != '-') {
    return false;
  }
  const std::string_view version = text.substr(0, 2);
  if (!IsHex(version, 2) || version == "ff") return false;
  if (text.size() > kSize && (version == "00" || text[kSize] != '-')) return false;
  return IsId(text.substr(kTraceId, 32), 32) && IsId(text.substr(kSpanId, 16), 16) &&
         IsHex(text.substr(kFlags, 2), 2);
}

// 16 digits, not all 0.
std::string RandomId() {
  std::random_device device;
  return std::string(
      absl::StrCat(absl::Hex(device(), absl::kZeroPad8), absl::Hex(device() | 1u, absl::kZeroPad8)));
}

}  // namespace

TraceContext TraceContext::From(std::string_view traceparent) {
  if (!IsTraceparent(traceparent)) return {.trace_id = RandomId() + RandomId(), .span_id = RandomId()};
  const auto flags = std::stoul(std::string(traceparent.substr(kFlags, 2)), nullptr, 16);
  return {.trace_id = std::string(traceparent.substr(kTraceId, 32)),
          .span_id = RandomId(),
          .flags = static_cast<uint8_t>(flags & 1)};
}

std::string TraceContext::ToTraceparent() const {
  return absl::StrCat("00-", trace_id, "-", span_id, "-", absl::Hex(flags, absl::kZeroPad2));
}

}  // namespace mtm
