// SPDX-License-Identifier: Apache-2.0
// A segment of which any byte is flipped, or that is cut anywhere, is refused with the file and with what is
// wrong.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/checked_file.h"
#include "memory_store/digest.h"
#include "memory_store/segment.h"
#include "memory_store/segment_header.h"
#include "tests/memory_store/test_memory.h"
#include "tests/support/faulty_file_system.h"

namespace mtm {
namespace {

using testing::HasSubstr;

class SegmentDamageTest : public testing::TestWithParam<DataType> {
 protected:
  SegmentDamageTest() {
    const auto digest = cats_.WriteSegment(folder_, 20'000);
    EXPECT_TRUE(digest.ok()) << digest.status();
    digest_ = *digest;
    path_ = folder_ / (digest_ + ".mtm");
    good_ = ReadAll(path_);
    layout_ = ReadSegmentHead(*PosixFileSystem(), path_, digest_)->layout;
    EXPECT_EQ(good_.size(), layout_.file_size());
  }

  absl::Status Load(const std::string& bytes) {
    WriteAll(path_, bytes);
    return Segment::Load(*PosixFileSystem(), path_, digest_).status();
  }

  void ExpectDamaged(const std::string& bytes, const std::string& reason = "",
                     absl::StatusCode code = absl::StatusCode::kDataLoss) {
    const absl::Status status = Load(bytes);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_.string()));
    EXPECT_THAT(std::string(status.message()), HasSubstr(reason));
  }

  void PutByte(uint64_t at, char byte) const {
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(at)).put(byte);
  }

  std::string Flipped(uint64_t at) const {
    std::string bytes = good_;
    bytes[at] ^= 0x10;
    return bytes;
  }

  const std::filesystem::path folder_ = FreshPath();
  const TestMemory cats_{1, 50'000, GetParam()};
  std::string digest_;
  std::filesystem::path path_;
  std::string good_;
  SegmentLayout layout_;
};

TEST_P(SegmentDamageTest, FlippedByteAnywhereInPreambleAndHeaderIsFound) {
  const size_t head_size = EncodeHead(layout_).size();
  for (uint64_t at = 0; at < head_size; ++at) {
    PutByte(at, static_cast<char>(good_[at] ^ 0x10));
    const absl::Status status = ReadSegmentHead(*PosixFileSystem(), path_, digest_).status();
    PutByte(at, good_[at]);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << at;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_.string()));
  }
  EXPECT_TRUE(ReadSegmentHead(*PosixFileSystem(), path_, digest_).ok());
  ExpectDamaged(Flipped(kPreambleSize), "its header does not match its checksum");
}

TEST_P(SegmentDamageTest, FlippedByteInASectionIsFoundWithItsBlockAndSection) {
  for (const FileSection& section : layout_.sections) {
    for (const uint64_t at :
         {section.offset, section.offset + section.size / 2, section.offset + section.size - 1}) {
      ExpectDamaged(Flipped(at), "block " + std::to_string(at / kBlockSize) + " (bytes ");
      ExpectDamaged(Flipped(at), section.Describe());
    }
  }
}

TEST_P(SegmentDamageTest, FlippedByteBetweenSectionsIsFound) {
  ExpectDamaged(Flipped(layout_.sections[0].offset - 1), "block 0 (bytes 0 to 1048575: header, tokens");
  ExpectDamaged(Flipped(layout_.sections[1].offset - 1), "does not match its checksum");
  ExpectDamaged(Flipped(layout_.data_size - 1), "does not match its checksum");
}

TEST_P(SegmentDamageTest, FlippedByteInTheTableOrAfterItIsFound) {
  for (uint64_t at = layout_.data_size; at < good_.size(); ++at) {
    ExpectDamaged(Flipped(at), "its table of checksums does not match its own checksum");
  }
}

TEST_P(SegmentDamageTest, FileCutAtEveryBorderAndWithinIsFound) {
  std::vector<uint64_t> cuts = {0,
                                1,
                                8,
                                12,
                                16,
                                24,
                                kPreambleSize,
                                kPreambleSize + 100,
                                layout_.data_size,
                                layout_.data_size + 8,
                                layout_.file_size() - 8,
                                layout_.file_size() - 1};
  for (const FileSection& section : layout_.sections) {
    cuts.insert(cuts.end(), {section.offset, section.offset + 1, section.offset + section.size});
  }
  for (uint64_t at = kBlockSize; at < good_.size(); at += kBlockSize) cuts.push_back(at);
  for (const uint64_t size : cuts) {
    ExpectDamaged(good_.substr(0, size));
    EXPECT_FALSE(ReadSegmentHead(*PosixFileSystem(), path_, digest_).ok());
    EXPECT_FALSE(Segment::Adopt(*PosixFileSystem(), path_, digest_).ok());
  }
  ExpectDamaged(good_.substr(0, kPreambleSize + 100), "ends within its header");
  ExpectDamaged(good_.substr(0, good_.size() - 1), "bytes instead of ");
  ExpectDamaged(good_ + '\0', "bytes instead of ");
}

TEST_P(SegmentDamageTest, MissingFileIsFound) {
  std::filesystem::remove(path_);
  for (const absl::Status& status : {ReadSegmentHead(*PosixFileSystem(), path_, digest_).status(),
                                     Segment::Load(*PosixFileSystem(), path_, digest_).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_.string() + ": the file is missing"));
  }
}

