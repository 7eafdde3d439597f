// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "tests/support/fake_service.h"

namespace mtm {
namespace {

template <typename Uses>
grpc::Status CheckUses(const Uses& uses) {
  std::vector<std::pair<std::string, std::string>> violations;
  for (int i = 0; i < uses.size(); ++i) {
    if (uses[i].has_k() && uses[i].k() < 1) {
      violations.emplace_back(absl::StrCat("memory_uses[", i, "].k"), "must be at least 1");
    }
  }
  return violations.empty() ? grpc::Status::OK : BadRequestStatus(violations);
}

v1::MemoryUse Applied(const v1::MemoryUse& use, const std::string& digest) {
  v1::MemoryUse applied = use;
  if (use.memory().find('@') == std::string::npos)
    applied.set_memory(absl::StrCat(use.memory(), "@", digest));
  if (use.layers_size() == 0) applied.add_layers(3);
  if (use.method() == v1::METHOD_UNSPECIFIED) applied.set_method(v1::METHOD_TYPE_3);
  if (!use.has_k()) applied.set_k(5);
  if (!use.has_memory_fraction()) applied.set_memory_fraction(5);
  if (!use.has_bookkeeping_fraction()) applied.set_bookkeeping_fraction(0.9);
  if (!use.has_score_scale()) applied.set_score_scale(0.01);
  if (!use.has_residual_fraction()) applied.set_residual_fraction(0.33);
  if (!use.has_head_fraction()) applied.set_head_fraction(1);
  return applied;
}

std::string Word(const v1::GenerateRequest& request) {
  return request.memory_uses().empty() ? " bark" : " purr";
}

v1::TokenDetail Detail(const std::string& token, int top) {
  v1::TokenDetail detail;
  detail.mutable_chosen()->set_token_id(7);
  detail.mutable_chosen()->set_token(token);
  detail.mutable_chosen()->set_logprob(-0.5);
  for (int i = 0; i < top; ++i) *detail.add_top() = detail.chosen();
  return detail;
}

v1::TraceEntry Entry(int step) {
  v1::TraceEntry entry;
  entry.set_step(step);
  entry.set_layer(3);
  entry.set_head(1);
  entry.set_token_id(10);
  entry.set_text("\n");
  entry.set_attention(0.95f);
  entry.set_own_weight(0.25f);
  auto* neighbour = entry.add_neighbours();
  neighbour->set_memory_position(17);
  neighbour->set_text(" cat");
  neighbour->set_distance(147.25f);
  neighbour->set_weight(0.75f);
  return entry;
}

v1::Usage Used(const v1::GenerateRequest& request, const v1::GenerationParameters& parameters) {
  v1::Usage usage;
  usage.set_prompt_tokens(static_cast<int64_t>(request.prompt().size()) + 1);
  usage.set_generated_tokens(int64_t{parameters.max_tokens()} * parameters.sample_count());
  if (!request.memory_uses().empty()) {
    usage.set_tokens_heads_changed(312);
    usage.set_tokens_heads_total(7200);
  }
  return usage;
}

v1::Timings Took() {
  v1::Timings timings;
  timings.mutable_prompt()->set_nanos(500'000'000);
  timings.mutable_generation()->set_seconds(2);
  return timings;
}

}  // namespace

class FakeInference final : public v1::InferenceService::Service {
 public:
  explicit FakeInference(FakeState& state) : state_(state) {}

  grpc::Status Generate(grpc::ServerContext*, const v1::GenerateRequest* request,
                        v1::GenerateResponse* response) override {
    if (auto status = Start(*request, response->mutable_applied()); !status.ok()) return status;
    const v1::GenerationParameters& parameters = response->applied().parameters();
    for (int s = 0; s < parameters.sample_count(); ++s) {
      v1::Sample& sample = *response->add_samples();
      sample.set_finish_reason(v1::FINISH_REASON_MAX_TOKENS);
      for (int i = 0; i < parameters.max_tokens(); ++i) {
        sample.set_text(sample.text() + Word(*request));
        sample.add_token_ids(7);
        if (parameters.has_top_logprobs())
          *sample.add_details() = Detail(Word(*request), parameters.top_logprobs());
        if (parameters.has_trace()) *sample.add_trace() = Entry(i);
      }
      if (parameters.has_trace()) sample.set_trace_entries_left_out(2);
    }
    *response->mutable_usage() = Used(*request, parameters);
    *response->mutable_timings() = Took();
    return grpc::Status::OK;
  }

