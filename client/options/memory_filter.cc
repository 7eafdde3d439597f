// SPDX-License-Identifier: Apache-2.0
#include "client/options/memory_filter.h"

#include "client/options/annotations.h"

namespace mtm::client {
namespace {

v1::Memory::State ParseState(const std::string& state) {
  if (state == "disk") return v1::Memory::STATE_ON_DISK;
  if (state == "resident") return v1::Memory::STATE_RESIDENT;
  return state == "quarantined" ? v1::Memory::STATE_QUARANTINED : v1::Memory::STATE_UNSPECIFIED;
}

}  // namespace

void FilterOptions::AddTo(CLI::App& command) {
  command.add_option("--prefix", prefix, "only names that begin so, as team/")->type_name("TEXT");
  AddLabelOption(command, labels, "only those with this label; again for more, all of them");
  command
      .add_option("--state", states, "only those in this state: disk, resident, quarantined; again for more")
      ->check(CLI::Validator(
          [](std::string& text) {
            return ParseState(text) != v1::Memory::STATE_UNSPECIFIED
                       ? ""
                       : "must be disk, resident or quarantined";
          },
          ""))
      ->type_name("STATE")
      ->allow_extra_args(false);
}

absl::StatusOr<v1::MemoryFilter> FilterOptions::Filter() const {
  v1::MemoryFilter filter;
  filter.set_name_prefix(prefix);
  const auto parsed = ParseLabels(labels);
  if (!parsed.ok()) return parsed.status();
  filter.mutable_labels()->insert(parsed->begin(), parsed->end());
  for (const std::string& state : states) filter.add_states(ParseState(state));
  return filter;
}

}  // namespace mtm::client
