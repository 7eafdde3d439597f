// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/trace_context.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mtm {
namespace {

using ::testing::MatchesRegex;

constexpr char kTraceId[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kTraceparent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceContextTest, GoesOnWithTheTraceOfTheCaller) {
  const TraceContext context = TraceContext::From(kTraceparent);
  EXPECT_EQ(context.trace_id, kTraceId);
  EXPECT_NE(context.span_id, "00f067aa0ba902b7");
  EXPECT_EQ(context.ToTraceparent(), "00-" + context.trace_id + "-" + context.span_id + "-01");
  EXPECT_EQ(TraceContext::From(context.ToTraceparent()).trace_id, kTraceId);
}

TEST(TraceContextTest, BeginsATraceWhereThereIsNone) {
  const TraceContext context = TraceContext::From("");
  EXPECT_THAT(context.ToTraceparent(), MatchesRegex("00-[0-9a-f]{32}-[0-9a-f]{16}-00"));
  EXPECT_NE(TraceContext::From("").trace_id, context.trace_id);
}

TEST(TraceContextTest, KeepsOfTheFlagsWhatItKnows) {
  EXPECT_EQ(TraceContext::From("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe").flags, 0);
  EXPECT_EQ(TraceContext::From("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff").flags, 1);
}

TEST(TraceContextTest, TakesLaterVersions) {
  EXPECT_EQ(TraceContext::From("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").trace_id, kTraceId);
  EXPECT_EQ(TraceContext::From("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what").trace_id,
            kTraceId);
}

TEST(TraceContextTest, WhatIsMalformedBeginsATraceOfItsOwn) {
  for (const char* text : {
           "x",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
           "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
           "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
           "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
           "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902bg-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
           "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
       }) {
    const TraceContext context = TraceContext::From(text);
    EXPECT_NE(context.trace_id, kTraceId) << text;
    EXPECT_THAT(context.ToTraceparent(), MatchesRegex("00-[0-9a-f]{32}-[0-9a-f]{16}-00")) << text;
  }
}

}  // namespace
}  // namespace mtm
