// SPDX-License-Identifier: Apache-2.0
// MANIFEST: as it is, and with its checksum put right.
#include "memory_store/manifest.h"

#include <xxhash.h>

#include "absl/strings/str_cat.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mtm;
  const std::string text(Text(data, size));
  DecodeManifest(text).status().IgnoreError();

  const size_t begin = text.find(' '), end = text.find(' ', begin + 1), line = text.find('\n');
  if (line == text.npos || end > line) return 0;
  const std::string covered = text.substr(begin + 1, end - begin - 1) + "\n" + text.substr(line + 1);
  const uint64_t checksum = XXH3_64bits(covered.data(), covered.size());
  const auto manifest = DecodeManifest(absl::StrCat(
      text.substr(0, end), " ", absl::Hex(checksum, absl::kZeroPad16), "\n", text.substr(line + 1)));
  if (!manifest.ok()) return 0;
  const std::string encoded = EncodeManifest(*manifest);
  const auto again = DecodeManifest(encoded);
  Require(again.ok() && EncodeManifest(*again) == encoded);
  return 0;
}
