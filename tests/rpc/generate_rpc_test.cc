// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/test_server.h"

namespace mtm {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::Lt;
using testing::SizeIs;

// The golden model, which has no tokenizer.
class GoldenRpcTest : public testing::Test {
 protected:
  explicit GoldenRpcTest(const Model& model = TinyModel()) : server_(model, nullptr, *store_) {}

  // A memory `name` of the case's tokens.
  void CreateMemory(const std::string& name, const json& memory) {
    v1::CreateMemoryRequest spec, part;
    spec.mutable_spec()->set_name(name);
    spec.mutable_spec()->set_dropped_token_count(memory["drop_first"]);
    for (int32_t id : memory["tokens"]) part.mutable_token_ids()->add_ids(id);
    server_.Create({spec, part});
  }

  static v1::GenerateRequest RequestOf(const json& golden, v1::Mode mode, const std::string& prefix) {
    v1::GenerateRequest request;
    for (int32_t id : golden["prompt"]) request.mutable_prompt_tokens()->add_ids(id);
    for (const json& use : golden["uses"]) {
      v1::MemoryUse& proto = *request.add_memory_uses();
      proto.set_memory(prefix + use["memory"].get<std::string>());
      proto.set_method(use["method"].get<v1::Method>());
      for (int layer : use["layers"]) proto.add_layers(layer);
      proto.set_k(use["k"]);
      proto.set_memory_fraction(use["memory_fraction"]);
      proto.set_bookkeeping_fraction(use["bookkeeping_fraction"]);
      proto.set_score_scale(use["score_scale"]);
      proto.set_residual_fraction(use["residual_fraction"]);
      if (use.contains("head_fraction")) proto.set_head_fraction(use["head_fraction"]);
    }
    request.mutable_parameters()->set_mode(mode);
    request.mutable_parameters()->set_max_tokens(golden["steps"]);
    request.mutable_parameters()->mutable_sampling()->set_temperature(0);
    request.mutable_parameters()->set_ignore_end_of_text(true);
    return request;
  }

  void ExpectEveryCase();