  grpc::Status StreamGenerate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                              grpc::ServerWriter<v1::StreamGenerateResponse>* writer) override {
    v1::StreamGenerateResponse event;
    if (auto status = Start(*request, event.mutable_started()); !status.ok()) return status;
    const v1::GenerationParameters parameters = event.started().parameters();
    writer->Write(event);
    for (int i = 0; i < parameters.max_tokens(); ++i) {
      for (int s = 0; s < parameters.sample_count(); ++s) {
        auto& token = *event.mutable_token();
        token.set_sample(s);
        token.set_token_id(7);
        token.set_text(Word(*request));
        if (parameters.has_top_logprobs())
          *token.mutable_detail() = Detail(token.text(), parameters.top_logprobs());
        writer->Write(event);
        if (auto status = state_.AfterFirstToken(context); !status.ok()) return status;
      }
    }
    for (int s = 0; s < parameters.sample_count(); ++s) {
      event.mutable_sample_finished()->set_sample(s);
      event.mutable_sample_finished()->set_finish_reason(v1::FINISH_REASON_MAX_TOKENS);
      writer->Write(event);
    }
    *event.mutable_finished()->mutable_usage() = Used(*request, parameters);
    *event.mutable_finished()->mutable_timings() = Took();
    writer->Write(event);
    return grpc::Status::OK;
  }

  grpc::Status Score(grpc::ServerContext*, const v1::ScoreRequest* request,
                     v1::ScoreResponse* response) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    if (auto status = Resolve(request->memory_uses(), *response->mutable_applied()); !status.ok())
      return status;
    for (const char c : request->continuation())
      *response->add_tokens() = Detail({c}, request->top_logprobs());
    response->set_total_logprob(-0.5 * response->tokens_size());
    return grpc::Status::OK;
  }

  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    if (auto status = state_.Begin(); !status.ok()) return status;
    for (const char c : request->text()) response->add_token_ids(static_cast<unsigned char>(c));
    return grpc::Status::OK;
  }

  grpc::Status Detokenize(grpc::ServerContext*, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    if (auto status = state_.Begin(); !status.ok()) return status;
    for (const int id : request->token_ids()) response->mutable_text()->push_back(static_cast<char>(id));
    return grpc::Status::OK;
  }

  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest*, v1::Model* model) override {
    if (auto status = state_.Begin(); !status.ok()) return status;
    model->set_name("fake");
    model->set_layer_count(4);
    model->set_context_length(64);
    model->set_parameter_count(1234567);
    model->add_default_layers(3);
    model->set_has_tokenizer(true);
    return grpc::Status::OK;
  }

 private:
  template <typename Uses>
  grpc::Status Resolve(const Uses& uses, v1::AppliedRequest& applied) const {
    if (auto status = CheckUses(uses); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    for (const v1::MemoryUse& use : uses) {
      const auto found = state_.memories_.find(use.memory().substr(0, use.memory().find('@')));
      if (found == state_.memories_.end()) {
        return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no memory ", use.memory())};
      }
      *applied.add_memory_uses() = Applied(use, found->second.versions.back().digest);
    }
    return grpc::Status::OK;
  }

  grpc::Status Start(const v1::GenerateRequest& request, v1::AppliedRequest* applied) const {
    if (auto status = state_.Begin(&request); !status.ok()) return status;
    if (request.prompt().empty() && request.prompt_tokens().ids().empty()) {
      return BadRequestStatus({{"prompt", "must not be empty"}});
    }
    if (auto status = Resolve(request.memory_uses(), *applied); !status.ok()) return status;
    v1::GenerationParameters& parameters = *applied->mutable_parameters();
    parameters = request.parameters();
    if (!parameters.has_max_tokens()) parameters.set_max_tokens(3);
    if (!parameters.has_sample_count()) parameters.set_sample_count(1);
    if (!parameters.sampling().has_seed()) parameters.mutable_sampling()->set_seed(42);
    return grpc::Status::OK;
  }

  FakeState& state_;
};

std::unique_ptr<grpc::Service> NewFakeInference(FakeState& state) {
  return std::make_unique<FakeInference>(state);
}

}  // namespace mtm
