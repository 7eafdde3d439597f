// SPDX-License-Identifier: Apache-2.0
// Clients generate with memories that another one changes all the time: replaced, appended to, forgotten
// from, rolled back, copied, deleted and made again. Each reply names the version that it used; afterwards
// the same request is run alone with that version, which is made anew window by window where it is not kept
// any more, and must give the same tokens and the same log-probabilities, to the bit. A request may fail only
// where its version is gone.
//   swap_storm [--seconds N] [--seed S]
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "memory_store/memory_store.h"
#include "mtm/v1/inference_service.grpc.pb.h"
#include "server/model/model.h"
#include "server/model/threads.h"
#include "server/rpc/server.h"
#include "tests/stress/operation.h"
#include "tests/stress/perform.h"
#include "tests/stress/storm_board.h"
#include "tests/support/model_folder.h"

namespace mtm {
namespace {

using Fault = std::optional<std::string>;

constexpr int kClients = 4;
constexpr int kRequests = 8;  // different ones

// Request `number` with a memory: greedy and sampled, exact and cached, one sample and two.
v1::GenerateRequest Request(int number, const std::string& memory) {
  v1::GenerateRequest request;
  for (int i = 0; i < 6 + number; ++i)
    request.mutable_prompt_tokens()->add_ids((i * 37 + number * 101) % 500);
  v1::MemoryUse& use = *request.add_memory_uses();
  use.set_memory(memory);
  use.set_memory_fraction(50);
  use.set_score_scale(1);
  v1::GenerationParameters& parameters = *request.mutable_parameters();
  parameters.set_mode(number % 2 == 0 ? v1::MODE_CACHED : v1::MODE_EXACT);
  parameters.set_max_tokens(8);
  parameters.set_ignore_end_of_text(true);
  parameters.set_top_logprobs(3);
  parameters.mutable_sampling()->set_temperature(number % 4 < 2 ? 0 : 1);
  parameters.mutable_sampling()->set_seed(static_cast<uint64_t>(number));
  if (number % 4 == 3) parameters.set_sample_count(2);
  return request;
}

// What must be the same whenever it is asked for.
std::string Answer(const v1::GenerateResponse& response) {
  std::string answer;
  for (const v1::Sample& sample : response.samples()) answer += sample.SerializeAsString();
  return answer;
}

class SwapStorm {
 public:
  SwapStorm(const Model& model, MemoryStore& store, uint64_t seed)
      : model_(model), window_(static_cast<size_t>(model.config().n_ctx - 1)), seed_(seed) {
    ServerOptions options;
    options.listen_address = "127.0.0.1:0";
    options.observer = [](const RpcRecord&) {};
    server_ = Server::Start(model, nullptr, store, std::move(options)).value();
  }

  // 0, or 1 where anything was wrong.
  int Run(int seconds) {
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; ++i)
      clients.emplace_back([this, i] { Generate(seed_ * 100 + static_cast<uint64_t>(i)); });
    std::thread writer([this] { Write(); });
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
    stop_ = true;
    for (std::thread& client : clients) client.join();
    writer.join();
    Replay();
    std::set<std::string> digests, answers;
    for (const auto& [key, answer] : answers_) {
      digests.insert(key.first);
      answers.insert(answer);
    }
    std::cout << n_changes_ << " changes, " << n_replies_ << " replies with " << digests.size()
              << " versions, " << answers.size() << " different ones; " << n_missing_
              << " requests came when their version was gone; " << n_remade_ << " versions made anew\n";
    const bool empty = n_replies_ == 0 || digests.size() < 2;
    if (empty) Fail("nothing was tested");
    std::cout << n_replies_ << " passed, " << faults_.size() << " failed" << std::endl;
    return faults_.empty() ? 0 : 1;
  }

 private:
  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  void Fail(const std::string& fault) {
    const std::lock_guard lock(mutex_);
    if (faults_.size() < 10) std::cout << "FAILED: " << fault << std::endl;
    faults_.push_back(fault);
  }

  // Changes memories until the end.
  void Write() {
    const auto stub = v1::MemoryService::NewStub(NewChannel());
    Settings settings{.model_fingerprint = model_.fingerprint(),
                      .n_head = model_.config().n_head,
                      .head_dim = model_.config().head_dim()};
    for (int layer = 1; layer <= model_.config().n_layer; ++layer) settings.layers.push_back(layer);
    RandomOperations random(seed_, "storm/", settings, model_.config().vocab_size);
    Names names;
    while (!stop_) {
      const Operation operation = random.Next(names);
      const Names after = Apply(names, operation, window_);
      board_.Begin(names, after, digests_);
      v1::Memory memory;
      const grpc::Status status = Perform(*stub, operation, names, digests_, memory);
      Fault fault;
      if (!status.ok()) {
        fault = Describe(status);
      } else if (operation.kind != Operation::Kind::kDelete) {
        fault = Difference(after.at(operation.name), memory);
        if (!fault) fault = digests_.Check(after.at(operation.name).current(), memory.digest());
        contents_[memory.digest()] = after.at(operation.name).current();
      }
      if (fault) {
        stop_ = true;
        return Fail(absl::StrCat(NameOf(operation.kind), " of ", operation.name, ": ", *fault));
      }
      names = after;
      board_.End(names, digests_);
      ++n_changes_;
    }
  }

