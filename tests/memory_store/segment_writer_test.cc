// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/digest.h"
#include "memory_store/half.h"
#include "memory_store/segment.h"
#include "tests/memory_store/test_memory.h"
#include "tests/support/faulty_file_system.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class SegmentWriterTest : public testing::TestWithParam<DataType> {
 protected:
  SegmentWriterTest() { std::filesystem::create_directories(folder_); }

  std::unique_ptr<SegmentWriter> Create(const std::vector<PlannedWindow>& windows,
                                        FileSystem& file_system = *PosixFileSystem()) {
    auto writer = SegmentWriter::Create(file_system, folder_ / "new.tmp", cats_.spec, windows);
    EXPECT_TRUE(writer.ok()) << writer.status();
    return *std::move(writer);
  }

  static void ExpectError(const absl::Status& status, absl::StatusCode code, const std::string& part) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }

  const std::filesystem::path folder_ = FreshPath();
  const TestMemory cats_{1, 7, GetParam()};
  static constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  static constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;
};

TEST_P(SegmentWriterTest, WhatIsWrittenIsReadBack) {
  for (const size_t window : {1u, 3u, 7u}) {
    const auto segment = cats_.LoadSegment(folder_, window);
    ASSERT_TRUE(segment.ok()) << segment.status();
    EXPECT_TRUE(cats_.IsIn(*MemoryOf({*segment})));
    EXPECT_EQ((*segment)->windows().size(), (7 + window - 1) / window);
    EXPECT_TRUE((*segment)->VerifyWindows().ok());
    EXPECT_EQ((*segment)->size_bytes(),
              static_cast<int64_t>(std::filesystem::file_size(folder_ / ((*segment)->digest() + ".mtm"))));
    const auto adopted =
        Segment::Adopt(*PosixFileSystem(), folder_ / ((*segment)->digest() + ".mtm"), (*segment)->digest());
    ASSERT_TRUE(adopted.ok()) << adopted.status();
    EXPECT_TRUE(cats_.IsIn(*MemoryOf({*adopted})));
  }
}

// Of tokens, then of keys and values by layer and head: whatever order they came in, and nothing else.
TEST_P(SegmentWriterTest, WindowDigestIsOfTheStoredBytesInOrder) {
  std::mt19937 random(1);
  std::vector<std::string> digests;
  for (int repeat = 0; repeat < 4; ++repeat) {
    auto writer = Create({{.n_tokens = 7, .source = "cats.txt"}});
    ASSERT_TRUE(writer->BeginWindow(cats_.tokens).ok());
    std::vector<size_t> order = {0, 1, 2, 3, 4, 5};
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t i : order) {
      ASSERT_TRUE(
          writer->Write(cats_.spec.layers[i / 3], static_cast<int>(i % 3), cats_.keys[i], cats_.values[i])
              .ok());
    }
    const auto digest = writer->Finish();
    ASSERT_TRUE(digest.ok());
    digests.push_back(*digest);
  }
  EXPECT_THAT(digests, testing::Each(digests[0]));

  Sha256 sha256;
  sha256.Update(std::as_bytes(std::span(cats_.tokens)));
  for (size_t i = 0; i < 6; ++i) {
    for (const std::vector<float>* rows : {&cats_.keys[i], &cats_.values[i]}) {
      std::vector<uint16_t> halves(rows->size());
      FloatToHalf(*rows, halves);
      sha256.Update(GetParam() == DataType::kF16 ? std::as_bytes(std::span(halves))
                                                 : std::as_bytes(std::span(*rows)));
    }
  }
  const MemoryWindow window{.n_tokens = 7, .digest = ToHex(sha256.Finish()), .source = "cats.txt"};
  EXPECT_EQ(digests[0], VersionDigest(cats_.spec, {window}));
}

