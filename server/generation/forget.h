// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_FORGET_H_
#define MTM_SERVER_GENERATION_FORGET_H_

#include "absl/status/statusor.h"
#include "memory_store/memory.h"
#include "server/generation/memory_request.h"
#include "server/generation/revision.h"
#include "server/model/config.h"
#include "server/text/tokenizer.h"

namespace mtm {

// FAILED_PRECONDITION: a text, and no tokenizer.
absl::Status CheckForgettable(const ForgottenContent& content, const Tokenizer* tokenizer);

// How `content` is taken out of a memory of this model. Each window that it touches is run again with what is
// left of it:
// - tokens: the other ids;
// - a label: nothing, the windows go;
// - a text, which may lie across the borders of windows: the rest of the window's text, tokenized anew;
//   where that is no UTF-8, or a token of the window stands for no text, the ids that do not overlap with it.
// The segments from the first to the last that is touched are written anew, as one.
// `tokenizer` is null for a model without one.
// NOT_FOUND: nothing is meant, or not all tokens are there. FAILED_PRECONDITION: as CheckForgettable; nothing
// would be left; or ids that the model does not have.
absl::StatusOr<Revision> PlanForget(const Memory& base, const ForgottenContent& content,
                                    const ModelConfig& config, const Tokenizer* tokenizer);

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_FORGET_H_
