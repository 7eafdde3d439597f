// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_layout.h"

#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/digest.h"
#include "memory_store/segment_header.h"
#include "tests/memory_store/test_memory.h"

namespace mtm {
namespace {

using testing::HasSubstr;

std::vector<MemoryWindow> Windows(const std::vector<int64_t>& sizes) {
  std::vector<MemoryWindow> windows;
  for (const int64_t n : sizes)
    windows.push_back({.n_tokens = n, .digest = std::string(64, 'b'), .source = "a \"b\"\n"});
  return windows;
}

TEST(SegmentLayoutTest, SectionsAreAlignedAndFollowTheHeadInOrder) {
  for (const DataType dtype : {DataType::kF32, DataType::kF16}) {
    const SegmentLayout layout = LayOut(TestMemory(1, 7, dtype).spec, Windows({3, 4}));
    EXPECT_EQ(layout.n_tokens, 7);
    ASSERT_EQ(layout.sections.size(), 5u);
    EXPECT_EQ(layout.sections[0].Describe(), "tokens");
    EXPECT_EQ(layout.sections[1].Describe(), "keys of layer 2");
    EXPECT_EQ(layout.sections[4].Describe(), "values of layer 5");
    EXPECT_EQ(layout.sections[0].size, 7 * 4u);
    EXPECT_EQ(layout.sections[1].size, 3 * 7 * 4 * (dtype == DataType::kF16 ? 2u : 4u));
    uint64_t end = EncodeHead(layout).size();
    for (const FileSection& section : layout.sections) {
      EXPECT_EQ(section.offset % 4096, 0u);
      EXPECT_GE(section.offset, end);
      EXPECT_LT(section.offset, end + 4096);
      end = section.offset + section.size;
    }
    EXPECT_EQ(layout.data_size % 4096, 0u);
    EXPECT_EQ(layout.file_size(), layout.data_size + 8 + 8);
    EXPECT_TRUE(CheckLayout(layout, EncodeHead(layout).size()).ok());
  }
}

TEST(SegmentLayoutTest, LeavesRoomForTheDigestsThatAreNotKnownYet) {
  std::vector<MemoryWindow> windows = Windows(std::vector<int64_t>(1000, 1));
  const SegmentLayout known = LayOut(TestMemory(1).spec, windows);
  for (MemoryWindow& window : windows) window.digest.clear();
  const SegmentLayout unknown = LayOut(TestMemory(1).spec, windows);
  EXPECT_GT(EncodeHead(known).size(), 64'000u);
  EXPECT_EQ(EncodeHead(unknown).size(), EncodeHead(known).size());
  EXPECT_EQ(unknown.data_size, known.data_size);
  EXPECT_EQ(unknown.sections[0].offset, known.sections[0].offset);
}

TEST(SegmentLayoutTest, SpecsThatAreNoMemoryAreRefusedNamingTheField) {
  const auto expect_refused = [](void (*change)(MemorySpec&), const std::string& part) {
    MemorySpec spec = TestMemory(1).spec;
    ASSERT_TRUE(CheckSpec(spec).ok());
    change(spec);
    const absl::Status status = CheckSpec(spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << part;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  };
  expect_refused([](MemorySpec& spec) { spec.model_fingerprint.resize(63); }, "model_fingerprint");
  expect_refused([](MemorySpec& spec) { spec.model_fingerprint = std::string(64, 'A'); },
                 "model_fingerprint");
  expect_refused([](MemorySpec& spec) { spec.layers = {}; }, "layers is empty");
  expect_refused([](MemorySpec& spec) { spec.layers = {0}; }, "a layer is 0");
  expect_refused([](MemorySpec& spec) { spec.layers = {1001}; }, "a layer is 1001");
  expect_refused([](MemorySpec& spec) { spec.layers = {3, 3}; }, "do not ascend");
  expect_refused([](MemorySpec& spec) { spec.n_head = 0; }, "n_head is 0");
  expect_refused([](MemorySpec& spec) { spec.head_dim = -1; }, "head_dim is -1");
  expect_refused([](MemorySpec& spec) { spec.leading = {5, -1}; }, "a leading token is negative");
  expect_refused([](MemorySpec& spec) { spec.leading.assign(100'001, 0); }, "leading tokens is 100001");
}

TEST(SegmentLayoutTest, WindowsThatCannotBeAreRefused) {
  const MemorySpec spec = TestMemory(1).spec;
  const auto expect_refused = [&](const std::vector<MemoryWindow>& windows, const std::string& part) {
    const absl::Status status = CheckWindows(spec, windows);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << part;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  };
  EXPECT_TRUE(CheckWindows(spec, Windows({1, 2})).ok());
  EXPECT_TRUE(CheckWindows(spec, Windows({50'000'000, 50'000'000})).ok());
  expect_refused({}, "no windows");
  expect_refused(Windows({1, 0}), "window 1 has 0 tokens");
  expect_refused(Windows({-1}), "window 0 has -1 tokens");
  expect_refused(Windows({50'000'000, 50'000'001}), "window 1 has 50000001 tokens");
  expect_refused(Windows({std::numeric_limits<int64_t>::max()}), "100000000 at most");
  std::vector<MemoryWindow> windows = Windows({1});
  windows[0].source = "\xff";
  expect_refused(windows, "label of window 0 is not UTF-8");
  windows[0].source = "\xf0\x9f\x90\x88 \xef\xbf\xbd";
  EXPECT_TRUE(CheckWindows(spec, windows).ok());
  MemorySpec large = spec;
  large.n_head = 1000;
  large.head_dim = 10'000;
  EXPECT_THAT(std::string(CheckWindows(large, Windows({100'000'000})).message()), HasSubstr("more bytes"));
}

// FORMAT.md, written out.
TEST(SegmentLayoutTest, VersionDigestIsOfSettingsAndWindows) {
  const MemorySpec spec = TestMemory(1, 7, DataType::kF16).spec;
  const std::string a64(64, 'a'), b64(64, 'b');
  std::string text =
      "mtm-memory 2\n"
      R"({"dtype":"F16","head_dim":4,"layers":[2,5],"leading":[198],"model_fingerprint":")";
  text.append(a64).append("\",\"n_head\":3}\n");
  for (const char* n : {"3 ", "4 "}) text.append(n).append(b64).append(R"( "a \"b\"\n")").append("\n");
  Sha256 sha256;
  sha256.Update(std::as_bytes(std::span(text)));
  EXPECT_EQ(VersionDigest(spec, Windows({3, 4})), ToHex(sha256.Finish()));
}

}  // namespace
}  // namespace mtm
