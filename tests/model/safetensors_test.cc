// SPDX-License-Identifier: Apache-2.0
#include "server/model/safetensors.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/random_seed.h"
#include "tests/support/model_folder.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// On the heap and no longer than it says, so that a sanitizer sees a read past its end.
std::vector<std::byte> Bytes(const std::string& file) {
  const auto* begin = reinterpret_cast<const std::byte*>(file.data());
  return {begin, begin + file.size()};
}

absl::Status Parse(const std::string& file) { return ParseSafetensors(Bytes(file)).status(); }

void ExpectMalformed(const std::string& file, const std::string& part) {
  SCOPED_TRACE(file.size() > 8 ? file.substr(8, 200) : file);
  const absl::Status status = Parse(file);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  EXPECT_LT(status.message().size(), 500u);
}

std::string WithLength(uint64_t length, const std::string& rest) {
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + rest;
}

std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape,
                      ",\"data_offsets\":", offsets, "}");
}

// One tensor "a.weight", and as many bytes of data as are asked for.
std::string OneTensor(const std::string& dtype, const std::string& shape, const std::string& offsets,
                      size_t n_data) {
  return SafetensorsFileOf(absl::StrCat("{", Entry("a.weight", dtype, shape, offsets), "}"),
                           std::string(n_data, 'x'));
}

TEST(SafetensorsTest, AFileIsReadByName) {
  const auto file = Bytes(SafetensorsFileOf({{"b", "F32", {2, 3}, std::string(24, 'b')},
                                             {"a", "BOOL", {1, 1, 2}, "aa"},
                                             {"scalar", "I64", {}, std::string(8, 's')},
                                             {"empty", "F16", {0, 4}, ""}}));
  const auto tensors = ParseSafetensors(file);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 4u) << "metadata is no tensor";
  EXPECT_EQ(tensors->at("b").dtype, "F32");
  EXPECT_THAT(tensors->at("b").shape, ElementsAre(2, 3));
  EXPECT_EQ(tensors->at("b").bytes.size(), 24u);
  EXPECT_EQ(tensors->at("b").bytes.front(), std::byte{'b'});
  EXPECT_EQ(tensors->at("a").bytes.back(), std::byte{'a'});
  EXPECT_THAT(tensors->at("scalar").shape, testing::IsEmpty());
  EXPECT_TRUE(tensors->at("empty").bytes.empty());
}

TEST(SafetensorsTest, SpacesBehindTheHeaderAreAllowed) {
  const std::string entry = absl::StrCat("{", Entry("a", "U8", "[1]", "[0,1]"), "}");
  EXPECT_TRUE(Parse(SafetensorsFileOf(entry + "       ", "x")).ok());
  EXPECT_TRUE(Parse(SafetensorsFileOf("{}", "")).ok());
}

TEST(SafetensorsTest, AHeaderLengthThatLiesIsRefused) {
  ExpectMalformed("", "shorter than the 8 bytes");
  ExpectMalformed("1234567", "shorter than the 8 bytes");
  ExpectMalformed(WithLength(0, ""), "not a JSON object");
  for (const uint64_t length : {uint64_t{3}, uint64_t{100'000'001}, uint64_t{1} << 32, uint64_t{1} << 63,
                                UINT64_MAX, UINT64_MAX - 7, UINT64_MAX - 8}) {
    ExpectMalformed(WithLength(length, "{}"), absl::StrCat("header length ", length));
  }
  ExpectMalformed(WithLength(1, "{}"), "not a JSON object");
}

TEST(SafetensorsTest, AHeaderOfMoreThan4MiBIsRefusedUnread) {
  EXPECT_TRUE(Parse(SafetensorsFileOf("{}" + std::string((4 << 20) - 2, ' '), "")).ok());
  ExpectMalformed(SafetensorsFileOf("{}" + std::string((4 << 20) - 1, ' '), ""), "header length 4194305 is above 4194304");
}

TEST(SafetensorsTest, AHeaderThatIsNoJsonObjectIsRefused) {
  for (const char* header :
       {"", " ", "[]", "null", "3", "{", "{}}", "{\"a\":", "\"a\"", "{\"\xff\":1}", "NaN"}) {
    ExpectMalformed(SafetensorsFileOf(header, ""), "not a JSON object");
  }
  ExpectMalformed(SafetensorsFileOf(std::string(1'000'000, '['), ""), "not a JSON object");
  ExpectMalformed(SafetensorsFileOf(std::string(1'000'000, '[') + std::string(1'000'000, ']'), ""),
                  "not a JSON object");
}