TEST_P(SegmentWriterTest, DigestDependsOnEverythingButTheSegmentation) {
  // One segment of windows 3, 3, 1 and two segments of 3, 3 and 1: the same windows.
  const auto whole = cats_.LoadSegment(folder_);
  const auto front = cats_.Part(0, 6).LoadSegment(folder_);
  const auto back = cats_.Part(6, 1).LoadSegment(folder_);
  ASSERT_TRUE(whole.ok() && front.ok() && back.ok());
  const auto memory = MemoryOf({*front, *back});
  EXPECT_EQ(memory->windows(), (*whole)->windows());
  EXPECT_EQ(VersionDigest(memory->spec(), memory->windows()), (*whole)->digest());
  EXPECT_TRUE(cats_.IsIn(*memory));

  std::vector<std::string> digests = {(*whole)->digest()};
  const auto add = [&](const TestMemory& memory_to_add, size_t window) {
    digests.push_back(*memory_to_add.WriteSegment(folder_, window));
  };
  add(cats_, 4);
  TestMemory other = cats_;
  other.keys[4][5] = 0.25f;
  add(other, 3);
  other = cats_;
  other.values[5].back() = 0.25f;
  add(other, 3);
  other = cats_;
  ++other.tokens[6];
  add(other, 3);
  other = cats_;
  other.spec.leading = {198, 198};
  add(other, 3);
  other = cats_;
  other.spec.model_fingerprint = std::string(64, 'b');
  add(other, 3);
  other = cats_;
  other.spec.dtype = GetParam() == DataType::kF16 ? DataType::kF32 : DataType::kF16;
  add(other, 3);
  std::sort(digests.begin(), digests.end());
  EXPECT_EQ(std::unique(digests.begin(), digests.end()), digests.end());
}

TEST_P(SegmentWriterTest, WindowIsCopiedBitForBitFromAnySegment) {
  const auto source = cats_.LoadSegment(folder_ / "source");
  ASSERT_TRUE(source.ok());
  // Backwards: 1, 3, 3 rows.
  auto writer = Create({{1, "c"}, {3, "b"}, {3, "a"}});
  for (const size_t window : {2u, 1u, 0u}) ASSERT_TRUE(writer->CopyWindow(**source, window).ok());
  const auto digest = writer->Finish();
  ASSERT_TRUE(digest.ok()) << digest.status();
  const auto copy = Segment::Load(*PosixFileSystem(), writer->path(), *digest);
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_TRUE((*copy)->VerifyWindows().ok());
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*copy)->windows()[i].digest, (*source)->windows()[2 - i].digest);
    EXPECT_EQ((*copy)->windows()[i].source, std::string(1, static_cast<char>('c' - i)));
  }
  TestMemory expected = cats_.Part(6, 1);
  for (const size_t begin : {3u, 0u}) {
    const TestMemory part = cats_.Part(begin, 3);
    const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    append(expected.tokens, part.tokens);
    for (size_t i = 0; i < 6; ++i) {
      append(expected.keys[i], part.keys[i]);
      append(expected.values[i], part.values[i]);
    }
  }
  EXPECT_TRUE(expected.IsIn(*MemoryOf({*copy})));
}

TEST_P(SegmentWriterTest, CopiedAndWrittenWindowsMix) {
  const auto source = cats_.LoadSegment(folder_ / "source");
  ASSERT_TRUE(source.ok());
  auto writer = Create(cats_.Plan(3));
  ASSERT_TRUE(cats_.WriteWindow(*writer, 0, 3).ok());
  ASSERT_TRUE(writer->CopyWindow(**source, 1).ok());
  ASSERT_TRUE(cats_.WriteWindow(*writer, 6, 1).ok());
  const auto digest = writer->Finish();
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(*digest, (*source)->digest());
  EXPECT_EQ(ReadAll(writer->path()), ReadAll(folder_ / "source" / (*digest + ".mtm")));
}

TEST_P(SegmentWriterTest, WindowOfAnotherSpecOrSizeIsNotCopied) {
  TestMemory other = cats_;
  other.spec.leading = {};
  const auto source = other.LoadSegment(folder_);
  const auto same = cats_.LoadSegment(folder_);
  auto writer = Create({{2, ""}, {3, ""}});
  ExpectError(writer->CopyWindow(**source, 0), kInvalid, "another spec");
  ExpectError(writer->CopyWindow(**same, 0), kInvalid, "window 0: 3 tokens, where 2 were planned");
}

