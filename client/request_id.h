// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_REQUEST_ID_H_
#define MTM_CLIENT_REQUEST_ID_H_

#include <string>

namespace mtm::client {

// A random UUID (RFC 9562, version 4), by which a write can be told from every other one.
std::string NewRequestId();

// Draws one for a message that has none.
template <typename Message>
void EnsureRequestId(Message& message) {
  if (message.request_id().empty()) message.set_request_id(NewRequestId());
}

}  // namespace mtm::client

#endif  // MTM_CLIENT_REQUEST_ID_H_
