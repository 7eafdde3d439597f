// SPDX-License-Identifier: Apache-2.0
// What a request gets does not depend on who shares the server: random requests one at a time, then the same
// ones in random mixtures, must have the same tokens and log-probabilities, bit for bit.
#include <grpcpp/create_channel.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "memory_store/memory_store.h"
#include "mtm/v1/inference_service.grpc.pb.h"
#include "server/generation/make_memory.h"
#include "server/model/model.h"
#include "server/rpc/server.h"
#include "tests/support/random_requests.h"

namespace mtm {
namespace {

// Samples and usage of a response: timings may differ, and how much of a prompt was run before.
std::string Content(const v1::GenerateResponse& response) {
  v1::GenerateResponse content;
  *content.mutable_samples() = response.samples();
  content.mutable_usage()->CopyFrom(response.usage());
  content.mutable_usage()->clear_reused_prompt_tokens();
  return content.SerializeAsString();
}

class Program {
 public:
  Program(int n_requests, uint64_t seed) : random_(seed) {
    folder_ = std::filesystem::temp_directory_path() / absl::StrCat("mtm_determinism.", getpid());
    model_ = Model::Load(MTM_TESTDATA "/golden/tiny").value();
    store_ = MemoryStore::Open(folder_).value();
    const ModelConfig& config = model_->config();
    RequestSpace space{
        .n_layer = config.n_layer, .n_ctx = config.n_ctx, .vocab_size = config.vocab_size, .memories = {}};
    for (const int n_tokens : {1, 20, 300}) {
      space.memories.push_back(absl::StrCat("m", n_tokens));
      std::vector<int32_t> tokens(static_cast<size_t>(n_tokens));
      for (int32_t& token : tokens)
        token = static_cast<int32_t>(random_() % static_cast<uint64_t>(config.vocab_size));
      MakeTestMemory(space.memories.back(), std::move(tokens));
    }
    for (int i = 0; i < n_requests; ++i) {
      requests_.push_back(RandomRequest(space, random_));
      if (i % 2 == 1) BeginAlike(requests_[static_cast<size_t>(i) - 1], requests_.back());
    }
    ServerOptions options;
    options.listen_address = "127.0.0.1:0";
    options.observer = [](const RpcRecord&) {};
    server_ = Server::Start(*model_, nullptr, *store_, std::move(options)).value();
    channel_ =
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()), grpc::InsecureChannelCredentials());
  }
  ~Program() {
    server_.reset();
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  // Returns the number of requests that differ in some round.
  int Run(int n_rounds) {
    failed_.resize(requests_.size());
    for (size_t i = 0; i < requests_.size(); ++i) alone_.push_back(Call(i));
    for (int round = 0; round < n_rounds; ++round) RunTogether(1 + static_cast<size_t>(random_() % 32));
    return static_cast<int>(std::count(failed_.begin(), failed_.end(), true));
  }

 private:
  // Gives the second prompt some first tokens of the first one.
  void BeginAlike(const v1::GenerateRequest& first, v1::GenerateRequest& second) {
    const auto& from = first.prompt_tokens().ids();
    auto& to = *second.mutable_prompt_tokens()->mutable_ids();
    const int n = static_cast<int>(random_() % (static_cast<uint64_t>(std::min(from.size(), to.size())) + 1));
    std::copy_n(from.begin(), n, to.begin());
  }

  void MakeTestMemory(const std::string& name, std::vector<int32_t> tokens);

  std::string Call(size_t index) {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    const grpc::Status status =
        v1::InferenceService::NewStub(channel_)->Generate(&context, requests_[index], &response);
    return status.ok() ? Content(response) : absl::StrCat("error: ", status.error_message());
  }

  void RunTogether(size_t n_clients) {
    std::vector<size_t> order(requests_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), random_);
    std::atomic<size_t> next = 0;
    std::vector<std::thread> clients;
    for (size_t c = 0; c < n_clients; ++c) {
      clients.emplace_back([&] {
        for (size_t i; (i = next++) < order.size();) Compare(order[i], Call(order[i]), n_clients);
      });
    }
    for (std::thread& client : clients) client.join();
    std::cout << order.size() << " requests by " << n_clients << " clients" << std::endl;
  }

  void Compare(size_t index, const std::string& content, size_t n_clients) {
    if (content == alone_[index] && !content.starts_with("error: ")) return;
    const std::lock_guard lock(mutex_);
    failed_[index] = true;
    std::cout << "request " << index << " among " << n_clients
              << " clients: " << (content.starts_with("error: ") ? content : "not what it got alone")
              << "\n  " << requests_[index].ShortDebugString() << std::endl;
  }

  std::mt19937_64 random_;
  std::filesystem::path folder_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<MemoryStore> store_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::vector<v1::GenerateRequest> requests_;
  std::vector<std::string> alone_;
  std::mutex mutex_;
  std::vector<bool> failed_;  // by request; under the mutex
};

void Program::MakeTestMemory(const std::string& name, std::vector<int32_t> tokens) {
  std::vector<int> layers(static_cast<size_t>(model_->config().n_layer));
  std::iota(layers.begin(), layers.end(), 1);
  MakeMemory(*model_, *store_,
             {.name = name, .leading = {198}, .tokens = std::move(tokens), .layers = layers})
      .value();
}

}  // namespace
}  // namespace mtm

int main(int argc, char** argv) {
  CLI::App app("Checks that what a request gets does not depend on who shares the server");
  int n_requests = 200, n_rounds = 4;
  uint64_t seed = std::random_device()();
  app.add_option("--requests", n_requests, "Random requests")->check(CLI::Range(1, 1'000'000));
  app.add_option("--rounds", n_rounds, "Random mixtures of all of them")->check(CLI::Range(1, 1'000'000));
  app.add_option("--seed", seed, "Seed; drawn unless given");
  CLI11_PARSE(app, argc, argv);
  std::cout << "seed " << seed << std::endl;
  const int n_failed = mtm::Program(n_requests, seed).Run(n_rounds);
  std::cout << n_requests - n_failed << " passed, " << n_failed << " failed" << std::endl;
  return n_failed == 0 ? 0 : 1;
}
