// SPDX-License-Identifier: Apache-2.0
// The clients of a soak. Each runs until the soak is stopped, on a thread of its own, and draws what it does
// from `seed`.
#ifndef MTM_TESTS_STRESS_SOAK_CLIENTS_H_
#define MTM_TESTS_STRESS_SOAK_CLIENTS_H_

#include <cstdint>

#include "tests/stress/soak.h"

namespace mtm {

// Honest ones: each request ends OK within a minute, or is refused with RetryInfo and made again.
void Generate(Soak& soak, uint64_t seed);        // whole
void StreamGenerate(Soak& soak, uint64_t seed);  // a token at a time
void Score(Soak& soak, uint64_t seed);
// The same request over and over, which has the same answer whatever else goes on.
void AskTheSame(Soak& soak, uint64_t seed);

// Those that the server has to bear.
void Leave(Soak& soak, uint64_t seed);           // in the middle of streams
void StopReading(Soak& soak, uint64_t seed);     // for seconds, of streams with more than gRPC buffers
void RunOutOfTime(Soak& soak, uint64_t seed);    // deadlines of milliseconds
void AbandonWrites(Soak& soak, uint64_t seed);   // in the middle of an upload: nothing is left of it
void SendNoMessages(Soak& soak, uint64_t seed);  // bytes that are no protobuf, to every rpc
void SendNoHttp(Soak& soak, uint64_t seed);      // bytes that are no HTTP/2, and connections that say nothing

}  // namespace mtm

#endif  // MTM_TESTS_STRESS_SOAK_CLIENTS_H_
