// SPDX-License-Identifier: Apache-2.0
#include "memory_store/segment_index.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "memory_store/checked_file.h"
#include "memory_store/search.h"
#include "memory_store/segment_index_header.h"
#include "nlohmann/json.hpp"
#include "tests/memory_store/test_memory.h"
#include "tests/support/faulty_file_system.h"

namespace mtm {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Json = nlohmann::json;

constexpr int64_t kTokens = 5000;
constexpr int kLists = 128;

class SegmentIndexTest : public testing::TestWithParam<DataType> {
 protected:
  SegmentIndexTest() { segment_ = *cats_.LoadSegment(folder_, 1000); }

  std::shared_ptr<const SegmentIndex> Build(const IndexOptions& options = {}) const {
    return BuiltIndex(path_, *segment_, options);
  }

  // What Build leaves.
  std::string Written(const IndexOptions& options = {}) const {
    Build(options);
    return ReadAll(path_);
  }

  absl::Status Load(const std::string& bytes) const {
    WriteAll(path_, bytes);
    return SegmentIndex::Load(*PosixFileSystem(), path_, *segment_).status();
  }

  void ExpectDamaged(const std::string& bytes, const std::string& reason = "",
                     absl::StatusCode code = absl::StatusCode::kDataLoss) const {
    const absl::Status status = Load(bytes);
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_.string()));
    EXPECT_THAT(std::string(status.message()), HasSubstr(reason));
  }

  // The index with what `change` makes of its head and of the bytes behind it, all checksums right.
  std::string Resealed(std::string bytes, const std::function<void(Json&, std::string&)>& change) const {
    const auto head = DecodeIndexHead(HeadOf(bytes));
    EXPECT_TRUE(head.ok()) << head.status();
    Json header = Json::parse(EncodeHead(*head).substr(kPreambleSize));
    bytes.resize(head->data_size);
    change(header, bytes);
    const std::string new_head = EncodeHead(kIndexMagic, header.dump(), head->data_size);
    std::fill(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(head->sections[0].offset), '\0');
    EXPECT_LE(new_head.size(), head->sections[0].offset);
    std::copy(new_head.begin(), new_head.end(), bytes.begin());
    std::filesystem::remove(path_);
    std::unique_ptr<File> file = *PosixFileSystem()->CreateFile(path_);
    EXPECT_TRUE(file->WriteAt(0, std::as_bytes(std::span(bytes))).ok());
    EXPECT_TRUE(SealFile(*file, head->data_size).ok());
    return ReadAll(path_);
  }

  static std::span<const std::byte> HeadOf(const std::string& bytes) {
    uint32_t header_size;
    std::memcpy(&header_size, &bytes[12], sizeof(header_size));
    return std::as_bytes(std::span(bytes)).first(kPreambleSize + header_size);
  }

  const std::filesystem::path folder_ = FreshPath();
  const std::filesystem::path path_ = folder_ / "index.idx";
  const TestMemory cats_{1, kTokens, GetParam()};
  std::shared_ptr<const Segment> segment_;
};

// With queries that are no keys: what was measured with keys holds for them, give or take the sample.
TEST_P(SegmentIndexTest, ProposesTheShareOfNeighboursThatWasAskedFor) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> queries(400 * 4);
  for (float& x : queries) x = normal(random);
  for (const double target : {0.5, 0.9, 0.99}) {
    const auto index = Build({.recall_target = target});
    EXPECT_EQ(index->n_list(), kLists);
    EXPECT_GE(index->recall(), target);
    size_t n_found = 0;
    const std::vector<Neighbour> nearest = NearestKeys(segment_->keys(5, 1), queries, 10);
    const std::vector<std::vector<uint32_t>> all = index->Propose(5, 1, queries, 10);
    ASSERT_EQ(all.size(), 400u);
    for (size_t q = 0; q < 400; ++q) {
      const std::vector<uint32_t>& rows = all[q];
      EXPECT_GE(rows.size(), 10u);
      EXPECT_LT(rows.size(), 100u);  // far fewer than all
      const std::set<uint32_t> proposed(rows.begin(), rows.end());
      EXPECT_EQ(proposed.size(), rows.size());
      for (size_t i = q * 10; i < (q + 1) * 10; ++i)
        n_found += proposed.count(static_cast<uint32_t>(nearest[i].position));
    }
    EXPECT_GE(static_cast<double>(n_found) / 4000, target - 0.05) << target;
  }
}

