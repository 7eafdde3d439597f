// SPDX-License-Identifier: Apache-2.0
#include "client/commands/input.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm::client {
namespace {

using ::testing::HasSubstr;

TEST(InputTest, ReadsAFileToItsEnd) {
  const std::string path = testing::TempDir() + "/input_test.txt";
  const std::string text(200'000, 'x');
  std::ofstream(path) << text;
  auto input = Input::Open(path);
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_EQ(*(*input)->ReadAll({}), text);
  std::remove(path.c_str());
}

TEST(InputTest, WhatCannotBeOpenedIsAUsageError) {
  const auto missing = Input::Open("/no/such/file");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/no/such/file"));
  EXPECT_THAT(std::string(Input::Open("/").status().message()), HasSubstr("directory"));
}

TEST(InputTest, StopEndsAReadOfASilentPipe) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::stop_source source;
  const auto input = Input::FromDescriptor(ends[0]);
  std::jthread stopper([&source] { source.request_stop(); });
  EXPECT_EQ(input->Next(source.get_token()).status().code(), absl::StatusCode::kCancelled);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace mtm::client
