// SPDX-License-Identifier: Apache-2.0
// A tokenizer's files: vocab.json, a zero byte and merges.txt; or without the zero byte tokenizer.json.
#include "server/text/tokenizer.h"

#include <cstdlib>
#include <fstream>

#include "tests/fuzz/fuzz.h"

namespace {

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mtm_fuzz.XXXXXX").string();
    mtm::Require(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  void Write(const char* name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary | std::ios::trunc)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder pair, single;
  const std::string_view text = mtm::Text(data, size);
  const size_t zero = text.find('\0');
  if (zero == text.npos) {
    single.Write("tokenizer.json", text);
  } else {
    pair.Write("vocab.json", text.substr(0, zero));
    pair.Write("merges.txt", text.substr(zero + 1));
  }
  const auto tokenizer = mtm::Tokenizer::Load(zero == text.npos ? single.path() : pair.path());
  if (!tokenizer.ok()) return 0;
  const std::string sample = "\nThe cat's 12 l\xc3\xb6wen \xf0\x9f\x98\x80<|endoftext|>";
  const auto ids = (*tokenizer)->Encode(sample);
  if (ids.ok()) mtm::Require((*tokenizer)->Decode(*ids) == sample);
  return 0;
}
