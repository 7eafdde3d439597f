// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_SUMMARY_H_
#define MTM_CLIENT_COMMANDS_SUMMARY_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/render/style.h"
#include "mtm/v1/inference_service.pb.h"
#include "mtm/v1/memory.pb.h"

// What a request came to, in words.
namespace mtm::client {

// cats@1a2b3c4d5e6f in layers 7-9: Type 3, k 5, MF 5, BF 0.9, TS 0.01, R 0.33
// One for each use; with ", approximate search" where it is so.
std::vector<std::string> UseTexts(const v1::AppliedRequest& applied);

// Ranges of layers: 7-9
std::string LayersText(const google::protobuf::RepeatedField<int32_t>& layers);

std::string WeightsText(v1::WeightType weights);

// The names alone: cats, dogs
std::string UseNames(const v1::AppliedRequest& applied);

// 312 of 7,200 tokens-heads changed (4.3 %)
std::string ChangedText(const v1::Usage& usage);

std::string FinishText(v1::FinishReason reason);
absl::Duration TotalTime(const v1::Timings& timings);  // without the wait for its turn

// 50 tokens, 312 of 7,200 tokens-heads changed (4.3 %), 1.84 s (27.2 tokens/s), seed 1337
std::string GenerationSummary(const v1::AppliedRequest& applied, const v1::Usage& usage,
                              const v1::Timings& timings);

// A table of scored tokens; the best others where they were asked for.
std::string DetailTable(const std::vector<v1::TokenDetail>& details, int width, const Style& style);

// A token's text between quotes, control characters escaped.
std::string Quoted(const std::string& text);

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_SUMMARY_H_
