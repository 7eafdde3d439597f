// SPDX-License-Identifier: Apache-2.0
// A small segment and its index, the same in every build: what inputs refer to.
#ifndef MTM_TESTS_FUZZ_SAMPLE_H_
#define MTM_TESTS_FUZZ_SAMPLE_H_

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "memory_store/segment.h"
#include "memory_store/segment_writer.h"
#include "tests/fuzz/ram_file_system.h"

namespace mtm {

// Written to `path`: two windows, 24 rows of one layer and two heads of dimension 4.
inline std::shared_ptr<const Segment> SampleSegment(FileSystem& files, const std::filesystem::path& path,
                                                    DataType dtype = DataType::kF32) {
  const MemorySpec spec{.model_fingerprint = std::string(64, 'a'),
                        .layers = {3},
                        .n_head = 2,
                        .head_dim = 4,
                        .leading = {198},
                        .dtype = dtype};
  const auto writer =
      SegmentWriter::Create(files, path.string() + ".tmp", spec,
                            {{.n_tokens = 16, .source = "one"}, {.n_tokens = 8, .source = "\"two\""}})
          .value();
  int number = 0;
  for (const int n : {16, 8}) {
    std::vector<int32_t> tokens(static_cast<size_t>(n));
    std::iota(tokens.begin(), tokens.end(), number);
    writer->BeginWindow(tokens).IgnoreError();
    for (int head = 0; head < spec.n_head; ++head) {
      std::vector<float> keys(static_cast<size_t>(n * spec.head_dim));
      for (float& key : keys) key = static_cast<float>(++number * 7919 % 101) / 8;
      writer->Write(3, head, keys, keys).IgnoreError();
    }
  }
  const std::string digest = writer->Finish().value();
  files.Rename(writer->path(), path).IgnoreError();
  return Segment::Load(files, path, digest).value();
}

// Each key is nearest to something; four lists.
inline void BuildSampleIndex(FileSystem& files, const std::filesystem::path& path, const Segment& segment) {
  Require(SegmentIndex::Build(files, path, segment, {.min_tokens = 1, .recall_target = 0.9, .seed = 1}).ok());
}

}  // namespace mtm

#endif  // MTM_TESTS_FUZZ_SAMPLE_H_
