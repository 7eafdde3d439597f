// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_SAMPLE_H_
#define MTM_SERVER_GENERATION_SAMPLE_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "server/generation/request.h"
#include "server/generation/stop_filter.h"
#include "server/model/sequence.h"
#include "server/text/tokenizer.h"

namespace mtm {

// One sample of a generation: its sequence, its text so far, and whether it is finished.
class Sample {
 public:
  // `sequence` has run the prompt. The request and the tokenizer (null for none) outlive the sample.
  Sample(const GenerationRequest& request, const Tokenizer* tokenizer, const ModelConfig& config, int index,
         std::unique_ptr<Sequence> sequence);

  // Draws the next token from the sequence's logits. Returns it unless it ends the text; then, or after it, finish()
  // may be set. While it is not, the sequence has the token pending.
  std::optional<GeneratedToken> Next();

  const std::optional<FinishReason>& finish() const { return finish_; }
  // Ends it here.
  void Finish(FinishReason reason) { finish_ = reason; }
  // Text held back until the end. Once, after finish() is set.
  std::string TakeRest();
  // Of the step that Next drew from.
  Lookups TakeLookups() { return std::move(lookups_); }

  Sequence& sequence() { return *sequence_; }
  int index() const { return index_; }

 private:
  std::string AddText(int32_t id);
  std::optional<FinishReason> ReasonAfter() const;

  const GenerationRequest& request_;
  const ModelConfig& config_;
  const int index_;
  std::unique_ptr<Sequence> sequence_;
  std::optional<StreamDecoder> decoder_;
  StopFilter stop_filter_;
  int n_generated_ = 0;
  Lookups lookups_;
  std::optional<FinishReason> finish_;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_SAMPLE_H_
