// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fake_service.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/server_builder.h"

namespace mtm {
namespace {

constexpr int kHeads = 2;

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

grpc::Status BadRequestStatus(const std::vector<std::pair<std::string, std::string>>& violations) {
  google::rpc::BadRequest bad_request;
  for (const auto& [field, description] : violations) {
    auto* added = bad_request.add_field_violations();
    added->set_field(field);
    added->set_description(description);
  }
  google::rpc::Status status;
  status.set_code(grpc::StatusCode::INVALID_ARGUMENT);
  status.set_message("invalid request");
  status.add_details()->PackFrom(bad_request);
  return {grpc::StatusCode::INVALID_ARGUMENT, status.message(), status.SerializeAsString()};
}

void FakeState::FailNext(const grpc::Status& status, int times) {
  const std::lock_guard lock(mutex_);
  failure_ = status;
  failures_left_ = times;
}

void FakeState::HangAfterFirstToken() {
  const std::lock_guard lock(mutex_);
  hang_generation_ = true;
}

void FakeState::HangAfterFirstProgress() {
  const std::lock_guard lock(mutex_);
  hang_creation_ = true;
}

bool FakeState::WaitUntilClientLeft() {
  std::unique_lock lock(mutex_);
  return left_.wait_for(lock, std::chrono::seconds(10), [this] { return client_left_; });
}

void FakeState::AddDamaged(const std::string& name, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  damaged_.emplace_back(name, reason);
}

int FakeState::call_count() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}

v1::GenerateRequest FakeState::last_generate() const {
  const std::lock_guard lock(mutex_);
  return last_generate_;
}

v1::ScoreRequest FakeState::last_score() const {
  const std::lock_guard lock(mutex_);
  return last_score_;
}

v1::CreateMemoryRequest::Spec FakeState::last_spec() const {
  const std::lock_guard lock(mutex_);
  return last_spec_;
}

std::string FakeState::TextOf(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = memories_.find(name);
  return found == memories_.end() ? "" : found->second.second;
}

grpc::Status FakeState::Begin() {
  const std::lock_guard lock(mutex_);
  ++calls_;
  if (failures_left_ == 0) return grpc::Status::OK;
  --failures_left_;
  return failure_;
}

void FakeState::Hang(grpc::ServerContext* context) {
  // The synchronous server has no notice of a client that leaves.
  while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
  const std::lock_guard lock(mutex_);
  client_left_ = true;
  left_.notify_all();
}

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
        if (Hanging()) {
          state_.Hang(context);
          return grpc::Status::CANCELLED;
        }
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
    if (auto status = state_.Begin(); !status.ok()) return status;
    {
      const std::lock_guard lock(state_.mutex_);
      state_.last_score_ = *request;
    }
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
  bool Hanging() const {
    const std::lock_guard lock(state_.mutex_);
    return state_.hang_generation_;
  }