TEST(SafetensorsTest, DeepNestingAnywhereIsRefused) {
  const std::string nested = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  ExpectMalformed(SafetensorsFileOf(absl::StrCat("{\"a.weight\":", nested, "}"), ""), "a.weight");
  ExpectMalformed(OneTensor("F32", nested, "[0,4]", 4), "a.weight");
  ExpectMalformed(OneTensor("F32", absl::StrCat("[1,", nested, "]"), "[0,4]", 4), "a.weight");
  ExpectMalformed(OneTensor("F32", "[1]", nested, 4), "a.weight");
  ExpectMalformed(OneTensor("F32", "[1]", absl::StrCat("[0,", nested, "]"), 4), "a.weight");
}

TEST(SafetensorsTest, AnEntryThatIsNoTensorIsNamed) {
  for (const char* entry :
       {"1", "null", "[]", "{}", R"({"dtype":"F32","shape":[1]})",
        R"({"dtype":1,"shape":[1],"data_offsets":[0,4]})", R"({"shape":[1],"data_offsets":[0,4]})",
        R"({"dtype":"F32","data_offsets":[0,4]})"}) {
    ExpectMalformed(SafetensorsFileOf(absl::StrCat("{\"a.weight\":", entry, "}"), "1234"),
                    "tensor \"a.weight\"");
  }
}

