// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_EVENTS_H_
#define MTM_CLIENT_EVENTS_H_

#include <optional>
#include <utility>

#include "client/call.h"
#include "client/client.h"

namespace mtm::client {

inline void Report(const v1::WriteMemoryResponse::Progress& progress, const ProgressCallback& callback) {
  callback(progress.tokens_done(), progress.tokens_total());
}
inline void Report(const v1::CheckMemoryResponse::Progress& progress, const ProgressCallback& callback) {
  callback(progress.bytes_done(), progress.bytes_total());
}

// The status of a stream, which had to end with such an event where it is OK.
template <typename Response>
absl::Status Ended(const absl::Status& status, const std::optional<Response>& last) {
  if (status.ok() && !last) return absl::InternalError("the server ended without a memory");
  return status;
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

// A call whose answer is such a stream, tried again as CallWithRetries does. `open` begins it. INTERNAL: it
// ended without a last event.
template <typename Response, typename Open>
absl::StatusOr<Response> Follow(const ClientOptions& options, const CallOptions& call_options,
                                const ProgressCallback& progress, const Open& open) {
  std::optional<Response> last;
  const absl::Status status = CallWithRetries(options, call_options, [&](Call& call) {
    const auto stream = open(&call.context());
    last = ReadEvents<Response>(*stream, progress);
    return Ended(call.Finish(stream->Finish()), last);
  });
  if (!status.ok()) return status;
  return *std::move(last);
}

}  // namespace mtm::client

#endif  // MTM_CLIENT_EVENTS_H_
