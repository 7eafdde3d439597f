// SPDX-License-Identifier: Apache-2.0
#include "client/options/annotations.h"

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"

namespace mtm::client {

absl::StatusOr<Labels> ParseLabels(const std::vector<std::string>& settings) {
  Labels labels;
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat("\"", setting, "\" is no label: KEY=VALUE"));
    }
    if (!labels.emplace(setting.substr(0, equals), setting.substr(equals + 1)).second) {
      return absl::InvalidArgumentError(absl::StrCat("label ", setting.substr(0, equals), " comes twice"));
    }
  }
  return labels;
}

absl::StatusOr<google::protobuf::Struct> ParseMetadata(const std::string& json) {
  google::protobuf::Struct object;
  if (google::protobuf::util::JsonStringToMessage(json, &object).ok()) return object;
  return absl::InvalidArgumentError(absl::StrCat("--metadata: \"", json, "\" is no JSON object"));
}

void AddLabelOption(CLI::App& command, std::vector<std::string>& labels, const std::string& help) {
  command.add_option("--label", labels, help)->type_name("KEY=VALUE")->allow_extra_args(false);
}

void AnnotationOptions::AddTo(CLI::App& command) {
  AddLabelOption(command, labels, "a label of the memory, to find it by; again for more");
  command.add_option("--metadata", metadata, "a JSON object to keep with the memory")->type_name("JSON");
}

}  // namespace mtm::client
