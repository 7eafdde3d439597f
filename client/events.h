// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_EVENTS_H_
#define MTM_CLIENT_EVENTS_H_

#include <optional>
#include <utility>

#include "client/client.h"

namespace mtm::client {

inline void Report(const v1::WriteMemoryResponse::Progress& progress, const ProgressCallback& callback) {
  callback(progress.tokens_done(), progress.tokens_total());
}
inline void Report(const v1::CheckMemoryResponse::Progress& progress, const ProgressCallback& callback) {
  callback(progress.bytes_done(), progress.bytes_total());
}

// Reads a stream of progress and a last event, which it returns; nothing where the stream ended without one.
template <typename Response, typename Stream>
std::optional<Response> ReadEvents(Stream& stream, const ProgressCallback& progress) {
  std::optional<Response> last;
  for (Response response; stream.Read(&response);) {
    if (!response.has_progress()) {
      last = std::move(response);
    } else if (progress) {
      Report(response.progress(), progress);
    }
  }
  return last;
}

}  // namespace mtm::client

#endif  // MTM_CLIENT_EVENTS_H_
