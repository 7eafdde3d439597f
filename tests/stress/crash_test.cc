// SPDX-License-Identifier: Apache-2.0
// Kills a real server at random moments, during its start too, while clients change memories, and looks after
// each restart whether every acknowledged state is there, bit for bit, and nothing else. It kills the
// process, not the machine: that what was synced reached the disk is not tested here.
//   crash_test [--kills N] [--seed S] [--server PROGRAM]
// Exit status 1 where anything was lost; the folder is kept then.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mtm/v1/inference_service.grpc.pb.h"
#include "nlohmann/json.hpp"
#include "tests/stress/crash_client.h"
#include "tests/stress/server_process.h"

namespace mtm {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Fault = std::optional<std::string>;

constexpr int kClients = 3;
constexpr milliseconds kTimeToStart(120'000);  // with sanitizers on a loaded machine
constexpr int kLongestWork = 400;              // milliseconds from the end of the checks to the kill

// What must hold of the folder when nobody writes: no temporaries, and just the segments that the manifest
// names.
Fault CheckFolder(const fs::path& store) {
  std::ifstream stream(store / "MANIFEST", std::ios::binary);
  std::string line;
  std::getline(stream, line);
  const auto manifest = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  if (!manifest.is_object()) return "MANIFEST cannot be read";
  std::set<std::string> named, found;
  for (const auto& [name, memory] : manifest["memories"].items()) {
    for (const auto& version : memory["versions"]) {
      for (const auto& segment : version["segments"]) named.insert(segment.get<std::string>());
    }
  }
  for (const auto& entry : fs::directory_iterator(store / "segments")) {
    const fs::path file = entry.path().filename();
    if (!named.contains(file.stem()))
      return absl::StrCat("segments/", file.string(), " belongs to no version");
    if (file.extension() == ".mtm") found.insert(file.stem());
  }
  for (const auto& entry : fs::directory_iterator(store)) {
    if (entry.path().extension() == ".tmp")
      return absl::StrCat(entry.path().filename().string(), " was left behind");
  }
  if (found.size() != named.size()) return absl::StrCat(named.size() - found.size(), " segments are missing");
  return std::nullopt;
}

class CrashTest {
 public:
  CrashTest(uint64_t seed, const std::string& program, const fs::path& folder)
      : random_(seed),
        store_(folder / "store"),
        server_(program,
                {"--model", (fs::path(MTM_TESTDATA) / "golden" / "tiny").string(), "--store", store_.string(),
                 "--threads", "1", "--log-level", "warning", "--index-min-tokens", "64"},
                folder) {}

  // Starts the server and makes the clients, whose settings follow from its model.
  Fault Begin(uint64_t seed) {
    if (Fault fault = Connect()) return fault;
    v1::Model model;
    grpc::ClientContext context;
    const auto inference = v1::InferenceService::NewStub(channel_);
    if (const grpc::Status status = inference->GetModel(&context, {}, &model); !status.ok())
      return status.error_message();
    Settings settings{.model_fingerprint = model.fingerprint(),
                      .n_head = model.head_count(),
                      .head_dim = model.embedding_dim() / model.head_count()};
    for (int layer = 1; layer <= model.layer_count(); ++layer) settings.layers.push_back(layer);
    for (int i = 0; i < kClients; ++i) {
      clients_.push_back(std::make_unique<CrashClient>(
          seed * 1000 + static_cast<uint64_t>(i), absl::StrCat("client", i, "/"), settings,
          model.vocabulary_size(), static_cast<size_t>(model.context_length() - 1), digests_));
    }
    return std::nullopt;
  }

  // Kills the server that runs, checked and at work or amid the checks, and starts it again; one in five
  // times it is killed again during that start.
  Fault Kill() {
    if (Fault fault = CheckFolder(store_)) return fault;
    killed_ = false;
    n_settled_ = 0;  // no thread yet
    std::vector<std::thread> threads;
    std::vector<Fault> faults(clients_.size());
    for (size_t i = 0; i < clients_.size(); ++i) {
      threads.emplace_back([&, i] { faults[i] = SettleAndWork(*clients_[i]); });
    }
    if (Draw(4) != 0) WaitUntilSettled();
    std::this_thread::sleep_for(milliseconds(Draw(kLongestWork)));
    killed_ = true;
    server_.End(SIGKILL);
    for (std::thread& thread : threads) thread.join();
    for (const Fault& fault : faults) {
      if (fault) return fault;
    }
    if (Draw(4) == 0) {
      server_.Start();
      std::this_thread::sleep_for(milliseconds(Draw(static_cast<int>(start_time_.count()) * 5 / 4)));
      server_.End(SIGKILL);
    }
    return Connect();
  }

  // Reads all that there is, and ends the server well.
  Fault End() {
    if (Fault fault = CheckFolder(store_)) return fault;
    killed_ = false;
    for (const auto& client : clients_) {
      bool done = false;
      if (Fault fault = client->Settle(*stub_, killed_, /*verify_all=*/true, done)) return fault;
    }
    if (server_.End(SIGTERM) != 0) return "the server did not end well";
    return std::nullopt;
  }

  Fault Connect() {
    const auto start = std::chrono::steady_clock::now();
    server_.Start();
    const std::optional<int> port = server_.WaitForPort(kTimeToStart);
    if (!port) return "the server did not start";
    start_time_ = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a port may come again
    channel_ = grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", *port),
                                         grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::MemoryService::NewStub(channel_);
    return std::nullopt;
  }

  void Report() const {
    std::map<Operation::Kind, int> answered;
    int n_happened = 0, n_lost = 0;
    for (const auto& client : clients_) {
      for (const auto& [kind, n] : client->answered()) answered[kind] += n;
      n_happened += client->n_happened();
      n_lost += client->n_lost();
    }
    std::cout << "answered:";
    for (const auto& [kind, n] : answered) std::cout << " " << NameOf(kind) << " " << n << ",";
    std::cout << " without an answer: " << n_happened << " had happened, " << n_lost
              << " had not; the last start took " << start_time_.count() << " ms\n";
  }

 private:
  Fault SettleAndWork(CrashClient& client) {
    bool done = false;
    Fault fault = client.Settle(*stub_, killed_, /*verify_all=*/false, done);
    {
      const std::lock_guard lock(mutex_);
      ++n_settled_;
      settled_.notify_one();
    }
    if (fault || !done) return fault;
    return client.Work(*stub_, killed_);
  }

  void WaitUntilSettled() {
    std::unique_lock lock(mutex_);
    settled_.wait(lock, [this] { return n_settled_ == clients_.size(); });
  }

  // 0..most.
  int Draw(int most) { return std::uniform_int_distribution<int>(0, most)(random_); }

  std::mt19937_64 random_;
  const fs::path store_;
  ServerProcess server_;
  milliseconds start_time_{0};
  Digests digests_;
  std::vector<std::unique_ptr<CrashClient>> clients_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::MemoryService::Stub> stub_;
  std::atomic<bool> killed_ = false;
  std::mutex mutex_;  // guards what follows
  std::condition_variable settled_;
  size_t n_settled_ = 0;
};

int Run(int kills, uint64_t seed, const std::string& program) {
  std::string pattern = (fs::temp_directory_path() / "mtm_crash.XXXXXX").string();
  const fs::path folder = mkdtemp(pattern.data());
  std::cout << "seed " << seed << ", " << kills << " kills, in " << folder.string() << std::endl;
  int passed = 0;
  Fault fault;
  {
    CrashTest test(seed, program, folder);
    fault = test.Begin(seed);
    for (; !fault && passed < kills; ++passed) {
      if (passed % 50 == 49) std::cout << passed + 1 << " kills" << std::endl;
      if ((fault = test.Kill())) break;
    }
    if (!fault) fault = test.End();
    test.Report();
  }
  if (fault) {
    std::cout << "FAILED after " << passed << " kills: " << *fault << "\n";
  } else {
    fs::remove_all(folder);
  }
  std::cout << passed << " passed, " << (fault ? 1 : 0) << " failed" << std::endl;
  return fault ? 1 : 0;
}

}  // namespace
}  // namespace mtm

int main(int argc, char** argv) {
  int kills = 10;
  uint64_t seed = std::random_device()();
  std::string program = MTM_SERVER;
  CLI::App app("Kills a server again and again and looks whether memories survive.");
  app.add_option("--kills", kills, "How often")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  app.add_option("--seed", seed, "Of what is done and when; default: drawn");
  app.add_option("--server", program, "The server's program")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return mtm::Run(kills, seed, program);
}
