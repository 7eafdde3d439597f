// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/memory_filter.h"

#include <algorithm>
#include <bit>
#include <span>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "memory_store/digest.h"
#include "server/rpc/convert.h"

namespace mtm {
namespace {

constexpr int kDefaultPageSize = 100;
constexpr Range kPageSize{1, 1000};
constexpr size_t kFingerprintDigits = 16;

// Beyond it a page ends early: gRPC's clients take messages of at most 4 MiB unless they are told otherwise,
// and a memory of many texts has many sources.
constexpr size_t kMaxPageBytes = 2 << 20;

std::optional<MemoryState> ReadState(int state) {
  switch (state) {
    case v1::Memory::STATE_ON_DISK:
      return MemoryState::kOnDisk;
    case v1::Memory::STATE_RESIDENT:
      return MemoryState::kResident;
    case v1::Memory::STATE_QUARANTINED:
      return MemoryState::kQuarantined;
    default:
      return std::nullopt;
  }
}

// Opaque to clients: the filter's fingerprint and the last name of the page before.
std::string PageToken(const MemoryFilter& filter, const std::string& last_name) {
  return absl::WebSafeBase64Escape(filter.Fingerprint() + last_name);
}

// The name that the page comes behind.
std::string ReadPageToken(const std::string& token, const MemoryFilter& filter, FieldErrors& errors) {
  if (token.empty()) return "";
  std::string decoded;
  if (!absl::WebSafeBase64Unescape(token, &decoded) || decoded.size() <= kFingerprintDigits) {
    errors.Add("page_token", "is none that this service gave; leave it empty for the first page");
    return "";
  }
  if (!decoded.starts_with(filter.Fingerprint())) {
    errors.Add("page_token",
               "is of a list with another filter; a page token goes with the filter of the page before");
    return "";
  }
  return decoded.substr(kFingerprintDigits);
}

// A string with its length before it: no two lists of them look alike.
void AppendField(std::string& text, std::string_view field) {
  absl::StrAppend(&text, field.size(), ":", std::string(field));
}

}  // namespace

MemoryFilter::MemoryFilter(const std::string& field, const v1::MemoryFilter& proto, FieldErrors& errors)
    : name_prefix_(proto.name_prefix()), labels_(proto.labels().begin(), proto.labels().end()) {
  for (int i = 0; i < proto.states_size(); ++i) {
    const std::optional<MemoryState> state = ReadState(proto.states(i));
    if (state) {
      states_.insert(*state);
    } else {
      errors.Add(absl::StrCat(field, ".states[", i, "]"),
                 absl::StrCat("is ", static_cast<int>(proto.states(i)),
                              "; must be STATE_ON_DISK, STATE_RESIDENT or STATE_QUARANTINED"));
    }
  }
}

bool MemoryFilter::Matches(const MemoryRecord& record) const {
  return reader_.May(Right::kRead, record.info.name) && record.info.name.starts_with(name_prefix_) &&
         (states_.empty() || states_.contains(record.state)) &&
         std::ranges::all_of(labels_, [&](const auto& label) {
           const auto found = record.labels.find(label.first);
           return found != record.labels.end() && found->second == label.second;
         });
}

std::string MemoryFilter::Fingerprint() const {
  std::string text;
  AppendField(text, name_prefix_);
  for (const auto& [key, value] : labels_) {
    AppendField(text, key);
    AppendField(text, value);
  }
  for (const MemoryState state : states_) absl::StrAppend(&text, ";", static_cast<int>(state));
  const uint64_t hash = BlockChecksum(text);
  return absl::StrCat(absl::Hex(hash, absl::kZeroPad16));
}

absl::StatusOr<v1::ListMemoriesResponse> ListMemories(const v1::ListMemoriesRequest& request,
                                                      const Catalog& catalog, const Principal& reader) {
  FieldErrors errors;
  const int page_size = request.has_page_size() ? request.page_size() : kDefaultPageSize;
  CheckNumber("page_size", page_size, kPageSize, errors);
  MemoryFilter filter("filter", request.filter(), errors);
  filter.set_reader(reader);
  const std::string after = ReadPageToken(request.page_token(), filter, errors);
  if (!errors.empty()) return errors.ToStatus();

  v1::ListMemoriesResponse response;
  size_t bytes = 0;
  auto entry = after.empty() ? catalog.lower_bound(filter.name_prefix()) : catalog.upper_bound(after);
  for (; entry != catalog.end() && entry->first.starts_with(filter.name_prefix()); ++entry) {
    if (!filter.Matches(*entry->second)) continue;
    if (response.memories_size() == page_size || bytes > kMaxPageBytes) {
      response.set_next_page_token(PageToken(filter, response.memories().rbegin()->name()));
      break;
    }
    *response.add_memories() = ToProto(*entry->second, /*with_versions=*/false);
    bytes += response.memories().rbegin()->ByteSizeLong();
  }
  return response;
}

}  // namespace mtm
