// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/client_context.h>

#include <functional>
#include <optional>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/stress/perform.h"
#include "tests/stress/soak_clients.h"
#include "tests/support/random_requests.h"

namespace mtm {
namespace {

using Stub = v1::InferenceService::Stub;

// A request that is not answered by then is lost.
constexpr auto kMostSeconds = std::chrono::seconds(60);
constexpr auto kRefusedPause = std::chrono::milliseconds(50);

// Connections come and go: one serves so many requests.
constexpr int kRequestsPerConnection = 200;

RequestSpace Space(const Soak& soak) {
  return {.n_layer = soak.model().layer_count(),
          .n_ctx = soak.model().context_length(),
          .vocab_size = soak.model().vocabulary_size(),
          .memories = soak.memories()};
}

// `call` until the end, over ever new connections. It returns the status that it came to.
void Repeat(Soak& soak, const std::string& what,
            const std::function<grpc::Status(Stub&, grpc::ClientContext&)>& call) {
  std::unique_ptr<Stub> stub;
  for (int i = 0; !soak.stopped(); ++i) {
    if (i % kRequestsPerConnection == 0) stub = v1::InferenceService::NewStub(soak.Connect());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kMostSeconds);
    const grpc::Status status = call(*stub, context);
    if (status.ok()) {
      soak.Count(what, "OK");
    } else if (IsRefusal(status)) {
      soak.Count(what, "refused");
      soak.Pause(kRefusedPause);
    } else {
      soak.Fail(absl::StrCat(what, ": ", Describe(status)));
    }
  }
}

grpc::Status Lacking(const std::string& what) {
  return {grpc::StatusCode::DATA_LOSS, absl::StrCat("OK without ", what)};
}

}  // namespace

void Generate(Soak& soak, uint64_t seed) {
  std::mt19937_64 random(seed);
  Repeat(soak, "Generate", [&](Stub& stub, grpc::ClientContext& context) {
    const v1::GenerateRequest request = RandomRequest(Space(soak), random);
    v1::GenerateResponse response;
    const grpc::Status status = stub.Generate(&context, request, &response);
    if (!status.ok() || response.samples_size() == request.parameters().sample_count()) return status;
    return Lacking("all samples");
  });
}

void StreamGenerate(Soak& soak, uint64_t seed) {
  std::mt19937_64 random(seed);
  Repeat(soak, "StreamGenerate", [&](Stub& stub, grpc::ClientContext& context) {
    const auto stream = stub.StreamGenerate(&context, RandomRequest(Space(soak), random));
    int64_t n_tokens = 0, n_told = -1;
    for (v1::StreamGenerateResponse event; stream->Read(&event);) {
      n_tokens += event.has_token() ? 1 : 0;
      if (event.has_finished()) n_told = event.finished().usage().generated_tokens();
    }
    const grpc::Status status = stream->Finish();
    if (!status.ok() || n_tokens == n_told) return status;
    return Lacking(absl::StrCat("all tokens: ", n_tokens, " of ", n_told));
  });
}

void Score(Soak& soak, uint64_t seed) {
  std::mt19937_64 random(seed);
  Repeat(soak, "Score", [&](Stub& stub, grpc::ClientContext& context) {
    const v1::GenerateRequest drawn = RandomRequest(Space(soak), random);
    v1::ScoreRequest request;
    const auto& ids = drawn.prompt_tokens().ids();
    request.mutable_prompt_tokens()->add_ids(ids[0]);
    request.mutable_continuation_tokens()->mutable_ids()->Add(ids.begin(), ids.end());
    *request.mutable_memory_uses() = drawn.memory_uses();
    request.set_mode(drawn.parameters().mode());
    v1::ScoreResponse response;
    const grpc::Status status = stub.Score(&context, request, &response);
    if (!status.ok() || response.tokens_size() == ids.size()) return status;
    return Lacking("all tokens");
  });
}

void AskTheSame(Soak& soak, uint64_t seed) {
  std::mt19937_64 random(seed);
  v1::GenerateRequest request = RandomRequest(Space(soak), random);
  while (request.memory_uses().empty()) request = RandomRequest(Space(soak), random);
  std::string first;
  Repeat(soak, "the same request", [&](Stub& stub, grpc::ClientContext& context) {
    v1::GenerateResponse response;
    const grpc::Status status = stub.Generate(&context, request, &response);
    std::string answer;
    for (const v1::Sample& sample : response.samples()) answer += sample.SerializeAsString();
    if (status.ok() && first.empty()) first = answer;
    if (!status.ok() || answer == first) return status;
    return Lacking("the answer that it had before");
  });
}

}  // namespace mtm
