// SPDX-License-Identifier: Apache-2.0
// Writes the files that torch.save writes, and files that it never would.
#ifndef MTM_TESTS_MEMORY_STORE_SAVED_TENSOR_BUILDER_H_
#define MTM_TESTS_MEMORY_STORE_SAVED_TENSOR_BUILDER_H_

#include <zip.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace mtm {

struct SavedTensorBuilder {
  std::vector<float> storage;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;
  int64_t offset = 0;
  std::string storage_type = "FloatStorage";
  std::string rebuild = "torch._utils\n_rebuild_tensor_v2";
  std::string byte_order = "little";
  std::optional<int64_t> claimed_storage_size;
  std::optional<std::string> pickle;  // instead of the one that follows from the above
  bool compressed = false;

  static SavedTensorBuilder Rows(int64_t n_rows, int64_t n_columns, std::vector<float> rows) {
    return {.storage = std::move(rows), .sizes = {n_rows, n_columns}, .strides = {n_columns, 1}};
  }

  // As BININT where it fits and LONG1 otherwise.
  static std::string Int(int64_t number) {
    if (number == static_cast<int32_t>(number)) {
      return absl::StrCat("J", Little(static_cast<uint64_t>(number), 4));
    }
    return absl::StrCat("\x8a\x08", Little(static_cast<uint64_t>(number), 8));
  }

  static std::string String(const std::string& text) {
    return absl::StrCat("X", Little(text.size(), 4), text);
  }

  static std::string Ints(const std::vector<int64_t>& numbers) {
    std::string tuple = "(";
    for (const int64_t number : numbers) tuple += Int(number);
    return tuple + "t";
  }

  std::string Pickle() const {
    if (pickle) return *pickle;
    const int64_t size = claimed_storage_size.value_or(static_cast<int64_t>(storage.size()));
    return absl::StrCat("\x80\x02", "c", rebuild, "\nq", Little(0, 1), "((", String("storage"), "ctorch\n",
                        storage_type, "\n", String("0"), String("cpu"), Int(size), "tQ", Int(offset),
                        Ints(sizes), Ints(strides), "\x89", "ccollections\nOrderedDict\n)Rt", "R.");
  }

  void Write(const std::filesystem::path& path) const {
    std::filesystem::create_directories(path.parent_path());
    const std::string data(reinterpret_cast<const char*>(storage.data()), storage.size() * sizeof(float));
    const std::map<std::string, std::string> entries = {{"archive/data.pkl", Pickle()},
                                                        {"archive/byteorder", byte_order},
                                                        {"archive/data/0", data},
                                                        {"archive/version", "3\n"}};
    int error = 0;
    zip_t* const archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &error);
    ASSERT_NE(archive, nullptr) << "zip error " << error;
    for (const auto& [name, content] : entries) {
      zip_source_t* const source = zip_source_buffer(archive, content.data(), content.size(), 0);
      const zip_int64_t index = zip_file_add(archive, name.c_str(), source, ZIP_FL_OVERWRITE);
      ASSERT_GE(index, 0);
      zip_set_file_compression(archive, static_cast<zip_uint64_t>(index),
                               compressed ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
    }
    ASSERT_EQ(zip_close(archive), 0) << zip_strerror(archive);
  }

 private:
  static std::string Little(uint64_t number, int n_bytes) {
    std::string bytes;
    for (int i = 0; i < n_bytes; ++i) bytes += static_cast<char>(number >> (8 * i));
    return bytes;
  }
};

}  // namespace mtm

#endif  // MTM_TESTS_MEMORY_STORE_SAVED_TENSOR_BUILDER_H_
