// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/messages.h"

#include <grpcpp/support/slice.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mtm/v1/inference_service.pb.h"
#include "mtm/v1/memory_service.pb.h"
#include "tests/rpc/bad_request.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

grpc::ByteBuffer Bytes(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

TEST(MessagesTest, SerializedMessagesParse) {
  v1::GenerateRequest request;
  request.set_prompt("caf\u00e9");
  request.add_memory_uses()->set_memory("cats");
  v1::GenerateRequest parsed;
  const grpc::ByteBuffer bytes = SerializeMessage(request);
  ASSERT_TRUE(ParseMessage(bytes, parsed).ok());
  EXPECT_EQ(parsed.SerializeAsString(), request.SerializeAsString());
  ASSERT_TRUE(ParseMessage(bytes, parsed).ok()) << "the bytes can be parsed again";
}

TEST(MessagesTest, BrokenTextIsNamedWhereverItIs) {
  v1::GenerateRequest request;
  request.set_prompt("a\xff");
  request.add_memory_uses()->set_memory("good");
  request.add_memory_uses()->set_memory("\xc3");
  request.mutable_parameters()->add_stop("ab\xed\xa0\x80");
  v1::GenerateRequest parsed;
  const absl::Status status = ParseMessage(Bytes(request.SerializePartialAsString()), parsed);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Violations(status),
              ElementsAre("prompt: is no UTF-8 at byte 1", "memory_uses[1].memory: is no UTF-8 at byte 0",
                          "parameters.stop[0]: is no UTF-8 at byte 2"));
}

TEST(MessagesTest, BytesOfAMemorysTextNeedNotBeUtf8) {
  v1::CreateMemoryRequest request;
  request.set_text("half a character: \xc3");
  v1::CreateMemoryRequest parsed;
  EXPECT_TRUE(ParseMessage(SerializeMessage(request), parsed).ok());
}

TEST(MessagesTest, GarbageIsRefused) {
  for (const char* garbage :
       {"\x0a\xff", "\x0a\x05xx", "\x07", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}) {
    v1::GenerateRequest parsed;
    const absl::Status status = ParseMessage(Bytes(garbage), parsed);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), "the request's bytes are no mtm.v1.GenerateRequest");
    EXPECT_THAT(Violations(status), IsEmpty());
  }
}

}  // namespace
}  // namespace mtm
