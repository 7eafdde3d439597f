// SPDX-License-Identifier: Apache-2.0
#include "client/status.h"

#include "client/commands/exit_code.h"
#include "client/commands/json.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "tests/support/fake_service.h"

namespace mtm::client {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(FromGrpcTest, KeepsCodeAndMessage) {
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
  const absl::Status status = FromGrpc({grpc::StatusCode::DATA_LOSS, "damaged"});
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(status.message(), "damaged");
  EXPECT_THAT(FieldViolations(status), IsEmpty());
}

TEST(FromGrpcTest, CarriesFieldViolations) {
  const absl::Status status =
      FromGrpc(BadRequestStatus({{"prompt", "is empty"}, {"parameters.mode", "is unknown"}}));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(FieldViolations(status), ElementsAre(FieldViolation{"prompt", "is empty"},
                                                   FieldViolation{"parameters.mode", "is unknown"}));
  EXPECT_EQ(StatusText(status),
            "INVALID_ARGUMENT: invalid request\n  prompt: is empty\n  parameters.mode: is unknown");
}

TEST(FromGrpcTest, DetailsThatDoNotParseAreLeftOut) {
  const absl::Status status = FromGrpc({grpc::StatusCode::INVALID_ARGUMENT, "bad", "\xFF\xFF no protobuf"});
  EXPECT_EQ(status.message(), "bad");
  EXPECT_THAT(FieldViolations(status), IsEmpty());
}

TEST(StatusTextTest, SaysAViolationOnce) {
  const absl::Status status =
      WithFieldViolations(absl::InvalidArgumentError("prompt: is empty"), {{"prompt", "is empty"}});
  EXPECT_EQ(StatusText(status), "INVALID_ARGUMENT: prompt: is empty");
}

TEST(FromGrpcTest, CarriesWhenToTryAgain) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(2);
  info.mutable_retry_delay()->set_nanos(500'000'000);
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  const absl::Status status =
      FromGrpc({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many wait", details.SerializeAsString()});
  EXPECT_EQ(RetryDelay(status), absl::Milliseconds(2500));
  EXPECT_EQ(StatusText(status), "RESOURCE_EXHAUSTED: too many wait (try again in 2.50 s)");
  EXPECT_EQ(ErrorToJson(status)["error"]["retry_after_seconds"], 2.5);
  EXPECT_EQ(RetryDelay(absl::ResourceExhaustedError("a quota")), std::nullopt);
}

TEST(StatusTextTest, EscapesWhatWouldReachTheTerminal) {
  EXPECT_EQ(StatusText(absl::NotFoundError("no \x1b[31m\n")), "NOT_FOUND: no \\x1B[31m⏎");
}

TEST(ErrorToJsonTest, HasCodeMessageAndFields) {
  EXPECT_EQ(ToLine(ErrorToJson(FromGrpc(BadRequestStatus({{"prompt", "is empty"}})))),
            R"({"error":{"code":"INVALID_ARGUMENT","message":"invalid request",)"
            R"("fields":[{"field":"prompt","description":"is empty"}]}})"
            "\n");
  EXPECT_EQ(ToLine(ErrorToJson(absl::NotFoundError("no \xFF"))),
            "{\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"no \uFFFD\",\"fields\":[]}}\n");
}

TEST(ExitCodeTest, AsDocumented) {
  EXPECT_EQ(ExitCode(absl::StatusCode::kOk), 0);
  EXPECT_EQ(ExitCode(absl::StatusCode::kInternal), 1);
  EXPECT_EQ(ExitCode(absl::StatusCode::kInvalidArgument), 2);
  EXPECT_EQ(ExitCode(absl::StatusCode::kNotFound), 3);
  EXPECT_EQ(ExitCode(absl::StatusCode::kAlreadyExists), 4);
  EXPECT_EQ(ExitCode(absl::StatusCode::kFailedPrecondition), 5);
  EXPECT_EQ(ExitCode(absl::StatusCode::kUnavailable), 6);
  EXPECT_EQ(ExitCode(absl::StatusCode::kDeadlineExceeded), 6);
  EXPECT_EQ(ExitCode(absl::StatusCode::kResourceExhausted), 7);
  EXPECT_EQ(ExitCode(absl::StatusCode::kDataLoss), 8);
  EXPECT_EQ(ExitCode(absl::StatusCode::kUnauthenticated), 9);
  EXPECT_EQ(ExitCode(absl::StatusCode::kPermissionDenied), 9);
}

}  // namespace
}  // namespace mtm::client
