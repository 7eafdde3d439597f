// SPDX-License-Identifier: Apache-2.0
// The index of the sample segment (checked_file_input.h).
#include <algorithm>

#include "memory_store/segment_index.h"
#include "memory_store/segment_index_header.h"
#include "tests/fuzz/checked_file_input.h"
#include "tests/fuzz/sample.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mtm;
  static RamFileSystem files;
  static const std::shared_ptr<const Segment> segment = SampleSegment(files, "/segment");
  files.Put("/as_it_is", Text(data, size));
  SegmentIndex::Load(files, "/as_it_is", *segment).status().IgnoreError();

  std::string_view rest;
  const std::string head = RepairedHead(Text(data, size), rest);
  const auto decoded = DecodeIndexHead(Bytes(head));
  if (!decoded.ok() || decoded->data_size > kLargestFile ||
      !CheckIndexHead(*decoded, segment->digest(), segment->spec(), segment->n_tokens()).ok()) {
    return 0;
  }
  PutSealed(files, "/sealed", head, rest, decoded->sections, decoded->data_size);
  const auto index = SegmentIndex::Load(files, "/sealed", *segment);
  if (!index.ok()) return 0;
  for (int at = 0; at < segment->spec().n_head; ++at) {
    for (const int k : {1, 1000}) {
      for (const auto& rows : (*index)->Propose(3, at, std::vector<float>{1, 2, 3, 4, 1, 2, 3, 5}, k)) {
        Require(std::ranges::all_of(rows, [](uint32_t row) { return row < segment->n_tokens(); }));
        Require(rows.size() <= static_cast<size_t>(segment->n_tokens()));
      }
    }
  }
  (*index)->Verify(*segment).IgnoreError();
  return 0;
}
