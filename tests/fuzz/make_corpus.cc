// SPDX-License-Identifier: Apache-2.0
// Writes the inputs that follow from the format, after a change of it. The others are kept as they are.
//   make_fuzz_corpus tests/fuzz/corpus
#include <fstream>
#include <iostream>

#include "memory_store/manifest.h"
#include "memory_store/segment_header.h"
#include "memory_store/segment_index_header.h"
#include "tests/fuzz/checked_file_input.h"
#include "tests/fuzz/sample.h"

namespace mtm {
namespace {

// The input and a cut one.
void Write(const std::filesystem::path& folder, const std::string& name, const std::string& input) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / name, std::ios::binary) << input;
  std::ofstream(folder / (name + "_cut"), std::ios::binary) << input.substr(0, input.size() * 2 / 3);
  std::cout << (folder / name).string() << ": " << input.size() << " bytes\n";
}

void WriteSegments(const std::filesystem::path& corpus) {
  RamFileSystem files;
  for (const DataType dtype : {DataType::kF32, DataType::kF16}) {
    const std::string name = dtype == DataType::kF32 ? "f32" : "f16";
    const auto segment = SampleSegment(files, "/" + name, dtype);
    const auto head = ReadSegmentHead(files, "/" + name, segment->digest()).value();
    Write(corpus / "segment", name,
          Compact(files.Get("/" + name), EncodeHead(head.layout).size(), head.layout.sections));
    if (dtype != DataType::kF32) continue;
    BuildSampleIndex(files, "/index", *segment);
    const auto bytes = ReadHead(**files.OpenFile("/index"), kIndexMagic).value();
    Write(corpus / "index", "sample",
          Compact(files.Get("/index"), bytes.size(), DecodeIndexHead(bytes)->sections));
  }
}

void WriteManifest(const std::filesystem::path& corpus) {
  const std::string a(64, 'a'), b(64, 'b'), c(64, 'c');
  const auto time = absl::FromUnixMicros(1'770'000'000'000'001);
  Manifest manifest{.generation = 7};
  Write(corpus / "manifest", "empty", EncodeManifest(manifest));
  const StoredVersion first{.digest = a,
                            .source_digest = c,
                            .n_tokens = 90,
                            .size_bytes = 6676048,
                            .create_time = time,
                            .segments = {a}};
  const StoredVersion second{.digest = b,
                             .source_digest = a,
                             .n_tokens = 91,
                             .size_bytes = 6676049,
                             .create_time = time,
                             .segments = {a, c}};
  manifest.memories["team/cats"] = std::make_shared<const StoredMemory>(
      StoredMemory{.labels = {{"kind", "pet"}}, .metadata = "{\"note\":1}", .versions = {first, second}});
  manifest.memories["dogs"] = std::make_shared<const StoredMemory>(StoredMemory{.versions = {first}});
  manifest.writes = {{.id = "2f1c", .name = "team/cats", .digest = b},
                     {.id = "2f1d", .name = "birds", .digest = ""}};
  Write(corpus / "manifest", "two", EncodeManifest(manifest));
}

}  // namespace
}  // namespace mtm

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make_fuzz_corpus FOLDER\n";
    return 2;
  }
  mtm::WriteSegments(argv[1]);
  mtm::WriteManifest(argv[1]);
}
