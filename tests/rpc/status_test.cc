// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/status.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/field_errors.h"
#include "server/text/utf8.h"
#include "tests/rpc/bad_request.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// What both take in a trailer: gRPC percent-encodes the message and base64-encodes the details.
size_t TrailerBytes(const grpc::Status& status) {
  return 3 * status.error_message().size() + (status.error_details().size() + 2) / 3 * 4;
}

TEST(StatusTest, EveryCodeKeepsItsNumber) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "why"));
    EXPECT_EQ(status.error_code(), code);
    EXPECT_EQ(status.error_message(), "why");
    EXPECT_EQ(status.error_details(), "");
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

TEST(StatusTest, LongAndBrokenTextsFitATrailer) {
  for (const std::string& text :
       {std::string(1 << 20, 'x'), std::string(1 << 20, '\xff'), std::string(5000, '\n')}) {
    FieldErrors errors;
    for (int i = 0; i < 100; ++i) errors.Add(absl::StrCat("field", i, text), text);
    for (const absl::Status& status : {absl::InternalError(text), errors.ToStatus()}) {
      const grpc::Status sent = ToGrpcStatus(status);
      EXPECT_LT(TrailerBytes(sent), 8000u);
      EXPECT_FALSE(FindInvalidUtf8(sent.error_message()));
    }
    EXPECT_THAT(Violations(ToGrpcStatus(errors.ToStatus())), testing::Not(IsEmpty()));
  }
}

TEST(StatusTest, ShortenKeepsCharactersWhole) {
  EXPECT_EQ(Shorten("short", 5), "short");
  EXPECT_EQ(Shorten("longer", 5), "lo...");
  EXPECT_EQ(Shorten("\u00e9\u00e9\u00e9\u00e9", 6), "\u00e9...");
  EXPECT_EQ(Shorten("a\xff", 10), "a\ufffd");
}

TEST(FieldErrorsTest, NoneIsOk) { EXPECT_TRUE(FieldErrors().ToStatus().ok()); }

TEST(FieldErrorsTest, AllAreNamedAtOnce) {
  FieldErrors errors;
  errors.Add("a", "is 1");
  errors.Add("b[2]", "is 3");
  EXPECT_EQ(errors.ToStatus().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(errors.ToStatus().message(), "a: is 1 (and 1 more)");
  EXPECT_THAT(Violations(ToGrpcStatus(errors.ToStatus())), ElementsAre("a: is 1", "b[2]: is 3"));
}

TEST(FieldErrorsTest, WhatDoesNotFitIsCounted) {
  FieldErrors errors;
  for (int i = 0; i < 1000; ++i) errors.Add(absl::StrCat("f", i), std::string(90, 'x'));
  EXPECT_THAT(std::string(errors.ToStatus().message()), HasSubstr("(and 999 more)"));
}

TEST(CheckNumberTest, TakesFiniteNumbersWithinTheRange) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Range open{.low = 0, .high = 1, .above_low = true};
  for (const auto& [value, range, good] : std::vector<std::tuple<double, Range, bool>>{
           {0, Range{0}, true},
           {-0.1, Range{0}, false},
           {1e300, Range{0}, true},
           {infinity, Range{0}, false},
           {nan, Range{0}, false},
           {nan, Range{0, 1}, false},
           {1, Range{0, 1}, true},
           {1.0000001, Range{0, 1}, false},
           {0, open, false},
           {1e-300, open, true},
       }) {
    FieldErrors errors;
    CheckNumber("x", value, range, errors);
    EXPECT_EQ(errors.empty(), good) << value;
  }
}

TEST(CheckNumberTest, SaysWhatWouldBeRight) {
  FieldErrors errors;
  CheckNumber("a", -1, Range{0}, errors);
  CheckNumber("b", 0, Range{1, 100000}, errors);
  CheckNumber("c", 0, Range{.low = 0, .above_low = true}, errors);
  CheckNumber("d", 2, Range{.low = 0, .high = 1, .above_low = true}, errors);
  EXPECT_THAT(Violations(errors.ToStatus()),
              ElementsAre("a: is -1; must be at least 0", "b: is 0; must be 1 to 100000",
                          "c: is 0; must be above 0", "d: is 2; must be above 0 and at most 1"));
}

}  // namespace
}  // namespace mtm