TEST_P(SegmentWriterTest, PlansThatAreNoMemoryAreRefused) {
  const auto create = [&](const MemorySpec& spec, const std::vector<PlannedWindow>& windows) {
    return SegmentWriter::Create(*PosixFileSystem(), folder_ / "x.tmp", spec, windows).status();
  };
  ExpectError(create(cats_.spec, {}), kInvalid, "no windows");
  ExpectError(create(cats_.spec, {{3, ""}, {0, ""}}), kInvalid, "window 1 has 0 tokens");
  ExpectError(create(cats_.spec, {{3, "\xc3"}}), kInvalid, "label of window 0 is not UTF-8");
  MemorySpec spec = cats_.spec;
  spec.layers = {5, 2};
  ExpectError(create(spec, {{3, ""}}), kInvalid, "layers do not ascend");
  EXPECT_THAT(FilesIn(folder_), IsEmpty());
}

TEST_P(SegmentWriterTest, CallsOutOfOrderAreRefusedAndNothingIsLost) {
  auto writer = Create({{3, ""}, {4, ""}});
  const auto rows = [&](int layer, int head, size_t n) {
    return writer->Write(layer, head, std::span(cats_.keys[0]).first(n), std::span(cats_.values[0]).first(n));
  };
  ExpectError(rows(2, 0, 12), kPrecondition, "no window was begun");
  ExpectError(writer->Finish().status(), kPrecondition, "2 of 2 windows are missing");
  ExpectError(writer->BeginWindow(std::span(cats_.tokens).first(4)), kInvalid,
              "window 0: 4 tokens, where 3 were planned");
  ExpectError(writer->BeginWindow({}), kInvalid, "window 0: 0 tokens");
  const std::vector<int32_t> negative = {1, -1, 2};
  ExpectError(writer->BeginWindow(negative), kInvalid, "a negative token id");

  ASSERT_TRUE(writer->BeginWindow(std::span(cats_.tokens).first(3)).ok());
  ExpectError(rows(3, 0, 12), kInvalid, "layer 3, head 0 is not kept");
  ExpectError(rows(2, 3, 12), kInvalid, "layer 2, head 3 is not kept");
  ExpectError(rows(2, -1, 12), kInvalid, "layer 2, head -1 is not kept");
  ExpectError(rows(2, 0, 11), kInvalid, "11 and 11 numbers instead of 12");
  ASSERT_TRUE(rows(2, 0, 12).ok());
  ExpectError(rows(2, 0, 12), kPrecondition, "written before in this window");
  ExpectError(writer->BeginWindow(std::span(cats_.tokens).subspan(3)), kPrecondition,
              "rows of layer 2, head 1 are missing from window 0");
  ExpectError(writer->Finish().status(), kPrecondition, "rows of layer 2, head 1 are missing from window 0");
  for (size_t i = 1; i < 6; ++i) {
    ASSERT_TRUE(writer
                    ->Write(cats_.spec.layers[i / 3], static_cast<int>(i % 3),
                            std::span(cats_.keys[i]).first(12), std::span(cats_.values[i]).first(12))
                    .ok());
  }
  ExpectError(writer->Finish().status(), kPrecondition, "1 of 2 windows are missing");
  ASSERT_TRUE(cats_.WriteWindow(*writer, 3, 4).ok());
  ExpectError(writer->BeginWindow(std::span(cats_.tokens).first(1)), kInvalid,
              "window 2: only 2 were planned");
  const auto digest = writer->Finish();
  ASSERT_TRUE(digest.ok()) << digest.status();
  ExpectError(writer->Finish().status(), kPrecondition, "committed already");
  ExpectError(writer->BeginWindow(cats_.tokens), kPrecondition, "committed already");
  const auto segment = Segment::Load(*PosixFileSystem(), writer->path(), *digest);
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_TRUE(cats_.IsIn(*MemoryOf({*segment})));
}

