// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_OPTIONS_ANNOTATIONS_H_
#define MTM_CLIENT_OPTIONS_ANNOTATIONS_H_

#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/struct.pb.h"

namespace mtm::client {

using Labels = std::map<std::string, std::string>;

// "topic=pets" and the like. INVALID_ARGUMENT: no '=', or a key twice. Which keys and values are allowed is
// the server's to say.
absl::StatusOr<Labels> ParseLabels(const std::vector<std::string>& settings);

// A JSON object. INVALID_ARGUMENT for anything else.
absl::StatusOr<google::protobuf::Struct> ParseMetadata(const std::string& json);

// --label KEY=VALUE, again for more.
void AddLabelOption(CLI::App& command, std::vector<std::string>& labels, const std::string& help);

// What a client says of a memory.
struct AnnotationOptions {
  std::vector<std::string> labels;
  std::string metadata;

  void AddTo(CLI::App& command);

  // Sets labels and metadata of a spec. INVALID_ARGUMENT: as the parsers.
  template <typename Spec>
  absl::Status Fill(Spec& spec) const {
    const auto parsed = ParseLabels(labels);
    if (!parsed.ok()) return parsed.status();
    spec.mutable_labels()->insert(parsed->begin(), parsed->end());
    if (metadata.empty()) return absl::OkStatus();
    auto object = ParseMetadata(metadata);
    if (!object.ok()) return object.status();
    *spec.mutable_metadata() = *std::move(object);
    return absl::OkStatus();
  }
};

}  // namespace mtm::client

#endif  // MTM_CLIENT_OPTIONS_ANNOTATIONS_H_