TEST_P(SegmentIndexTest, ProposesEveryRowOnceWhenAsManyAreWantedAndAllListsAreProbed) {
  const auto index = Build({.recall_target = 2});
  EXPECT_EQ(index->recall(), 1);
  for (const float number : {0.5f, 1e30f, NAN}) {
    for (const int layer : {2, 5}) {
      for (int head = 0; head < 3; ++head) {
        std::vector<uint32_t> rows = index->Propose(layer, head, std::vector<float>(4, number), kTokens)[0];
        std::sort(rows.begin(), rows.end());
        ASSERT_EQ(rows.size(), static_cast<size_t>(kTokens));
        for (uint32_t i = 0; i < kTokens; ++i) ASSERT_EQ(rows[i], i);
      }
    }
  }
}

TEST_P(SegmentIndexTest, ProposesEnoughRowsThatDifferWhateverIsAsked) {
  const auto index = Build();
  for (const float number : {0.f, -0.5f, 100.f, 1e30f, INFINITY, NAN}) {
    const std::vector<uint32_t> rows =
        index->Propose(2, 1, std::vector<float>{0.1f, number, number, 0.3f}, 5)[0];
    EXPECT_GE(rows.size(), 5u) << number;
    EXPECT_EQ(std::set<uint32_t>(rows.begin(), rows.end()).size(), rows.size()) << number;
    EXPECT_LT(*std::max_element(rows.begin(), rows.end()), kTokens) << number;
  }
}

// Where the lists that are probed have few, further ones are.
TEST_P(SegmentIndexTest, ProposesWhatIsNearOfAsManyRowsAsAreWantedWhereFewListsAreProbed) {
  const auto index = Build({.recall_target = 0.01});
  const std::span<const float> queries = std::span(cats_.keys[4]).first(20 * 4);
  for (const int k : {1, 100, 1000, 4999, std::numeric_limits<int>::max()}) {
    const size_t n = std::min<size_t>(static_cast<size_t>(k), kTokens);
    const std::vector<Neighbour> nearest = NearestKeys(segment_->keys(5, 1), queries, k);
    const std::vector<std::vector<uint32_t>> all = index->Propose(5, 1, queries, k);
    size_t n_found = 0;
    for (size_t q = 0; q < 20; ++q) {
      const std::set<uint32_t> rows(all[q].begin(), all[q].end());
      EXPECT_EQ(rows.size(), all[q].size());
      EXPECT_GE(rows.size(), n);
      for (size_t i = q * n; i < (q + 1) * n; ++i)
        n_found += rows.count(static_cast<uint32_t>(nearest[i].position));
    }
    EXPECT_GE(static_cast<double>(n_found) / static_cast<double>(20 * n), 0.9) << k;
  }
}

TEST_P(SegmentIndexTest, ProposesTheSameToAQueryWhateverIsAskedWithIt) {
  const auto index = Build();
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  std::vector<float> queries(50 * 4);
  for (float& x : queries) x = normal(random);
  queries[4 * 7] = NAN;
  queries[4 * 8] = 1e30f;
  const std::vector<std::vector<uint32_t>> all = index->Propose(5, 1, queries, 10);
  for (size_t q = 0; q < 50; ++q) {
    const std::vector<uint32_t> alone = index->Propose(5, 1, std::span(queries).subspan(q * 4, 4), 10)[0];
    EXPECT_THAT(all[q], testing::UnorderedElementsAreArray(alone)) << q;
  }
}

TEST_P(SegmentIndexTest, SameSeedGivesTheSameBytesAndAnotherSeedOthers) {
  const std::string bytes = Written();
  EXPECT_EQ(Written(), bytes);
  EXPECT_NE(Written({.seed = 2}), bytes);
}

