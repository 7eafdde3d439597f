// SPDX-License-Identifier: Apache-2.0
// Small memories with content that follows from a seed, and folders to keep them in.
#ifndef MTM_TESTS_MEMORY_STORE_TEST_MEMORY_H_
#define MTM_TESTS_MEMORY_STORE_TEST_MEMORY_H_

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "memory_store/half.h"
#include "memory_store/memory_store.h"
#include "memory_store/segment.h"
#include "memory_store/segment_index.h"
#include "memory_store/segment_writer.h"

namespace mtm {

// A folder of this process alone, removed with it.
class ProcessFolder {
 public:
  ProcessFolder() : path_(testing::TempDir()) { path_ /= "mtm_test." + std::to_string(getpid()); }
  ~ProcessFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A path of this test alone, where nothing is.
inline std::filesystem::path FreshPath(std::string_view leaf = "store") {
  static const ProcessFolder process;
  const testing::TestInfo* const test = testing::UnitTest::GetInstance()->current_test_info();
  std::string unique = std::string(test->test_suite_name()) + "." + test->name();
  std::replace(unique.begin(), unique.end(), '/', '_');
  const std::filesystem::path path = process.path() / unique / leaf;
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path.parent_path());
  return path;
}

inline std::string ReadAll(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void WriteAll(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Names of the files below a folder.
inline std::vector<std::string> FilesIn(const std::filesystem::path& folder) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files.push_back(entry.path().filename().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

struct TestMemory {
  MemorySpec spec;
  std::vector<int32_t> tokens;
  std::vector<std::vector<float>> keys;    // [layers kept * n_head][n_tokens * head_dim]
  std::vector<std::vector<float>> values;  // as keys

  explicit TestMemory(uint32_t seed, int64_t n_tokens = 7, DataType dtype = DataType::kF32) {
    spec = {.model_fingerprint = std::string(64, 'a'),
            .layers = {2, 5},
            .n_head = 3,
            .head_dim = 4,
            .leading = {198},
            .dtype = dtype};
    std::mt19937 random(seed);
    for (int64_t i = 0; i < n_tokens; ++i) tokens.push_back(static_cast<int32_t>(random() % 50257));
    for (size_t i = 0; i < 6; ++i) {
      keys.push_back(RandomRows(random, n_tokens));
      values.push_back(RandomRows(random, n_tokens));
    }
  }

  // In windows of `window` rows, the last one shorter.
  std::vector<PlannedWindow> Plan(size_t window) const {
    std::vector<PlannedWindow> windows;
    for (size_t begin = 0; begin < tokens.size(); begin += window) {
      windows.push_back(
          {.n_tokens = static_cast<int64_t>(std::min(window, tokens.size() - begin)), .source = ""});
    }
    return windows;
  }

  // Writes the next window, with tokens [begin, begin + n), into a MemoryWriter or SegmentWriter.
  template <typename Writer>
  absl::Status WriteWindow(Writer& writer, size_t begin, size_t n) const {
    absl::Status status = writer.BeginWindow(std::span(tokens).subspan(begin, n));
    for (size_t i = 0; i < keys.size() && status.ok(); ++i) {
      status = writer.Write(spec.layers[i / 3], static_cast<int>(i % 3),
                            std::span(keys[i]).subspan(begin * 4, n * 4),
                            std::span(values[i]).subspan(begin * 4, n * 4));
    }
    return status;
  }

  // All windows of Plan(window).
  template <typename Writer>
  absl::Status WriteTo(Writer& writer, size_t window) const {
    absl::Status status;
    for (size_t begin = 0; begin < tokens.size() && status.ok(); begin += window) {
      status = WriteWindow(writer, begin, std::min(window, tokens.size() - begin));
    }
    return status;
  }

  absl::StatusOr<std::shared_ptr<const Memory>> CreateIn(MemoryStore& store, std::string_view name,
                                                         size_t window = 3) const {
    absl::StatusOr<std::unique_ptr<MemoryWriter>> writer = store.Create(name, spec, Plan(window));
    if (!writer.ok()) return writer.status();
    if (absl::Status status = WriteTo(**writer, window); !status.ok()) return status;
    return (*writer)->Commit();
  }

  // Writes a segment of it all into the folder, under its digest, which it returns.
  absl::StatusOr<std::string> WriteSegment(const std::filesystem::path& folder, size_t window = 3,
                                           FileSystem* file_system = PosixFileSystem()) const {
    std::filesystem::create_directories(folder);
    absl::StatusOr<std::unique_ptr<SegmentWriter>> writer =
        SegmentWriter::Create(*file_system, folder / "new.tmp", spec, Plan(window));
    if (!writer.ok()) return writer.status();
    if (absl::Status status = WriteTo(**writer, window); !status.ok()) return status;
    absl::StatusOr<std::string> digest = (*writer)->Finish();
    if (!digest.ok()) return digest;
    std::filesystem::rename((*writer)->path(), folder / (*digest + ".mtm"));
    return digest;
  }

  absl::StatusOr<std::shared_ptr<const Segment>> LoadSegment(const std::filesystem::path& folder,
                                                             size_t window = 3) const {
    const absl::StatusOr<std::string> digest = WriteSegment(folder, window);
    if (!digest.ok()) return digest.status();
    return Segment::Load(*PosixFileSystem(), folder / (*digest + ".mtm"), *digest);
  }

  // A part of it, as a memory of its own.
  TestMemory Part(size_t begin, size_t n) const {
    TestMemory part(*this);
    const auto cut = [&](auto& numbers, size_t width) {
      numbers = {numbers.begin() + static_cast<std::ptrdiff_t>(begin * width),
                 numbers.begin() + static_cast<std::ptrdiff_t>((begin + n) * width)};
    };
    cut(part.tokens, 1);
    for (auto& rows : part.keys) cut(rows, 4);
    for (auto& rows : part.values) cut(rows, 4);
    return part;
  }

  // Is this, bit for bit, what `memory` holds?
  testing::AssertionResult IsIn(const Memory& memory) const {
    if (memory.tokens() != tokens) return testing::AssertionFailure() << "tokens differ";
    if (memory.spec() != spec) return testing::AssertionFailure() << "specs differ";
    std::vector<float> stored_keys(tokens.size() * 4);
    std::vector<float> stored_values(tokens.size() * 4);
    for (size_t i = 0; i < keys.size(); ++i) {
      const int layer = spec.layers[i / 3];
      const int head = static_cast<int>(i % 3);
      memory.CopyRows(layer, head, 0, stored_keys, stored_values);
      if (stored_keys != keys[i] || stored_values != values[i]) {
        return testing::AssertionFailure() << "rows of layer " << layer << ", head " << head << " differ";
      }
    }
    return testing::AssertionSuccess();
  }

 private:
  // Numbers that F16 holds exactly, where that is the type.
  std::vector<float> RandomRows(std::mt19937& random, int64_t n_tokens) const {
    std::normal_distribution<float> normal;
    std::vector<float> rows(static_cast<size_t>(n_tokens) * 4);
    for (float& x : rows) {
      x = normal(random);
      if (spec.dtype == DataType::kF16) x = PortableHalfToFloat(PortableFloatToHalf(x));
    }
    return rows;
  }
};

// The memory that these segments are, one after the other.
inline std::shared_ptr<const Memory> MemoryOf(std::vector<std::shared_ptr<const Segment>> segments) {
  MemoryInfo info{.name = "test", .spec = segments.front()->spec()};
  for (const auto& segment : segments) info.n_tokens += segment->n_tokens();
  return std::make_shared<const Memory>(std::move(info), std::move(segments));
}

// Of tests that run for each data type.
inline std::string NameOfDataType(const testing::TestParamInfo<DataType>& info) {
  return info.param == DataType::kF16 ? "F16" : "F32";
}

// Mapped from `path`, where it replaces what is there.
inline std::shared_ptr<const SegmentIndex> BuiltIndex(const std::filesystem::path& path,
                                                      const Segment& segment,
                                                      const IndexOptions& options = {}) {
  std::filesystem::remove(path);
  const absl::Status status = SegmentIndex::Build(*PosixFileSystem(), path, segment, options);
  EXPECT_TRUE(status.ok()) << status;
  const auto index = SegmentIndex::Load(*PosixFileSystem(), path, segment);
  EXPECT_TRUE(index.ok()) << index.status();
  return *index;
}

}  // namespace mtm

#endif  // MTM_TESTS_MEMORY_STORE_TEST_MEMORY_H_
