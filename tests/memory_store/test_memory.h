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
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "gtest/gtest.h"
#include "memory_store/memory_store.h"

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

  explicit TestMemory(uint32_t seed, int64_t n_tokens = 7) {
    spec = {.model_fingerprint = std::string(64, 'a'),
            .layers = {2, 5},
            .n_head = 3,
            .head_dim = 4,
            .n_dropped = 1,
            .n_tokens = n_tokens};
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n_tokens; ++i) tokens.push_back(static_cast<int32_t>(random() % 50257));
    for (size_t i = 0; i < 6; ++i) {
      keys.emplace_back(static_cast<size_t>(n_tokens) * 4);
      values.emplace_back(static_cast<size_t>(n_tokens) * 4);
      for (float& x : keys.back()) x = normal(random);
      for (float& x : values.back()) x = normal(random);
    }
  }

  // In windows of `window` rows, the last one shorter.
  absl::Status WriteTo(MemoryWriter& writer, size_t window) const {
    for (size_t begin = 0; begin < tokens.size(); begin += window) {
      const size_t n = std::min(window, tokens.size() - begin);
      if (absl::Status status = writer.BeginWindow(std::span(tokens).subspan(begin, n)); !status.ok()) {
        return status;
      }
      for (size_t i = 0; i < keys.size(); ++i) {
        const absl::Status status = writer.Write(spec.layers[i / 3], static_cast<int>(i % 3),
                                                 std::span(keys[i]).subspan(begin * 4, n * 4),
                                                 std::span(values[i]).subspan(begin * 4, n * 4));
        if (!status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::shared_ptr<const Memory>> CreateIn(MemoryStore& store, std::string_view name,
                                                         size_t window = 3) const {
    absl::StatusOr<std::unique_ptr<MemoryWriter>> writer = store.Create(name, spec);
    if (!writer.ok()) return writer.status();
    if (absl::Status status = WriteTo(**writer, window); !status.ok()) return status;
    return (*writer)->Commit();
  }

  // Is this, bit for bit, what `memory` holds?
  testing::AssertionResult IsIn(const Memory& memory) const {
    if (!std::ranges::equal(memory.tokens(), tokens)) return testing::AssertionFailure() << "tokens differ";
    if (memory.spec().layers != spec.layers || memory.spec().n_tokens != spec.n_tokens ||
        memory.spec().model_fingerprint != spec.model_fingerprint ||
        memory.spec().n_dropped != spec.n_dropped) {
      return testing::AssertionFailure() << "specs differ";
    }
    for (size_t i = 0; i < keys.size(); ++i) {
      const int layer = spec.layers[i / 3];
      const int head = static_cast<int>(i % 3);
      if (!std::ranges::equal(memory.keys(layer, head), keys[i]) ||
          !std::ranges::equal(memory.values(layer, head), values[i])) {
        return testing::AssertionFailure() << "rows of layer " << layer << ", head " << head << " differ";
      }
    }
    return testing::AssertionSuccess();
  }
};

}  // namespace mtm

#endif  // MTM_TESTS_MEMORY_STORE_TEST_MEMORY_H_
