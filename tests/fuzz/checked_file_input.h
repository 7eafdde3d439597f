// SPDX-License-Identifier: Apache-2.0
// Segments and indexes as inputs: preamble and header, then the sections' bytes one after the other, without
// the zeros between them and without the table. Their checksums are put right, since no mutation would get
// past them.
#ifndef MTM_TESTS_FUZZ_CHECKED_FILE_INPUT_H_
#define MTM_TESTS_FUZZ_CHECKED_FILE_INPUT_H_

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "memory_store/checked_file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/ram_file_system.h"

namespace mtm {

inline constexpr uint64_t kLargestFile = 256 << 10;

// Preamble and header, of the size that the preamble says where the input has it; `rest`: what follows.
inline std::string RepairedHead(std::string_view input, std::string_view& rest) {
  if (input.size() < kPreambleSize) return std::string(input);
  std::string head(input);
  uint32_t header_size = 0;
  std::memcpy(&header_size, &head[12], sizeof header_size);
  header_size = static_cast<uint32_t>(std::min<uint64_t>(header_size, input.size() - kPreambleSize));
  std::memcpy(&head[12], &header_size, sizeof header_size);
  head.resize(kPreambleSize + header_size);
  rest = input.substr(head.size());
  const std::string covered = head.substr(0, 24) + head.substr(kPreambleSize);
  const uint64_t checksum = XXH3_64bits(covered.data(), covered.size());
  std::memcpy(&head[24], &checksum, sizeof checksum);
  return head;
}

// The whole file, with a right table. Precondition: data_size <= kLargestFile, and the sections lie within
// it.
inline void PutSealed(RamFileSystem& files, const std::filesystem::path& path, std::string_view head,
                      std::string_view rest, const std::vector<FileSection>& sections, uint64_t data_size) {
  std::string content(head);
  content.resize(data_size + TableSize(data_size));
  for (const FileSection& section : sections) {
    const size_t n = std::min<size_t>(section.size, rest.size());
    rest.copy(&content[section.offset], n);
    rest.remove_prefix(n);
  }
  files.Put(path, content);
  Require(SealFile(**files.OpenToWrite(path), data_size).ok());
}

// A file as an input.
inline std::string Compact(std::string_view file, uint64_t head_size,
                           const std::vector<FileSection>& sections) {
  std::string input(file.substr(0, head_size));
  for (const FileSection& section : sections) input += file.substr(section.offset, section.size);
  return input;
}

}  // namespace mtm

#endif  // MTM_TESTS_FUZZ_CHECKED_FILE_INPUT_H_