TEST_P(SegmentDamageTest, AnotherSegmentUnderItsNameIsFound) {
  const TestMemory dogs(2, 5, GetParam());
  const auto other = dogs.WriteSegment(folder_);
  ASSERT_TRUE(other.ok());
  ExpectDamaged(ReadAll(folder_ / (*other + ".mtm")), "it holds another segment, of digest " + *other);
}

// The version, or another field of the preamble, with the right checksum.
std::string WithPreamble(std::string bytes, size_t at, uint32_t number) {
  uint32_t header_size;
  std::memcpy(&header_size, &bytes[12], sizeof(header_size));
  std::memcpy(&bytes[at], &number, sizeof(number));
  const uint64_t checksum = BlockChecksum(bytes.substr(0, 24) + bytes.substr(kPreambleSize, header_size));
  std::memcpy(&bytes[24], &checksum, sizeof(checksum));
  return bytes;
}

TEST_P(SegmentDamageTest, FileOfANewerVersionIsRefusedWhateverFollowsItsHeader) {
  const std::string newer = WithPreamble(good_, 8, 3);
  ExpectDamaged(newer, "it has format version 3; this reader reads version 2",
                absl::StatusCode::kFailedPrecondition);
  ExpectDamaged(newer + "more", "it has format version 3; this reader reads version 2",
                absl::StatusCode::kFailedPrecondition);
}

TEST_P(SegmentDamageTest, PreambleWithSizesThatCannotBeIsRefusedBeforeAnythingIsTaken) {
  ExpectDamaged(WithPreamble(good_, 12, 0xffffffff), "impossible sizes");
  ExpectDamaged(WithPreamble(good_, 12, 256 << 20), "impossible sizes");
  ExpectDamaged(WithPreamble(good_, 16, 1), "impossible sizes");
  ExpectDamaged(WithPreamble(good_, 20, 0x7fffffff), "impossible sizes");
  ExpectDamaged(WithPreamble(good_, 20, 0x3fff), "bytes instead of ");
  // The header is as long as the file, and not a byte more.
  ExpectDamaged(WithPreamble(good_, 12, static_cast<uint32_t>(layout_.data_size)), "impossible sizes");
}

TEST_P(SegmentDamageTest, WindowWhoseBytesAreNotThoseOfItsDigestIsFound) {
  // Checksums that are right, over bytes that are not.
  std::string bytes = good_;
  bytes[layout_.RowOffset("values", 5, 1, 45'000)] ^= 1;
  {
    std::unique_ptr<File> file = *PosixFileSystem()->CreateFile(folder_ / "new");
    ASSERT_TRUE(file->WriteAt(0, std::as_bytes(std::span(bytes).first(layout_.data_size))).ok());
    ASSERT_TRUE(SealFile(*file, layout_.data_size).ok());
  }
  std::filesystem::rename(folder_ / "new", path_);
  const auto segment = Segment::Load(*PosixFileSystem(), path_, digest_);
  ASSERT_TRUE(segment.ok()) << segment.status();
  const absl::Status status = (*segment)->VerifyWindows();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("window 2 (rows 40000 to 49999)"));
}

TEST_P(SegmentDamageTest, LoadingReportsEveryBlockAndEndsWhenTold) {
  std::vector<int64_t> reported;
  const auto segment = Segment::Load(*PosixFileSystem(), path_, digest_, [&](int64_t done) {
    reported.push_back(done);
    return absl::OkStatus();
  });
  ASSERT_TRUE(segment.ok());
  EXPECT_EQ(reported.size(), BlockCount(layout_.data_size));
  EXPECT_TRUE(std::is_sorted(reported.begin(), reported.end()));
  EXPECT_EQ(reported.back(), static_cast<int64_t>(layout_.data_size));
  const auto stop = [](int64_t done) {
    return done > 1'000'000 ? absl::CancelledError("enough") : absl::OkStatus();
  };
  EXPECT_EQ(Segment::Load(*PosixFileSystem(), path_, digest_, stop).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ((*segment)->VerifyWindows(stop).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE((*segment)->VerifyWindows([](int64_t) { return absl::OkStatus(); }).ok());
}

TEST_P(SegmentDamageTest, FaultOfTheDiskIsReportedAsSuchAndNotAsDamage) {
  for (const Fault fault : {Fault::kIoError, Fault::kDiskFull}) {
    const auto code =
        fault == Fault::kIoError ? absl::StatusCode::kInternal : absl::StatusCode::kResourceExhausted;
    for (int n = 1; !HasFailure(); ++n) {
      FaultyFileSystem file_system(*PosixFileSystem());
      file_system.Arm(n, fault, /*sticky=*/false);
      const absl::Status status = Segment::Load(file_system, path_, digest_).status();
      if (file_system.n_failed() == 0) break;
      EXPECT_EQ(status.code(), code) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(path_.string()));
    }
  }
}

TEST_P(SegmentDamageTest, MappedSegmentOutlivesItsFile) {
  const auto segment = Segment::Load(*PosixFileSystem(), path_, digest_);
  ASSERT_TRUE(segment.ok());
  std::filesystem::remove(path_);
  EXPECT_TRUE(cats_.IsIn(*MemoryOf({*segment})));
}

INSTANTIATE_TEST_SUITE_P(DataTypes, SegmentDamageTest, testing::Values(DataType::kF32, DataType::kF16),
                         NameOfDataType);

}  // namespace
}  // namespace mtm
