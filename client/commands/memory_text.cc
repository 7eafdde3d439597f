// SPDX-License-Identifier: Apache-2.0
#include "client/commands/memory_text.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "client/commands/json.h"
#include "client/commands/summary.h"
#include "client/render/format.h"
#include "client/render/text_width.h"

namespace mtm::client {

std::string MemoryLine(const v1::Memory& memory) {
  return absl::StrCat(memory.name(), ": ", FormatCounted(memory.token_count(), "token"), ", layers ",
                      LayersText(memory.layers()), ", ", FormatBytes(memory.size_bytes()), ", digest ",
                      ShortDigest(memory.digest()));
}

std::string StateText(v1::Memory::State state) {
  switch (state) {
    case v1::Memory::STATE_ON_DISK:
      return "on disk";
    case v1::Memory::STATE_RESIDENT:
      return "resident";
    case v1::Memory::STATE_QUARANTINED:
      return "quarantined";
    default:
      return "unknown";
  }
}

std::string LabelsText(const v1::Memory& memory) {
  const std::map<std::string, std::string> sorted(memory.labels().begin(), memory.labels().end());
  return EscapeControl(absl::StrJoin(sorted, ", ", absl::PairFormatter("=")));
}

std::string MetadataText(const v1::Memory& memory) {
  if (memory.metadata().fields().empty()) return "";
  return EscapeControl(ToJson(memory.metadata()).dump());
}

std::string LocalTime(const google::protobuf::Timestamp& timestamp) {
  const absl::Time time = absl::FromUnixSeconds(timestamp.seconds());
  return absl::FormatTime("%Y-%m-%d %H:%M", time, absl::LocalTimeZone());
}

}  // namespace mtm::client
