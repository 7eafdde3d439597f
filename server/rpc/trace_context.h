// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_TRACE_CONTEXT_H_
#define MTM_SERVER_RPC_TRACE_CONTEXT_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace mtm {

// Where an rpc belongs in a distributed trace, by W3C Trace Context (https://www.w3.org/TR/trace-context/).
struct TraceContext {
  // Name of the metadata that carries it, both ways.
  static constexpr char kMetadata[] = "traceparent";

  std::string trace_id;  // 32 lower-case hexadecimal digits, not all 0
  std::string span_id;   // 16 of them: this rpc's own, drawn anew
  uint8_t flags = 0;     // 1: sampled

  // A part of the trace that `traceparent` names; where that is empty or malformed, of a new one.
  static TraceContext From(std::string_view traceparent);

  // As `00-<trace id>-<span id>-<flags>`.
  std::string ToTraceparent() const;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_TRACE_CONTEXT_H_