  template <typename Uses>
  grpc::Status Resolve(const Uses& uses, v1::AppliedRequest& applied) const {
    if (auto status = CheckUses(uses); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    for (const v1::MemoryUse& use : uses) {
      const auto found = state_.memories_.find(use.memory().substr(0, use.memory().find('@')));
      if (found == state_.memories_.end()) {
        return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no memory ", use.memory())};
      }
      *applied.add_memory_uses() = Applied(use, found->second.first.digest());
    }
    return grpc::Status::OK;
  }

  grpc::Status Start(const v1::GenerateRequest& request, v1::AppliedRequest* applied) const {
    if (auto status = state_.Begin(); !status.ok()) return status;
    {
      const std::lock_guard lock(state_.mutex_);
      state_.last_generate_ = request;
    }
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

class FakeMemories final : public v1::MemoryService::Service {
 public:
  explicit FakeMemories(FakeState& state) : state_(state) {}

  grpc::Status CreateMemory(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::CreateMemoryResponse, v1::CreateMemoryRequest>* stream) override {
    if (auto status = state_.Begin(); !status.ok()) return status;
    v1::CreateMemoryRequest part;
    if (!stream->Read(&part) || !part.has_spec()) return BadRequestStatus({{"spec", "must come first"}});
    const v1::CreateMemoryRequest::Spec spec = part.spec();
    if (auto status = Admit(spec); !status.ok()) return status;
    v1::CreateMemoryResponse response;
    std::string text;
    while (stream->Read(&part)) {
      text += part.text();
      for (const int id : part.token_ids().ids()) absl::StrAppend(&text, text.empty() ? "" : " ", id);
      response.mutable_progress()->set_tokens_done(static_cast<int64_t>(text.size()));
      stream->Write(response);
      if (Hanging()) {
        state_.Hang(context);
        return grpc::Status::CANCELLED;
      }
    }
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    if (text.empty()) return BadRequestStatus({{"text", "must not be empty"}});
    *response.mutable_memory() = Keep(spec, text);
    stream->Write(response);
    return grpc::Status::OK;
  }

  grpc::Status GetMemory(grpc::ServerContext*, const v1::GetMemoryRequest* request,
                         v1::Memory* memory) override {
    if (auto status = state_.Begin(); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    const auto found = state_.memories_.find(request->name());
    if (found == state_.memories_.end()) return Missing(request->name());
    *memory = found->second.first;
    return grpc::Status::OK;
  }

  grpc::Status ListMemories(grpc::ServerContext*, const v1::ListMemoriesRequest*,
                            v1::ListMemoriesResponse* response) override {
    if (auto status = state_.Begin(); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    for (const auto& [name, memory] : state_.memories_) *response->add_memories() = memory.first;
    for (const auto& [name, reason] : state_.damaged_) {
      response->add_damaged()->set_name(name);
      response->mutable_damaged()->rbegin()->set_reason(reason);
    }
    return grpc::Status::OK;
  }

  grpc::Status DeleteMemory(grpc::ServerContext*, const v1::DeleteMemoryRequest* request,
                            v1::DeleteMemoryResponse*) override {
    if (auto status = state_.Begin(); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    return state_.memories_.erase(request->name()) ? grpc::Status::OK : Missing(request->name());
  }

 private:
  static grpc::Status Missing(const std::string& name) {
    return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no memory ", name)};
  }

  bool Hanging() const {
    const std::lock_guard lock(state_.mutex_);
    return state_.hang_creation_;
  }

  grpc::Status Admit(const v1::CreateMemoryRequest::Spec& spec) {
    const std::lock_guard lock(state_.mutex_);
    state_.last_spec_ = spec;
    if (!state_.memories_.contains(spec.name())) return grpc::Status::OK;
    return {grpc::StatusCode::ALREADY_EXISTS, absl::StrCat("there is a memory ", spec.name())};
  }

  v1::Memory Keep(const v1::CreateMemoryRequest::Spec& spec, const std::string& text) {
    v1::Memory memory;
    memory.set_name(spec.name());
    memory.set_digest(std::string(64, 'a'));
    memory.set_token_count(static_cast<int64_t>(text.size()));
    for (int layer = 1; layer <= 4; ++layer) memory.add_layers(layer);
    memory.set_head_count(kHeads);
    memory.set_size_bytes(2048);
    memory.mutable_create_time()->set_seconds(1'700'000'000);
    const std::lock_guard lock(state_.mutex_);
    state_.memories_[spec.name()] = {memory, text};
    return memory;
  }

  FakeState& state_;
};

FakeServer::FakeServer()
    : inference_(std::make_unique<FakeInference>(state_)), memories_(std::make_unique<FakeMemories>(state_)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(inference_.get());
  builder.RegisterService(memories_.get());
  server_ = builder.BuildAndStart();
}

FakeServer::~FakeServer() { server_->Shutdown(std::chrono::system_clock::now()); }

std::string FakeServer::address() const { return absl::StrCat("127.0.0.1:", port_); }

}  // namespace mtm
