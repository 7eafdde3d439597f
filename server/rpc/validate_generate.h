// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_VALIDATE_GENERATE_H_
#define MTM_SERVER_RPC_VALIDATE_GENERATE_H_

#include "absl/status/statusor.h"
#include "memory_store/memory_store.h"
#include "mtm/v1/inference_service.pb.h"
#include "server/generation/request.h"
#include "server/rpc/access.h"
#include "server/rpc/model_info.h"

namespace mtm {

// A GenerateRequest that was found good, with every default in place and the seed drawn.
struct CheckedGeneration {
  GenerationRequest request;
  int max_trace_entries = 0;     // of a sample, in an answer that is not streamed
  bool leading_newline = false;  // one stands before the prompt
};

// INVALID_ARGUMENT: every field at fault, as BadRequest. Then NOT_FOUND, DATA_LOSS and FAILED_PRECONDITION as
// FindMemories.
absl::StatusOr<CheckedGeneration> CheckGenerate(const v1::GenerateRequest& proto, const ModelInfo& model,
                                                MemoryStore& store, const Principal& principal = {});

// Generate gathers its whole reply. INVALID_ARGUMENT: more than is kept until it is sent.
absl::Status CheckReplySize(const GenerationRequest& request);

struct CheckedScore {
  ScoreRequest request;
  bool leading_newline = false;
};

// The same for a ScoreRequest.
absl::StatusOr<CheckedScore> CheckScore(const v1::ScoreRequest& proto, const ModelInfo& model,
                                        MemoryStore& store, const Principal& principal = {});

}  // namespace mtm

#endif  // MTM_SERVER_RPC_VALIDATE_GENERATE_H_