  const std::unique_ptr<MemoryStore> store_ = OpenStore(FreshFolder());
  TestServer server_;
};

void GoldenRpcTest::ExpectEveryCase() {
  const json cases = json::parse(std::ifstream(TinyFolder() / "cases.json"));
  for (const json& golden : cases) {
    const std::string prefix = golden["name"].get<std::string>() + "/";
    for (const auto& [name, memory] : golden["memories"].items()) CreateMemory(prefix + name, memory);
    for (const auto& [mode, tokens] : golden["greedy"].items()) {
      SCOPED_TRACE(prefix + mode);
      const auto request = RequestOf(golden, mode == "exact" ? v1::MODE_EXACT : v1::MODE_CACHED, prefix);
      const v1::GenerateResponse response = server_.Generate(request);
      ASSERT_THAT(response.samples(), SizeIs(1));
      EXPECT_THAT(response.samples(0).token_ids(), ElementsAreArray(tokens.get<std::vector<int>>()));
      EXPECT_EQ(response.samples(0).finish_reason(), v1::FINISH_REASON_MAX_TOKENS);
      EXPECT_EQ(response.usage().tokens_heads_changed(), golden["selected"][mode].get<int64_t>());
      EXPECT_EQ(response.usage().prompt_tokens(), request.prompt_tokens().ids_size());
      EXPECT_EQ(response.usage().generated_tokens(), golden["steps"].get<int64_t>());
    }
  }
}

TEST_F(GoldenRpcTest, EveryCaseComesOutRightThroughTheService) { ExpectEveryCase(); }

// By a GPU's operations, for which the worker copies what a memory stores.
class DeviceRpcTest : public GoldenRpcTest {
 protected:
  DeviceRpcTest() : GoldenRpcTest(TinyModel("torch")) {}
};

TEST_F(DeviceRpcTest, EveryCaseComesOutRightThroughTheService) { ExpectEveryCase(); }

TEST_F(DeviceRpcTest, StreamsAndScoresUseMemoriesOfTheirOwn) {
  const json cases = json::parse(std::ifstream(TinyFolder() / "cases.json"));
  const json golden =
      *std::ranges::find(cases, "type3_every_layer", [](const json& one) { return one["name"]; });
  ASSERT_GT(golden["selected"]["cached"].get<int64_t>(), 0);
  for (const std::string prefix : {"streamed/", "scored/"}) {
    for (const auto& [name, memory] : golden["memories"].items()) CreateMemory(prefix + name, memory);
  }
  const auto tokens = golden["greedy"]["cached"].get<std::vector<int>>();
  const auto events = server_.Stream(RequestOf(golden, v1::MODE_CACHED, "streamed/"));
  std::vector<int> streamed;
  for (const auto& event : events) {
    if (event.has_token()) streamed.push_back(event.token().token_id());
  }
  EXPECT_EQ(streamed, tokens);

  const v1::GenerateRequest request = RequestOf(golden, v1::MODE_CACHED, "scored/");
  v1::ScoreRequest score;
  *score.mutable_prompt_tokens() = request.prompt_tokens();
  *score.mutable_memory_uses() = request.memory_uses();
  score.set_mode(v1::MODE_CACHED);
  for (const int token : tokens) score.mutable_continuation_tokens()->add_ids(token);
  grpc::ClientContext context;
  v1::ScoreResponse response;
  ASSERT_TRUE(server_.inference().Score(&context, score, &response).ok());
  ASSERT_EQ(response.tokens_size(), static_cast<int>(tokens.size()));
  EXPECT_EQ(response.usage().tokens_heads_changed(), golden["selected"]["cached"].get<int64_t>());
}

TEST_F(GoldenRpcTest, ATextIsRefused) {
  v1::GenerateRequest request;
  request.set_prompt("Hi");
  v1::GenerateResponse response;
  const grpc::Status status = server_.Generate(request, response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(Violations(status),
              ElementsAre("prompt: is a text, and this model has no tokenizer; give token ids"));
  grpc::ClientContext tokenize, detokenize;
  v1::TokenizeResponse ids;
  v1::DetokenizeResponse text;
  EXPECT_EQ(server_.inference().Tokenize(&tokenize, {}, &ids).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(server_.inference().Detokenize(&detokenize, {}, &text).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(GoldenRpcTest, AFullContextEndsCachedModeAndNotExactMode) {
  v1::GenerateRequest request;
  for (int i = 0; i < 40; ++i) request.mutable_prompt_tokens()->add_ids(i);
  request.mutable_parameters()->set_ignore_end_of_text(true);
  v1::GenerateResponse response = server_.Generate(request);
  EXPECT_EQ(response.samples(0).finish_reason(), v1::FINISH_REASON_CONTEXT_FULL);
  EXPECT_EQ(response.samples(0).token_ids_size(), 48 - 40 + 1);
  request.mutable_parameters()->set_mode(v1::MODE_EXACT);
  response = server_.Generate(request);
  EXPECT_EQ(response.samples(0).finish_reason(), v1::FINISH_REASON_MAX_TOKENS);
  EXPECT_EQ(response.samples(0).token_ids_size(), 50);
}

// A model with GPT-2's tokenizer, and a memory `cats`.
class GenerateRpcTest : public testing::Test {
 protected:
  GenerateRpcTest() {
    cats_ = server_.CreateText("cats", "Cats are small, and they sleep for most of the day in the warm sun.");
  }

  grpc::Status TryGenerate(const std::string& text) {
    v1::GenerateResponse response;
    return server_.Generate(FromText<v1::GenerateRequest>(text), response);
  }

  const std::unique_ptr<MemoryStore> store_ = OpenStore(FreshFolder());
  TestServer server_{SmallModel(), &Gpt2Tokenizer(), *store_};
  v1::Memory cats_;
};

TEST_F(GenerateRpcTest, TheReplyEchoesWhatWasApplied) {
  const v1::GenerateResponse response = server_.Generate(
      "prompt: 'Dogs' memory_uses { memory: 'cats' } parameters { stop: 'zqxjk' ignore_end_of_text: true }");
  v1::AppliedRequest applied = response.applied();
  EXPECT_NE(applied.parameters().sampling().seed(), 0u) << "drawn";
  applied.mutable_parameters()->mutable_sampling()->clear_seed();
  EXPECT_EQ(applied.DebugString(),
            FromText<v1::AppliedRequest>(
                absl::StrCat(R"(
      leading_newline: true memory_uses { memory: "cats@)",
                             cats_.digest(), R"(" layers: 3 method: METHOD_TYPE_3 k: 5 memory_fraction: 5
                    bookkeeping_fraction: 0.9 score_scale: 0.01 residual_fraction: 0.33 head_fraction: 1 }
      parameters { mode: MODE_CACHED max_tokens: 50 sample_count: 1 stop: "zqxjk" ignore_end_of_text: true
                   sampling { temperature: 0.8 top_k: 200 top_p: 1 } }
      memory_searches: MEMORY_SEARCH_EXACT)"))
                .DebugString());
  // The newline, `D` and `ogs`; one layer of two heads at 3 to 52 positions.
  EXPECT_EQ(response.usage().prompt_tokens(), 3);
  EXPECT_EQ(response.usage().generated_tokens(), 50);
  EXPECT_EQ(response.usage().tokens_heads_total(), 2 * (3 + 52) * 50 / 2);
  EXPECT_GT(response.usage().tokens_heads_changed(), 0);
  EXPECT_GT(response.timings().generation().nanos() + response.timings().generation().seconds(), 0);
}

TEST_F(GenerateRpcTest, TheEchoedRequestGivesTheSameAgain) {
  const v1::GenerateResponse first = server_.Generate("prompt: 'Dogs' memory_uses { memory: 'cats' }");
  v1::GenerateRequest request;
  request.set_prompt("Dogs");
  *request.mutable_memory_uses() = first.applied().memory_uses();
  *request.mutable_parameters() = first.applied().parameters();
  EXPECT_EQ(server_.Generate(request).samples(0).DebugString(), first.samples(0).DebugString());
}

TEST_F(GenerateRpcTest, TheTextIsThatOfTheTokens) {
  const v1::GenerateResponse response =
      server_.Generate("prompt: 'Dogs' parameters { sampling { seed: 3 } }");
  const v1::Sample& sample = response.samples(0);
  const std::vector<int32_t> ids(sample.token_ids().begin(), sample.token_ids().end());
  EXPECT_EQ(sample.text(), Gpt2Tokenizer().Decode(ids));
}

TEST_F(GenerateRpcTest, TheStopStringIsNotReturned) {
  const std::string base = "prompt: 'Dogs' parameters { sampling { seed: 3 } ";
  const std::string whole = server_.Generate(base + "}").samples(0).text();
  v1::GenerateRequest request = FromText<v1::GenerateRequest>(base + "}");
  request.mutable_parameters()->add_stop(whole.substr(whole.find(' ', 60), 3));
  const v1::Sample sample = server_.Generate(request).samples(0);
  EXPECT_EQ(sample.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(sample.text(), whole.substr(0, whole.find(request.parameters().stop(0))));
}

TEST_F(GenerateRpcTest, TheStreamSaysWhatTheUnaryAnswerSays) {
  const auto request = FromText<v1::GenerateRequest>(R"(
      prompt: 'Dogs' memory_uses { memory: 'cats' layers: [2, 3] memory_fraction: 20 k: 3 }
      parameters { max_tokens: 12 sample_count: 3 sampling { seed: 5 } top_logprobs: 2 trace { max_entries: 100000 } })");
  const v1::GenerateResponse unary = server_.Generate(request);
  const auto events = server_.Stream(request);
  ASSERT_THAT(events, SizeIs(1 + 3 * 12 + 3 + 1));
  EXPECT_EQ(events.front().started().DebugString(), unary.applied().DebugString());
  EXPECT_EQ(events.back().finished().usage().DebugString(), unary.usage().DebugString());
  std::map<int, v1::Sample> samples;
  for (const auto& event : events) {
    if (event.has_token()) {
      v1::Sample& sample = samples[event.token().sample()];
      sample.add_token_ids(event.token().token_id());
      sample.mutable_text()->append(event.token().text());
      *sample.add_details() = event.token().detail();
      sample.mutable_trace()->MergeFrom(event.token().trace());
    } else if (event.has_sample_finished()) {
      v1::Sample& sample = samples[event.sample_finished().sample()];
      sample.mutable_text()->append(event.sample_finished().text());
      sample.set_finish_reason(event.sample_finished().finish_reason());
    }
  }
  ASSERT_THAT(samples, SizeIs(3));
  for (const auto& [index, sample] : samples) {
    EXPECT_EQ(sample.DebugString(), unary.samples(index).DebugString());
  }
  EXPECT_NE(samples[0].text(), samples[1].text());
}

TEST_F(GenerateRpcTest, TheTraceNamesTokensAndNeighbours) {
  const v1::GenerateResponse response = server_.Generate(R"(
      prompt: 'Dogs' memory_uses { memory: 'cats' layers: 2 memory_fraction: 20 k: 3 }
      parameters { max_tokens: 3 trace {} ignore_end_of_text: true })");
  const v1::Sample& sample = response.samples(0);
  EXPECT_EQ(sample.trace_size(), response.usage().tokens_heads_changed());
  ASSERT_THAT(sample.trace(), testing::Not(testing::IsEmpty()));
  const auto memory = *store_->Get("cats");
  std::vector<int32_t> context = *Gpt2Tokenizer().Encode("Dogs");
  context.insert(context.begin(), 198);
  context.insert(context.end(), sample.token_ids().begin(), sample.token_ids().end());
  for (const v1::TraceEntry& entry : sample.trace()) {
    EXPECT_THAT(entry.step(), Lt(3));
    EXPECT_EQ(entry.layer(), 2);
    EXPECT_THAT(entry.position(), Lt(3 + entry.step()));
    EXPECT_EQ(entry.token_id(), context[entry.position()]);
    EXPECT_EQ(entry.text(), Gpt2Tokenizer().Decode(std::span(&context[entry.position()], 1)));
    ASSERT_THAT(entry.neighbours(), SizeIs(3));
    double weights = entry.own_weight();
    for (const auto& neighbour : entry.neighbours()) {
      const int32_t id = memory->tokens()[neighbour.memory_position()];
      EXPECT_EQ(neighbour.token_id(), id);
      EXPECT_EQ(neighbour.text(), Gpt2Tokenizer().Decode(std::span(&id, 1)));
      weights += neighbour.weight();
    }
    EXPECT_NEAR(weights, 1, 1e-5);
  }
}

TEST_F(GenerateRpcTest, TheTraceIsCapped) {
  const std::string request =
      "prompt: 'Dogs' memory_uses { memory: 'cats' memory_fraction: 20 } parameters { sampling { seed: 1 } ";
  const v1::Sample whole = server_.Generate(request + "trace {} }").samples(0);
  const v1::Sample capped = server_.Generate(request + "trace { max_entries: 5 } }").samples(0);
  EXPECT_EQ(capped.trace_size(), 5);
  EXPECT_EQ(capped.trace_entries_left_out() + 5, whole.trace_size() + whole.trace_entries_left_out());
  EXPECT_EQ(capped.trace(4).DebugString(), whole.trace(4).DebugString());
}

TEST_F(GenerateRpcTest, AScoreIsTheSumOfTheTokensLogprobs) {
  const v1::GenerateResponse generated = server_.Generate(R"(
      prompt: 'Dogs' memory_uses { memory: 'cats' } parameters { max_tokens: 8 top_logprobs: 2 sampling { seed: 9 } })");
  v1::ScoreRequest request =
      FromText<v1::ScoreRequest>("prompt: 'Dogs' memory_uses { memory: 'cats' } top_logprobs: 2");
  *request.mutable_continuation_tokens()->mutable_ids() = generated.samples(0).token_ids();
  grpc::ClientContext context;
  v1::ScoreResponse score;
  const grpc::Status status = server_.inference().Score(&context, request, &score);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_THAT(score.tokens(), SizeIs(8));
  double total = 0;
  for (int i = 0; i < 8; ++i) {
    const v1::TokenDetail& detail = generated.samples(0).details(i);
    EXPECT_EQ(score.tokens(i).DebugString(), detail.DebugString());
    EXPECT_EQ(detail.chosen().token(), Gpt2Tokenizer().TokenBytes(detail.chosen().token_id()));
    EXPECT_THAT(detail.top(), SizeIs(2));
    total += detail.chosen().logprob();
  }
  EXPECT_DOUBLE_EQ(score.total_logprob(), total);
  EXPECT_EQ(score.applied().memory_uses(0).memory(), "cats@" + cats_.digest());
  EXPECT_TRUE(score.applied().leading_newline());
  EXPECT_EQ(score.applied().parameters().DebugString(), "mode: MODE_CACHED\ntop_logprobs: 2\n");
}

TEST_F(GenerateRpcTest, RequestsTogetherGetWhatTheyGetAlone) {
  std::vector<v1::GenerateRequest> requests;
  for (int i = 0; i < 12; ++i) {
    auto& request = requests.emplace_back(FromText<v1::GenerateRequest>("prompt: 'Dogs'"));
    request.mutable_parameters()->mutable_sampling()->set_seed(i);
    request.mutable_parameters()->set_mode(i % 3 == 0 ? v1::MODE_EXACT : v1::MODE_CACHED);
    if (i % 2 == 0) request.add_memory_uses()->set_memory("cats");
  }
  std::vector<std::string> alone, together(requests.size());
  for (const auto& request : requests) alone.push_back(server_.Generate(request).samples(0).DebugString());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < requests.size(); ++i) {
    threads.emplace_back([&, i] { together[i] = server_.Generate(requests[i]).samples(0).DebugString(); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(alone, together);
}

TEST_F(GenerateRpcTest, TextsThatAreNoUtf8AreNamed) {
  v1::GenerateRequest request;
  request.set_prompt("a\xff");
  v1::GenerateResponse response;
  const grpc::Status unary = server_.Generate(request, response);
  EXPECT_EQ(unary.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(Violations(unary), ElementsAre("prompt: is no UTF-8 at byte 1"));

  grpc::ClientContext stream_context, tokenize_context;
  v1::StreamGenerateResponse event;
  const auto reader = server_.inference().StreamGenerate(&stream_context, request);
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_THAT(Violations(reader->Finish()), ElementsAre("prompt: is no UTF-8 at byte 1"));

  v1::TokenizeRequest tokenize;
  tokenize.set_text("\xed\xa0\x80");
  v1::TokenizeResponse ids;
  EXPECT_THAT(Violations(server_.inference().Tokenize(&tokenize_context, tokenize, &ids)),
              ElementsAre("text: is no UTF-8 at byte 0"));
}

TEST_F(GenerateRpcTest, ErrorsComeThroughWithTheirCodes) {
  EXPECT_EQ(TryGenerate("").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const grpc::Status missing = TryGenerate("prompt: 'Hi' memory_uses { memory: 'cat' }");
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(missing.error_message(), HasSubstr("cats"));
  v1::TokenizeRequest large;
  large.set_text(std::string(17 << 20, 'a'));
  v1::TokenizeResponse ids;
  grpc::ClientContext context;
  EXPECT_EQ(server_.inference().Tokenize(&context, large, &ids).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(GenerateRpcTest, TokenizeAndDetokenizeAreInverse) {
  for (const std::string& text :
       {std::string("Hi caf\u00e9 \U0001F600"), std::string(200'000, 'a'), std::string()}) {
    grpc::ClientContext tokenize_context, detokenize_context;
    v1::TokenizeRequest tokenize;
    tokenize.set_text(text);
    v1::TokenizeResponse ids;
    EXPECT_TRUE(server_.inference().Tokenize(&tokenize_context, tokenize, &ids).ok());
    v1::DetokenizeRequest detokenize;
    *detokenize.mutable_token_ids() = ids.token_ids();
    v1::DetokenizeResponse back;
    EXPECT_TRUE(server_.inference().Detokenize(&detokenize_context, detokenize, &back).ok());
    EXPECT_EQ(back.text(), text);
  }
  grpc::ClientContext context;
  v1::DetokenizeRequest bad;
  bad.add_token_ids(50257);
  v1::DetokenizeResponse text;
  EXPECT_THAT(Violations(server_.inference().Detokenize(&context, bad, &text)),
              ElementsAre("token_ids[0]: is 50257; the vocabulary is 0 to 50256"));
}

TEST_F(GenerateRpcTest, TheModelIsDescribed) {
  grpc::ClientContext context;
  v1::Model model;
  ASSERT_TRUE(server_.inference().GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.fingerprint(), SmallModel().fingerprint());
  model.clear_fingerprint();
  EXPECT_FALSE(model.server_version().empty());
  model.clear_server_version();
  EXPECT_EQ(model.parameter_count(), SmallModel().parameter_count());
  model.clear_parameter_count();
  EXPECT_EQ(model.DebugString(), FromText<v1::Model>(R"(
      name: "test" layer_count: 4 head_count: 2 embedding_dim: 16 context_length: 64 vocabulary_size: 50257
      has_tokenizer: true end_of_text_token: 50256 device: "cpu" default_layers: 3
      weight_type: WEIGHT_TYPE_F32)")
                                     .DebugString());
}

}  // namespace
}  // namespace mtm
