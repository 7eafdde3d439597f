// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_RENDER_FORMAT_H_
#define MTM_CLIENT_RENDER_FORMAT_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/time/time.h"

// Numbers as people read them.
namespace mtm::client {

std::string FormatCount(int64_t count);      // 7,200
std::string FormatBytes(int64_t bytes);      // 1.2 MiB
std::string FormatPercent(double fraction);  // 4.3 %

// 0.84 s, 12.3 s, 4 min 05 s, 2 h 07 min; a negative one as 0.
std::string FormatElapsed(absl::Duration duration);

// A word with its count: 1 token, 7,200 tokens.
std::string FormatCounted(int64_t count, const std::string& noun);

// Runs as ranges: 1-3,7. What ParseLayers reads.
std::string FormatLayers(std::span<const int32_t> layers);

// The first digits of a digest, enough to address a memory with.
std::string ShortDigest(const std::string& digest);

}  // namespace mtm::client

#endif  // MTM_CLIENT_RENDER_FORMAT_H_
