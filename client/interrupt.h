// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_INTERRUPT_H_
#define MTM_CLIENT_INTERRUPT_H_

#include <stop_token>

namespace mtm::client {

// Makes SIGINT request a stop; a second one kills the process. To be called once, before other threads start.
std::stop_token StopOnInterrupt();

}  // namespace mtm::client

#endif  // MTM_CLIENT_INTERRUPT_H_