TEST_P(SegmentIndexTest, IsReadBack) {
  const auto built = Build();
  const auto loaded = SegmentIndex::Load(*PosixFileSystem(), path_, *segment_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->recall(), built->recall());
  EXPECT_EQ((*loaded)->n_list(), built->n_list());
  for (size_t i = 0; i < 6; ++i) {
    const int layer = cats_.spec.layers[i / 3];
    const int head = static_cast<int>(i % 3);
    const std::span<const float> query = std::span(cats_.keys[i]).first(4);
    const std::vector<uint32_t> rows = built->Propose(layer, head, query, 5)[0];
    EXPECT_EQ(rows, (*loaded)->Propose(layer, head, query, 5)[0]);
    EXPECT_FALSE(rows.empty());
  }
  EXPECT_TRUE((*loaded)->Verify(*segment_).ok());
  EXPECT_EQ(SegmentIndex::Build(*PosixFileSystem(), path_, *segment_, {}).code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_P(SegmentIndexTest, SegmentsOfAFewRowsCanHaveOne) {
  for (const int64_t n : {1, 2, 3, 17}) {
    const TestMemory few(9, n, GetParam());
    const auto segment = few.LoadSegment(folder_);
    ASSERT_TRUE(segment.ok());
    const auto index = BuiltIndex(path_, **segment);
    EXPECT_LE(index->n_list(), n);
    const auto memory = MemoryOf({(*segment)->WithIndex(index)});
    EXPECT_EQ(memory->Search(2, 0, few.keys[0], 100), MemoryOf({*segment})->Search(2, 0, few.keys[0], 100));
  }
}

TEST_P(SegmentIndexTest, KeysThatAreAllTheSameCanHaveOne) {
  TestMemory same = cats_.Part(0, 1000);
  for (std::vector<float>& keys : same.keys) std::ranges::fill(keys, 0.5f);
  const auto segment = same.LoadSegment(folder_, 1000);
  ASSERT_TRUE(segment.ok());
  EXPECT_TRUE(BuiltIndex(path_, **segment)->Verify(**segment).ok());
}

TEST_P(SegmentIndexTest, BuildingReportsItsProgressAndEndsWhenTold) {
  std::vector<double> shares;
  FileSystem& files = *PosixFileSystem();
  const auto record = [&](double share) {
    shares.push_back(share);
    return absl::OkStatus();
  };
  EXPECT_TRUE(SegmentIndex::Build(files, path_, *segment_, {}, record).ok());
  EXPECT_FALSE(shares.empty());
  EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
  EXPECT_EQ(shares.back(), 1.0);
  std::filesystem::remove(path_);
  EXPECT_EQ(
      SegmentIndex::Build(files, path_, *segment_, {}, [](double) { return absl::CancelledError("enough"); }),
      absl::CancelledError("segment " + segment_->digest() + ": enough"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_P(SegmentIndexTest, FlippedByteInTheHeadIsFound) {
  const std::string good = Written();
  const size_t size = HeadOf(good).size();
  for (size_t at = 0; at < size; ++at) {
    std::string bytes = good.substr(0, size);
    bytes[at] ^= 4;
    EXPECT_EQ(DecodeIndexHead(std::as_bytes(std::span(bytes))).status().code(), absl::StatusCode::kDataLoss)
        << at;
    EXPECT_FALSE(DecodeIndexHead(std::as_bytes(std::span(good)).first(at)).ok()) << at;
    if (at < kPreambleSize || at % 64 == 0) ExpectDamaged(bytes + good.substr(size));
  }
}

TEST_P(SegmentIndexTest, FlippedByteOrCutInEverySectionIsFound) {
  const std::string good = Written();
  const auto head = DecodeIndexHead(HeadOf(good));
  ASSERT_TRUE(head.ok());
  ASSERT_EQ(head->sections.size(), 10u);
  for (const FileSection& section : head->sections) {
    for (const uint64_t at : {section.offset - 1, section.offset, section.offset + section.size - 1}) {
      std::string bytes = good;
      bytes[at] ^= 4;
      ExpectDamaged(bytes, "does not match its checksum");
      ExpectDamaged(good.substr(0, at), "bytes instead of ");
    }
    std::string bytes = good;
    bytes[section.offset] ^= 4;
    ExpectDamaged(bytes, section.Describe());
  }
  for (uint64_t at = head->data_size; at < good.size(); ++at) {
    std::string bytes = good;
    bytes[at] ^= 4;
    ExpectDamaged(bytes, "its table of checksums");
    ExpectDamaged(good.substr(0, at), "bytes instead of ");
  }
  ExpectDamaged(good + "x", "bytes instead of ");
  ExpectDamaged("", "too short");
  std::filesystem::remove(path_);
  EXPECT_EQ(SegmentIndex::Load(*PosixFileSystem(), path_, *segment_).status(),
            absl::DataLossError(path_.string() + ": the file is missing"));
  ExpectDamaged(good.substr(0, 0) + ReadAll(folder_ / (segment_->digest() + ".mtm")),
                "does not begin with MTMIDX");
}

TEST_P(SegmentIndexTest, HeadersThatLieAreRefused) {
  const std::string good = Written();
  const auto expect_refused = [&](const std::string& pointer, const Json& value, const std::string& part,
                                  absl::StatusCode code = absl::StatusCode::kDataLoss) {
    SCOPED_TRACE(pointer + " " + value.dump());
    ExpectDamaged(
        Resealed(good, [&](Json& header, std::string&) { header[Json::json_pointer(pointer)] = value; }),
        part, code);
  };
  EXPECT_TRUE(Load(Resealed(good, [](Json& header, std::string&) { header["something_new"] = 1; })).ok());
  expect_refused("/segment", std::string(64, 'a'), "it is the index of another segment");
  expect_refused("/segment", 7, "'segment'");
  for (const Json& bad : {Json(-1), Json(1.5), Json("3"), Json(nullptr), Json(2'147'483'647)}) {
    expect_refused("/n_list", bad, "'n_list'");
  }
  expect_refused("/n_list", 0, "'n_probe'");
  expect_refused("/n_list", 64, "");
  expect_refused("/n_list", kTokens + 1, "it has 5001 lists of 5000 rows");
  for (const Json& bad : {Json(0), Json(kLists + 1), Json(-1), Json("1"), Json(1.0)}) {
    expect_refused("/n_probe/1/2", bad, "'n_probe'");
  }
  expect_refused("/n_probe", 3, "'n_probe'");
  expect_refused("/n_probe/0", 3, "'n_probe'");
  expect_refused("/n_probe/2", {1, 1, 1}, "other layers or heads");
  expect_refused("/n_probe/0/3", 1, "other layers or heads");
  for (const Json& bad : {Json(-0.1), Json(1.1), Json("1"), Json(nullptr)})
    expect_refused("/recall", bad, "'recall'");
  for (const Json& bad : {Json(-1), Json(0.5), Json("1")}) expect_refused("/seed", bad, "'seed'");
  expect_refused("/sections/0/offset", 0, "lies where it cannot");
  expect_refused("/sections/0/size", 4,
                 "section centroids of layer 2 is there 1 times, instead of once with ");
  expect_refused("/sections/0/layer", 3, "section centroids of layer 2 is there 0 times");
  expect_refused("/sections/0/kind", "graph", "'graph'", absl::StatusCode::kFailedPrecondition);
}

TEST_P(SegmentIndexTest, ListsInWhichRowsAreMissingOrTwiceAreRefused) {
  const std::string good = Written();
  const auto head = DecodeIndexHead(HeadOf(good));
  ASSERT_TRUE(head.ok());
  const uint64_t rows = head->Find("rows", 5).offset;
  const uint64_t begins = head->Find("list_begins", 5).offset;
  const auto with_number = [&](uint64_t offset, uint32_t number) {
    return Resealed(good,
                    [&](Json&, std::string& bytes) { std::memcpy(&bytes[offset], &number, sizeof(number)); });
  };
  uint32_t first;
  std::memcpy(&first, &good[rows], sizeof(first));
  ExpectDamaged(with_number(rows + 4, first), "stands in two lists");
  ExpectDamaged(with_number(rows + 4, kTokens), "row 5000 is not there");
  ExpectDamaged(with_number(rows + 4, 0xffffffff), "row 4294967295 is not there");
  ExpectDamaged(with_number(begins, 1), "do not follow one another");
  ExpectDamaged(with_number(begins + 4, 0xffffffff), "do not follow one another");
  ExpectDamaged(with_number(begins + 4 * kLists, kTokens - 1), "do not follow one another");
}

TEST_P(SegmentIndexTest, IndexThatIsNotOfTheseKeysIsFoundByVerifying) {
  const std::string good = Written();
  const auto head = DecodeIndexHead(HeadOf(good));
  ASSERT_TRUE(head.ok());
  const auto verify = [&](const std::string& bytes) {
    WriteAll(path_, bytes);
    const auto index = SegmentIndex::Load(*PosixFileSystem(), path_, *segment_);
    EXPECT_TRUE(index.ok()) << index.status();
    return (*index)->Verify(*segment_);
  };
  EXPECT_TRUE(verify(good).ok());
  // The first and the last row of a head change their places, and with them their lists.
  const uint64_t rows = head->Find("rows", 5).offset;
  const absl::Status moved = verify(Resealed(good, [&](Json&, std::string& bytes) {
    std::swap_ranges(&bytes[rows], &bytes[rows] + 4, &bytes[rows + 4 * (kTokens - 1)]);
  }));
  EXPECT_EQ(moved.code(), absl::StatusCode::kDataLoss) << moved;
  EXPECT_THAT(std::string(moved.message()), HasSubstr("layer 5, head 0: row "));
  const uint64_t codes = head->Find("codes", 2).offset;
  const absl::Status recoded =
      verify(Resealed(good, [&](Json&, std::string& bytes) { bytes[codes] ^= 0x77; }));
  EXPECT_EQ(recoded.code(), absl::StatusCode::kDataLoss) << recoded;
  EXPECT_THAT(std::string(recoded.message()), HasSubstr("layer 2, head 0: number 0 of row "));
}

// Of lists with so many rows that few are looked at.
TEST_P(SegmentIndexTest, IndexThatFindsLessThanItSaysIsFoundByVerifying) {
  constexpr int64_t kMany = 40'000;
  segment_ = *TestMemory(2, kMany, GetParam()).LoadSegment(folder_, 1000);
  const std::string good = Written();
  const auto verify = [&](const std::string& bytes) {
    WriteAll(path_, bytes);
    return (*SegmentIndex::Load(*PosixFileSystem(), path_, *segment_))->Verify(*segment_);
  };
  EXPECT_TRUE(verify(good).ok());
  const absl::Status poor =
      verify(Resealed(good, [&](Json& header, std::string&) { header["n_probe"][0][1] = 1; }));
  EXPECT_EQ(poor.code(), absl::StatusCode::kDataLoss) << poor;
  EXPECT_THAT(std::string(poor.message()), HasSubstr("layer 2, head 1: its recall is "));
}

TEST_P(SegmentIndexTest, FaultOfTheDiskLeavesNoFile) {
  segment_ = *TestMemory(3, 300, GetParam()).LoadSegment(folder_);
  const std::vector<std::string> before = FilesIn(folder_);
  for (const Fault fault : {Fault::kIoError, Fault::kShortWrite}) {
    for (int n = 1; !HasFailure(); ++n) {
      FaultyFileSystem file_system(*PosixFileSystem());
      file_system.Arm(n, fault, /*sticky=*/false);
      const absl::Status status = SegmentIndex::Build(file_system, path_, *segment_, {});
      if (file_system.n_failed() == 0) {
        EXPECT_TRUE(status.ok());
        break;
      }
      EXPECT_EQ(status.code(), fault == Fault::kIoError ? absl::StatusCode::kInternal
                                                        : absl::StatusCode::kResourceExhausted);
      EXPECT_EQ(FilesIn(folder_), before) << n;
    }
    std::filesystem::remove(path_);
  }
}

INSTANTIATE_TEST_SUITE_P(DataTypes, SegmentIndexTest, testing::Values(DataType::kF32, DataType::kF16),
                         NameOfDataType);

}  // namespace
}  // namespace mtm