TEST_P(SegmentWriterTest, NumbersThatCannotBeStoredAreRefused) {
  auto writer = Create({{7, ""}});
  ASSERT_TRUE(writer->BeginWindow(cats_.tokens).ok());
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> rows = cats_.keys[0];
    rows.back() = bad;
    ExpectError(writer->Write(2, 0, rows, cats_.values[0]), kInvalid,
                "layer 2, head 0: a number is not finite");
    ExpectError(writer->Write(2, 0, cats_.keys[0], rows), kInvalid,
                "layer 2, head 0: a number is not finite");
  }
  std::vector<float> rows = cats_.keys[0];
  rows[3] = -65520.f;
  if (GetParam() == DataType::kF16) {
    ExpectError(writer->Write(2, 0, cats_.keys[0], rows), kInvalid, "too large for F16, which ends at 65504");
    rows[3] = std::nextafter(-65520.f, 0.f);
  }
  EXPECT_TRUE(writer->Write(2, 0, cats_.keys[0], rows).ok());
}

TEST_P(SegmentWriterTest, HalvesAreTheNearest) {
  TestMemory memory = cats_;
  for (float& x : memory.keys[2]) x += 1.f / 3;
  const auto segment = memory.LoadSegment(folder_);
  ASSERT_TRUE(segment.ok());
  std::vector<float> keys(memory.keys[2].size()), values(memory.keys[2].size());
  MemoryOf({*segment})->CopyRows(2, 2, 0, keys, values);
  for (size_t i = 0; i < keys.size(); ++i) {
    const float expected = GetParam() == DataType::kF16
                               ? PortableHalfToFloat(PortableFloatToHalf(memory.keys[2][i]))
                               : memory.keys[2][i];
    EXPECT_EQ(keys[i], expected);
  }
}

TEST_P(SegmentWriterTest, WriterThatIsDroppedTakesItsFileAlong) {
  auto writer = Create({{7, ""}});
  EXPECT_THAT(FilesIn(folder_), ElementsAre("new.tmp"));
  ASSERT_TRUE(cats_.WriteWindow(*writer, 0, 7).ok());
  writer.reset();
  EXPECT_THAT(FilesIn(folder_), IsEmpty());
  writer = Create({{7, ""}});
  ASSERT_TRUE(cats_.WriteWindow(*writer, 0, 7).ok());
  ASSERT_TRUE(writer->Finish().ok());
  std::filesystem::rename(writer->path(), folder_ / "done");
  writer.reset();
  EXPECT_THAT(FilesIn(folder_), ElementsAre("done"));
}

// Every call in turn: what fails is reported, again and again, and leaves no file.
TEST_P(SegmentWriterTest, FaultOfTheDiskAnywhereSpendsTheWriterAndSaysWhy) {
  for (const Fault fault : {Fault::kIoError, Fault::kDiskFull, Fault::kShortWrite}) {
    const auto code =
        fault == Fault::kIoError ? absl::StatusCode::kInternal : absl::StatusCode::kResourceExhausted;
    for (int n = 1; !HasFailure(); ++n) {
      FaultyFileSystem file_system(*PosixFileSystem());
      file_system.Arm(n, fault, /*sticky=*/false);
      auto writer = SegmentWriter::Create(file_system, folder_ / "new.tmp", cats_.spec, cats_.Plan(3));
      if (writer.ok()) {
        absl::Status status = cats_.WriteTo(**writer, 3);
        if (status.ok()) status = (*writer)->Finish().status();
        const bool untouched = file_system.n_failed() == 0;
        file_system.Disarm();  // the file can be removed
        if (untouched) {
          EXPECT_TRUE(status.ok()) << status;
          EXPECT_GT(n, 40);  // a call for each (layer, head), and more
          break;
        }
        ExpectError(status, code, folder_.string());
        EXPECT_EQ((*writer)->BeginWindow(cats_.tokens), status);
        EXPECT_EQ((*writer)->Write(2, 0, cats_.keys[0], cats_.values[0]), status);
        EXPECT_EQ((*writer)->Finish().status(), status);
      } else {
        ExpectError(writer.status(), code, folder_.string());
      }
      writer = absl::UnknownError("dropped");
      EXPECT_THAT(FilesIn(folder_), IsEmpty()) << "call " << n;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DataTypes, SegmentWriterTest, testing::Values(DataType::kF32, DataType::kF16),
                         NameOfDataType);

}  // namespace
}  // namespace mtm