  // Asks, one request after the other, until the end.
  void Generate(uint64_t seed) {
    const auto stub = v1::InferenceService::NewStub(NewChannel());
    std::mt19937_64 random(seed);
    while (!stop_) {
      const std::vector<std::string> present = board_.present();
      if (present.empty()) {
        std::this_thread::yield();
        continue;
      }
      const int number = static_cast<int>(random() % kRequests);
      const std::string& reference = present[random() % present.size()];
      const int64_t since = board_.Now();
      grpc::ClientContext context;
      v1::GenerateResponse response;
      const grpc::Status status = stub->Generate(&context, Request(number, reference), &response);
      if (status.error_code() == grpc::StatusCode::NOT_FOUND && board_.MayBeMissing(reference, since)) {
        ++n_missing_;
      } else if (!status.ok()) {
        Fail(absl::StrCat("a request with ", reference, ": ", Describe(status)));
      } else {
        Keep(number, reference, response);
      }
    }
  }

  void Keep(int number, const std::string& reference, const v1::GenerateResponse& response) {
    const std::string used = response.applied().memory_uses(0).memory();
    if (!used.starts_with(reference))
      return Fail(absl::StrCat("a request with ", reference, " was answered with ", used));
    const std::string digest = used.substr(used.find('@') + 1);
    std::string answer = Answer(response);
    {
      const std::lock_guard lock(mutex_);
      ++n_replies_;
      const auto [known, added] = answers_.emplace(std::pair(digest, number), answer);
      if (added || known->second == answer) return;
    }
    Fail(absl::StrCat("request ", number, " had two answers with ", used));
  }

  // Every request again, alone.
  void Replay() {
    const auto channel = NewChannel();
    const auto memories = v1::MemoryService::NewStub(channel);
    const auto inference = v1::InferenceService::NewStub(channel);
    const std::vector<std::string> present = board_.present();
    std::string digest, reference, remade;
    for (const auto& [key, answer] : answers_) {
      if (key.first != digest) {
        digest = key.first;
        const auto kept = std::ranges::find_if(
            present, [&](const std::string& name) { return name.ends_with("@" + digest); });
        Delete(*memories, remade);
        remade = kept == present.end() ? Remake(*memories, digest) : "";
        reference = kept == present.end() ? remade : *kept;
      }
      if (reference.empty()) continue;  // not made: a fault already
      grpc::ClientContext context;
      v1::GenerateResponse response;
      const grpc::Status status = inference->Generate(&context, Request(key.second, reference), &response);
      if (!status.ok()) {
        Fail(absl::StrCat("replay with ", reference, ": ", Describe(status)));
      } else if (Answer(response) != answer) {
        Fail(
            absl::StrCat("request ", key.second, " with the version ", digest, " gets something else alone"));
      }
    }
  }

  // One that was made anew is in the way of the next ones: each is a line more of the manifest.
  void Delete(v1::MemoryService::Stub& stub, const std::string& name) {
    if (name.empty()) return;
    grpc::ClientContext context;
    v1::DeleteMemoryRequest request;
    request.set_name(name);
    v1::DeleteMemoryResponse response;
    if (const grpc::Status status = stub.DeleteMemory(&context, request, &response); !status.ok())
      Fail(absl::StrCat("deleting ", name, ": ", Describe(status)));
  }

  // A memory of the same windows; empty where that failed.
  std::string Remake(v1::MemoryService::Stub& stub, const std::string& digest) {
    const auto content = contents_.find(digest);
    if (content == contents_.end()) {
      Fail(absl::StrCat("nobody made the version ", digest));
      return "";
    }
    Operation operation{.name = absl::StrCat("replay/", n_remade_++), .settings = content->second.settings};
    v1::Memory memory;
    for (const Window& window : content->second.windows) {
      operation.tokens = window.tokens;
      operation.source = window.source;
      const grpc::Status status = Perform(stub, operation, {}, digests_, memory);
      if (!status.ok()) {
        Fail(absl::StrCat("making ", digest, " anew: ", Describe(status)));
        return "";
      }
      operation.kind = Operation::Kind::kAppend;
    }
    if (memory.digest() != digest) {
      Fail(absl::StrCat("the version ", digest, ", made anew window by window, is ", memory.digest()));
      return "";
    }
    return operation.name;
  }

  const Model& model_;
  const size_t window_;
  const uint64_t seed_;
  std::unique_ptr<Server> server_;
  std::atomic<bool> stop_ = false;
  StormBoard board_;
  Digests digests_;
  std::map<std::string, Content> contents_;  // by digest; the writer's, then Replay's
  int n_changes_ = 0, n_remade_ = 0;         // likewise
  std::atomic<int> n_missing_ = 0;

  std::mutex mutex_;  // guards what follows
  int64_t n_replies_ = 0;
  std::map<std::pair<std::string, int>, std::string> answers_;  // by digest and number of the request
  std::vector<std::string> faults_;
};

}  // namespace
}  // namespace mtm

int main(int argc, char** argv) {
  int seconds = 60;
  uint64_t seed = std::random_device()();
  CLI::App app("Generates with memories that change all the time.");
  app.add_option("--seconds", seconds, "How long")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  app.add_option("--seed", seed, "Of what is done; default: drawn");
  CLI11_PARSE(app, argc, argv);
  std::cout << "seed " << seed << ", " << seconds << " s" << std::endl;
  mtm::SetModelThreads(1);
  const auto model = mtm::Model::Load(std::filesystem::path(MTM_TESTDATA) / "golden" / "tiny").value();
  const mtm::TemporaryFolder folder;
  const auto store = mtm::MemoryStore::Open(folder.path() / "store").value();
  return mtm::SwapStorm(*model, *store, seed).Run(seconds);
}
