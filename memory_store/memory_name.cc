// SPDX-License-Identifier: Apache-2.0
#include "memory_store/memory_name.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "memory_store/absl_view.h"
#include "memory_store/memory_store.h"

namespace mtm {
namespace {

constexpr size_t kMaxParts = 4;
constexpr size_t kMaxPartLength = 63;
constexpr size_t kMinDigestDigits = 8;
constexpr size_t kMaxDigestDigits = 64;
constexpr size_t kMaxCloseNames = 3;

bool IsAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// Names come from outside: a message never carries their control characters or their megabytes.
std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  const bool cut = text.size() > kShown;
  return absl::StrCat("'", absl::CHexEscape({text.data(), std::min(text.size(), kShown)}),
                      cut ? "...'" : "'");
}

std::string ProblemOfPart(std::string_view part) {
  if (part.empty()) return "it has an empty part";
  if (part.size() > kMaxPartLength) return "a part is longer than 63 characters";
  if (!IsAlphanumeric(part[0])) return "a part begins with something else than a-z or 0-9";
  for (const char c : part) {
    if (!IsAlphanumeric(c) && c != '.' && c != '_' && c != '-') {
      return absl::StrCat("it has the character ", Quoted({&c, 1}));
    }
  }
  return "";
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = std::exchange(row[j + 1], std::min({replaced, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

}  // namespace

absl::Status CheckMemoryName(std::string_view name) {
  std::string problem;
  if (name.empty()) problem = "it is empty";
  // Before splitting, so that a hostile name costs nothing.
  if (name.size() > kMaxParts * (kMaxPartLength + 1) - 1) problem = "it is too long";
  if (problem.empty()) {
    const std::vector<std::string> parts = absl::StrSplit(AbslView(name), '/');
    if (parts.size() > kMaxParts) problem = "it has more than 4 parts";
    for (const std::string& part : parts) {
      if (problem.empty()) problem = ProblemOfPart(part);
    }
  }
  if (problem.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("memory name ", Quoted(name), ": ", problem,
                   "; a name is 1 to 4 parts with slashes between, each [a-z0-9][a-z0-9._-]{0,62}"));
}

absl::StatusOr<MemoryReference> ParseMemoryReference(std::string_view reference) {
  MemoryReference parsed;
  const size_t at = reference.find('@');
  const std::string_view name = reference.substr(0, at);
  if (absl::Status status = CheckMemoryName(name); !status.ok()) return status;
  parsed.name = name;
  if (at == std::string_view::npos) return parsed;

  const std::string_view digest = reference.substr(at + 1);
  const bool is_digest = digest.size() >= kMinDigestDigits && digest.size() <= kMaxDigestDigits &&
                         std::all_of(digest.begin(), digest.end(),
                                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!is_digest) {
    return absl::InvalidArgumentError(absl::StrCat("digest ", Quoted(digest), " of memory ", Quoted(name),
                                                   ": it is 8 to 64 of the digits 0-9, a-f"));
  }
  parsed.digest = digest;
  return parsed;
}

absl::Status UnknownMemory(std::string_view name) {
  return absl::NotFoundError(absl::StrCat("no memory '", AbslView(name), "'"));
}

std::vector<std::string> CloseNames(std::string_view name, const std::vector<std::string>& names) {
  const size_t limit = std::max<size_t>(2, name.size() / 3);
  std::vector<std::pair<size_t, std::string>> close;
  for (const std::string& other : names) {
    const size_t difference = std::max(name.size(), other.size()) - std::min(name.size(), other.size());
    if (difference > limit) continue;
    const size_t distance = EditDistance(name, other);
    if (distance <= limit) close.emplace_back(distance, other);
  }
  std::sort(close.begin(), close.end());
  if (close.size() > kMaxCloseNames) close.resize(kMaxCloseNames);
  std::vector<std::string> result;
  for (auto& [distance, other] : close) result.push_back(std::move(other));
  return result;
}

}  // namespace mtm
