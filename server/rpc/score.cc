// SPDX-License-Identifier: Apache-2.0
#include <utility>
#include <vector>

#include "server/rpc/convert.h"
#include "server/rpc/engine_rpc.h"
#include "server/rpc/generate.h"
#include "server/rpc/unary.h"
#include "server/rpc/validate_generate.h"

namespace mtm {
namespace {

class ScoreReply final : public ScoreSink {
 public:
  ScoreReply(UnaryRpc* rpc, const CheckedScore& checked, const Tokenizer* tokenizer)
      : rpc_(rpc), cancelled_(rpc->cancelled()), tokenizer_(tokenizer) {
    *response_.mutable_applied() = ToApplied(checked);
  }

  bool IsCancelled() override { return cancelled_->load(); }

  void OnDone(const absl::Status& status, std::vector<TokenDetail> tokens,
              const RequestStats& stats) override {
    rpc_->call().set_stats(stats);
    if (!status.ok()) {
      rpc_->Fail(status);
      return;
    }
    double total = 0;
    for (const TokenDetail& token : tokens) {
      total += token.chosen.logprob;
      *response_.add_tokens() = ToProto(token, tokenizer_);
    }
    response_.set_total_logprob(total);
    *response_.mutable_usage() = ToProto(stats.usage);
    *response_.mutable_timings() = ToProto(stats.timings);
    rpc_->Reply(response_);
  }

 private:
  UnaryRpc* const rpc_;  // gone after OnDone
  const std::shared_ptr<const std::atomic<bool>> cancelled_;
  const Tokenizer* const tokenizer_;
  v1::ScoreResponse response_;
};

void Start(UnaryRpc* rpc, const v1::ScoreRequest& request, Backend& backend) {
  auto checked = CheckScore(request, backend.info, backend.store, rpc->call().principal());
  if (!checked.ok()) {
    rpc->Fail(checked.status());
    return;
  }
  auto sink = std::make_shared<ScoreReply>(rpc, *checked, backend.info.tokenizer);
  WithMemoriesOnDevice<ScoreRequest>(
      backend, std::move(checked->request), [rpc] { return rpc->cancelled()->load(); },
      [rpc, &backend, sink](const absl::Status& there, ScoreRequest checked_request) {
        if (!there.ok()) return rpc->Fail(there);
        backend.engine.Score(std::move(checked_request), sink, rpc->call().requester());
      });
}

}  // namespace

grpc::ServerUnaryReactor* Score(Backend& backend, grpc::CallbackServerContext& context,
                                const grpc::ByteBuffer& request, grpc::ByteBuffer* response) {
  return AnswerByEngine<v1::ScoreRequest>("Score", backend, context, request, response, Start);
}

}  // namespace mtm
