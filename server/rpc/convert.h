// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_CONVERT_H_
#define MTM_SERVER_RPC_CONVERT_H_

#include <google/protobuf/repeated_ptr_field.h>

#include <cstdint>

#include "memory_store/memory_store.h"
#include "mtm/v1/inference_service.pb.h"
#include "mtm/v1/memory.pb.h"
#include "server/generation/request.h"
#include "server/rpc/validate_generate.h"
#include "server/text/tokenizer.h"

namespace mtm {

// Our structs as messages. `tokenizer` is null for a model without one; then no text is given.

v1::Memory ToProto(const MemoryRecord& record, bool with_versions);
v1::WeightType ToProto(WeightType weights);
v1::Usage ToProto(const Usage& usage);
v1::Timings ToProto(const Timings& timings);
v1::FinishReason ToProto(FinishReason reason);
v1::TokenDetail ToProto(const TokenDetail& detail, const Tokenizer* tokenizer);

// What was applied, with every default in place.
v1::AppliedRequest ToApplied(const CheckedGeneration& checked);
v1::AppliedRequest ToApplied(const CheckedScore& checked);

using TraceEntryProtos = google::protobuf::RepeatedPtrField<v1::TraceEntry>;

// Appends a step's lookups to `protos`, up to a size of `max_entries`; returns how many were left out.
int64_t AppendTrace(const Lookups& lookups, const std::vector<MemoryUse>& uses, const Tokenizer* tokenizer,
                    int64_t max_entries, TraceEntryProtos& protos);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_CONVERT_H_
