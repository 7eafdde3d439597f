// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/generate.h"

#include <utility>
#include <vector>

#include "server/rpc/convert.h"
#include "server/rpc/engine_rpc.h"
#include "server/rpc/unary.h"
#include "server/rpc/validate_generate.h"

namespace mtm {
namespace {

// Gathers all samples and answers with them.
class GenerateSink final : public GenerationSink {
 public:
  GenerateSink(UnaryRpc* rpc, const CheckedGeneration& checked, const Tokenizer* tokenizer)
      : rpc_(rpc),
        cancelled_(rpc->cancelled()),
        uses_(checked.request.context.uses),
        max_trace_entries_(checked.max_trace_entries),
        tokenizer_(tokenizer) {
    *response_.mutable_applied() = ToApplied(checked);
    for (int i = 0; i < checked.request.samples; ++i) response_.add_samples();
  }

  bool HasRoom() override { return true; }
  bool IsCancelled() override { return cancelled_->load(); }

  void OnToken(GeneratedToken token) override {
    v1::Sample& sample = *response_.mutable_samples(token.sample);
    sample.add_token_ids(token.id);
    sample.mutable_text()->append(token.text);
    if (token.detail) *sample.add_details() = ToProto(*token.detail, tokenizer_);
    AddTrace(token.lookups, sample);
  }

  void OnSampleFinished(int index, FinishReason reason, std::string text, Lookups lookups) override {
    v1::Sample& sample = *response_.mutable_samples(index);
    sample.mutable_text()->append(text);
    sample.set_finish_reason(ToProto(reason));
    AddTrace(lookups, sample);
  }

  void OnDone(const absl::Status& status, const RequestStats& stats) override {
    rpc_->call().set_stats(stats);
    if (!status.ok()) {
      rpc_->Fail(status);
      return;
    }
    *response_.mutable_usage() = ToProto(stats.usage);
    *response_.mutable_timings() = ToProto(stats.timings);
    rpc_->Reply(response_);
  }

 private:
  void AddTrace(const Lookups& lookups, v1::Sample& sample) {
    const int64_t left_out =
        AppendTrace(lookups, uses_, tokenizer_, max_trace_entries_, *sample.mutable_trace());
    sample.set_trace_entries_left_out(sample.trace_entries_left_out() + left_out);
  }

  UnaryRpc* const rpc_;  // gone after OnDone
  const std::shared_ptr<const std::atomic<bool>> cancelled_;
  const std::vector<MemoryUse> uses_;
  const int64_t max_trace_entries_;
  const Tokenizer* const tokenizer_;
  v1::GenerateResponse response_;
};

void Start(UnaryRpc* rpc, const v1::GenerateRequest& request, Backend& backend) {
  auto checked = CheckGenerate(request, backend.info, backend.store, rpc->call().principal());
  const absl::Status status = checked.ok() ? CheckReplySize(checked->request) : checked.status();
  if (!status.ok()) {
    rpc->Fail(status);
    return;
  }
  auto sink = std::make_shared<GenerateSink>(rpc, *checked, backend.info.tokenizer);
  WithMemoriesOnDevice<GenerationRequest>(
      backend, std::move(checked->request), [rpc] { return rpc->cancelled()->load(); },
      [rpc, &backend, sink](const absl::Status& there, GenerationRequest checked_request) {
        if (!there.ok()) return rpc->Fail(there);
        backend.engine.Generate(std::move(checked_request), sink, rpc->call().requester());
      });
}

}  // namespace

grpc::ServerUnaryReactor* Generate(Backend& backend, grpc::CallbackServerContext& context,
                                   const grpc::ByteBuffer& request, grpc::ByteBuffer* response) {
  return AnswerByEngine<v1::GenerateRequest>("Generate", backend, context, request, response, Start);
}

}  // namespace mtm