TEST(SafetensorsTest, AnUnknownTypeIsNamed) {
  for (const char* dtype : {"F33", "f32", "", "float32"}) {
    ExpectMalformed(OneTensor(dtype, "[1]", "[0,4]", 4), "tensor \"a.weight\": unknown dtype");
  }
  ExpectMalformed(OneTensor(std::string(100'000, 'F'), "[1]", "[0,4]", 4), "unknown dtype");
}

TEST(SafetensorsTest, AShapeThatIsNoneIsRefused) {
  for (const char* shape : {"1", "null", "{}", "\"[1]\"", "[-1]", "[1.0]", "[\"1\"]", "[[1]]", "[true]",
                            "[4294967296]", "[18446744073709551615]", "[1e999]", "[1,1,1,1,1,1,1,1,1]"}) {
    EXPECT_EQ(Parse(OneTensor("F32", shape, "[0,4]", 4)).code(), absl::StatusCode::kInvalidArgument) << shape;
  }
}

TEST(SafetensorsTest, AShapeWhoseSizeOverflowsIsRefused) {
  // 2^31-1 fits each dimension; the products wrap around to small numbers or zero.
  ExpectMalformed(OneTensor("F64", "[2147483647,2147483647,2147483647]", "[0,8]", 8), "overflows");
  ExpectMalformed(OneTensor("F32", "[1073741824,1073741824,16]", "[0,0]", 0), "overflows");
  ExpectMalformed(OneTensor("U8", "[65536,65536,65536,65536]", "[0,0]", 0), "overflows");
  ExpectMalformed(OneTensor("F32", "[2147483647,1073741824]", "[0,4]", 4), "span 4 bytes");
}

TEST(SafetensorsTest, OffsetsThatAreNoneAreRefused) {
  for (const char* offsets : {"4", "null", "[]", "[0]", "[0,4,8]", "{}", "[0,\"4\"]", "[0,4.0]", "[-4,0]",
                              "[0,-4]", "[null,4]", "[0.5,4.5]"}) {
    ExpectMalformed(OneTensor("F32", "[1]", offsets, 4), "tensor \"a.weight\": data_offsets");
  }
}

TEST(SafetensorsTest, OffsetsOutsideTheDataAreRefused) {
  for (const char* offsets :
       {"[4,0]", "[1,5]", "[4,8]", "[0,18446744073709551615]", "[18446744073709551612,4]",
        "[18446744073709551612,18446744073709551615]", "[9223372036854775807,9223372036854775808]"}) {
    ExpectMalformed(OneTensor("F32", "[1]", offsets, 4), "tensor \"a.weight\": data_offsets [");
  }
}

TEST(SafetensorsTest, OffsetsThatDoNotFitTheShapeAreRefused) {
  ExpectMalformed(OneTensor("F32", "[1]", "[0,3]", 3), "span 3 bytes, dtype and shape need 4");
  ExpectMalformed(OneTensor("F16", "[1]", "[0,4]", 4), "span 4 bytes, dtype and shape need 2");
  ExpectMalformed(OneTensor("F32", "[]", "[0,0]", 0), "need 4");
  ExpectMalformed(OneTensor("F32", "[0]", "[0,4]", 4), "need 0");
}

TEST(SafetensorsTest, EveryByteBelongsToOneTensor) {
  const auto two = [](const std::string& a, const std::string& b, size_t n_data) {
    return SafetensorsFileOf(
        absl::StrCat("{", Entry("a", "F32", "[1]", a), ",", Entry("b", "F32", "[1]", b), "}"),
        std::string(n_data, 'x'));
  };
  EXPECT_TRUE(Parse(two("[0,4]", "[4,8]", 8)).ok());
  EXPECT_TRUE(Parse(two("[4,8]", "[0,4]", 8)).ok()) << "any order";
  ExpectMalformed(two("[0,4]", "[0,4]", 4), "overlaps");
  ExpectMalformed(two("[0,4]", "[2,6]", 6), "\"b\" overlaps");
  ExpectMalformed(two("[0,4]", "[8,12]", 12), "\"b\" overlaps another or leaves a hole");
  ExpectMalformed(two("[4,8]", "[8,12]", 12), "\"a\" overlaps another or leaves a hole");
  ExpectMalformed(two("[0,4]", "[4,8]", 9), "1 bytes after the last tensor");
  ExpectMalformed(SafetensorsFileOf("{}", "x"), "1 bytes after");
}

TEST(SafetensorsTest, ATensorGivenTwiceIsRefused) {
  ExpectMalformed(SafetensorsFileOf(absl::StrCat("{", Entry("a", "U8", "[1]", "[0,1]"), ",",
                                                 Entry("a", "U8", "[1]", "[1,2]"), "}"),
                                    "xy"),
                  "\"a\"");
}

std::string SmallFile() {
  return SafetensorsFileOf(
      {{"a", "F32", {2}, std::string(8, 'a')}, {"b", "F16", {3, 1}, std::string(6, 'b')}});
}

TEST(SafetensorsTest, EveryTruncationIsRefused) {
  const std::string file = SmallFile();
  ASSERT_TRUE(Parse(file).ok());
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_EQ(Parse(file.substr(0, size)).code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

TEST(SafetensorsTest, NoChangeOfBytesLeadsOutsideTheFile) {
  const std::string file = SmallFile();
  std::mt19937_64 random(RandomSeed(1));
  for (int round = 0; round < 20'000; ++round) {
    std::string changed = file;
    for (int n = 1 + static_cast<int>(random() % 3); n > 0; --n) {
      // Mostly the header's digits and brackets, now and then any byte.
      changed[random() % file.size()] =
          random() % 4 == 0 ? static_cast<char>(random()) : "0189[]{},\"-.e"[random() % 13];
    }
    const auto bytes = Bytes(changed);
    const auto tensors = ParseSafetensors(bytes);
    if (!tensors.ok()) continue;
    for (const auto& [name, view] : *tensors) {
      EXPECT_GE(view.bytes.data(), bytes.data());
      EXPECT_LE(view.bytes.data() + view.bytes.size(), bytes.data() + bytes.size());
    }
  }
}

TEST(SafetensorsTest, OpenNamesTheFile) {
  const TemporaryFolder folder;
  const auto open = [&](const std::string& name) {
    return SafetensorsFile::Open(folder.path() / name).status();
  };
  WriteFile(folder.path() / "good", SmallFile());
  WriteFile(folder.path() / "short", SmallFile().substr(0, 40));
  WriteFile(folder.path() / "empty", "");
  std::filesystem::create_directory(folder.path() / "folder");
  EXPECT_TRUE(open("good").ok());
  EXPECT_EQ(open("absent").code(), absl::StatusCode::kNotFound);
  for (const char* name : {"short", "empty", "folder"}) {
    EXPECT_EQ(open(name).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(open(name).message()), HasSubstr((folder.path() / name).string()));
  }
}

TEST(SafetensorsTest, PagesGivenBackAreReadAgain) {
  const TemporaryFolder folder;
  WriteFile(folder.path() / "file", SmallFile());
  const auto file = SafetensorsFile::Open(folder.path() / "file");
  ASSERT_TRUE(file.ok()) << file.status();
  ReleasePages((*file)->tensors().at("b").bytes);
  ReleasePages({});
  EXPECT_EQ((*file)->tensors().at("b").bytes.back(), std::byte{'b'});
}

}  // namespace
}  // namespace mtm
