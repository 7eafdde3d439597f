// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_RPC_BAD_REQUEST_H_
#define MTM_TESTS_RPC_BAD_REQUEST_H_

#include <google/protobuf/text_format.h>
#include <grpcpp/support/status.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "server/rpc/status.h"

namespace mtm {

template <typename Message>
Message FromText(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// `field: description`, one for each violation.
inline std::vector<std::string> Lines(const google::rpc::BadRequest& bad_request) {
  std::vector<std::string> lines;
  for (const auto& violation : bad_request.field_violations()) {
    lines.push_back(violation.field() + ": " + violation.description());
  }
  return lines;
}

inline std::vector<std::string> Violations(const absl::Status& status) {
  const auto payload = status.GetPayload(kBadRequestType);
  google::rpc::BadRequest bad_request;
  EXPECT_TRUE(!payload || bad_request.ParseFromString(std::string(*payload)));
  return Lines(bad_request);
}

inline std::vector<std::string> Violations(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::BadRequest bad_request;
  for (const auto& detail : details.details()) detail.UnpackTo(&bad_request);
  return Lines(bad_request);
}

}  // namespace mtm

#endif  // MTM_TESTS_RPC_BAD_REQUEST_H_
