// SPDX-License-Identifier: Apache-2.0
// A segment's file (checked_file_input.h).
#include "memory_store/segment.h"

#include "memory_store/segment_header.h"
#include "tests/fuzz/checked_file_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mtm;
  static RamFileSystem files;
  files.Put("/as_it_is", Text(data, size));
  Require(!ReadSegmentHead(files, "/as_it_is", std::string(64, 'a')).ok());  // of another digest at least

  std::string_view rest;
  const std::string head = RepairedHead(Text(data, size), rest);
  const auto layout = DecodeHead(Bytes(head));
  if (!layout.ok() || layout->data_size > kLargestFile) return 0;
  PutSealed(files, "/sealed", head, rest, layout->sections, layout->data_size);
  const auto segment = Segment::Load(files, "/sealed", VersionDigest(layout->spec, layout->windows));
  Require(segment.ok());
  Require((*segment)->tokens().size() == static_cast<size_t>((*segment)->n_tokens()));
  std::vector<float> row(static_cast<size_t>(layout->spec.head_dim));
  for (const int layer : layout->spec.layers) {
    for (int at = 0; at < layout->spec.n_head; ++at) {
      for (const StoredRows& rows : {(*segment)->keys(layer, at), (*segment)->values(layer, at)}) {
        Require(rows.n == (*segment)->n_tokens());
        rows.Copy(rows.n - 1, row);
      }
    }
  }
  (*segment)->VerifyWindows().IgnoreError();
  Require(DecodeHead(Bytes(EncodeHead(*layout))).ok());
  return 0;
}
