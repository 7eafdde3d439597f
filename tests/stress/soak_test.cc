// SPDX-License-Identifier: Apache-2.0
// Soaks a real server in mixed load: generations and scores with and without memories, writes, and clients
// that leave, stop reading, run out of time, abandon uploads and send garbage. Afterwards: every honest
// request ended well or was refused with RetryInfo, the writers' memories are what they must be, and memory
// and descriptors stayed flat.
//   soak_test [--minutes N] [--seed S] [--server PROGRAM]
// Exit status 1 where anything was wrong; the folder, with the server's log, is kept then.
#include "tests/stress/soak.h"

#include <grpcpp/client_context.h>
#include <signal.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/stress/crash_client.h"
#include "tests/stress/process_usage.h"
#include "tests/stress/server_process.h"
#include "tests/stress/soak_clients.h"

namespace mtm {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kTimeToStart(120'000);  // with sanitizers on a loaded machine
constexpr milliseconds kTimeToTidy(30'000);    // connections that said nothing are closed after ten seconds
constexpr int kMemories = 4;
constexpr int kMemoryTokens = 100;  // some windows; from 64 on they are searched by an index

// What the allocator keeps of many threads' blocks of all sizes creeps for a while after the warm-up; a leak
// of 100 bytes a request comes to more within half an hour. Prompts that are kept for later ones are no
// leak, and a 32nd of the machine's memory by default: the server gets a cap that is soon reached.
constexpr double kMemoryShare = 0.05;
constexpr int64_t kMemorySlack = 8 << 20;
// Clients come and go: so many more may be connected at one moment than at another.
constexpr int64_t kDescriptorSlack = 8;
// gRPC's pollers make theirs when they are first needed.
constexpr int64_t kIdleDescriptorSlack = 8;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsMemoryOurs = false;  // a sanitizer keeps what was freed; LeakSanitizer judges at the end
#else
constexpr bool kIsMemoryOurs = true;
#endif

struct Client {
  void (*run)(Soak&, uint64_t seed);
  int count;
};

constexpr Client kClients[] = {
    {Generate, 3},    {StreamGenerate, 4}, {Score, 2},         {AskTheSame, 1},     {Leave, 2},
    {StopReading, 3}, {RunOutOfTime, 2},   {AbandonWrites, 1}, {SendNoMessages, 1}, {SendNoHttp, 2}};
constexpr int kWriters = 2;

Settings SettingsOf(const v1::Model& model) {
  Settings settings{.model_fingerprint = model.fingerprint(),
                    .n_head = model.head_count(),
                    .head_dim = model.embedding_dim() / model.head_count()};
  for (int layer = 1; layer <= model.layer_count(); ++layer) settings.layers.push_back(layer);
  return settings;
}

class SoakTest {
 public:
  SoakTest(ServerProcess& server, uint64_t seed) : server_(server), random_(seed) {}

  void Run(Clock::duration duration) {
    if (!Begin()) return;
    std::vector<std::jthread> threads;
    for (const Client& client : kClients) {
      for (int i = 0; i < client.count; ++i)
        threads.emplace_back([this, &client, seed = random_()] { client.run(*soak_, seed); });
    }
    for (int i = 0; i < kWriters; ++i)
      threads.emplace_back([this, i, seed = random_()] { Write(seed, absl::StrCat("writer", i, "/")); });
    Watch(duration);
    soak_->Stop();
    threads.clear();  // waits for them
    End();
  }

  int64_t n_counted() const { return soak_ ? soak_->n_counted() : 0; }
  int64_t n_failed() const { return (soak_ ? soak_->n_failed() : 0) + n_failed_; }

 private:
  void Fail(const std::string& fault) {
    ++n_failed_;
    std::cout << "FAILED: " << fault << std::endl;
  }

  // Starts the server and makes the memories that requests use.
  bool Begin() {
    server_.Start();
    const std::optional<int> port = server_.WaitForPort(kTimeToStart);
    if (!port) return Fail("the server did not start"), false;
    const auto channel = Soak(*port, {}, {}).Connect();
    v1::Model model;
    grpc::ClientContext context;
    grpc::Status status = v1::InferenceService::NewStub(channel)->GetModel(&context, {}, &model);
    std::vector<std::string> names;
    const auto memories = v1::MemoryService::NewStub(channel);
    for (int i = 0; i < kMemories && status.ok(); ++i) {
      Operation operation{.name = absl::StrCat("base/", i), .settings = SettingsOf(model)};
      for (int token = 0; token < kMemoryTokens; ++token)
        operation.tokens.push_back(
            static_cast<int32_t>(random_() % static_cast<uint64_t>(model.vocabulary_size())));
      names.push_back(operation.name);
      v1::Memory memory;
      status = Perform(*memories, operation, {}, digests_, memory);
    }
    if (!status.ok()) return Fail(absl::StrCat("the first calls: ", Describe(status))), false;
    soak_.emplace(*port, model, names);
    idle_ = ProcessUsage::Of(server_.pid());
    return true;
  }

  // Changes memories of its own, and compares all of them with what they must be at the end.
  void Write(uint64_t seed, const std::string& prefix) {
    const auto stub = v1::MemoryService::NewStub(soak_->Connect());
    CrashClient writer(seed, prefix, SettingsOf(soak_->model()), soak_->model().vocabulary_size(),
                       static_cast<size_t>(soak_->model().context_length() - 1), digests_);
    auto fault = writer.Work(*stub, soak_->stop());
    bool done = false;
    const std::atomic<bool> killed = false;
    if (!fault) fault = writer.Settle(*stub, killed, /*verify_all=*/true, done);
    if (fault) soak_->Fail(absl::StrCat("a writer: ", *fault));
    for (const auto& [kind, n] : writer.answered()) {
      for (int i = 0; i < n; ++i) soak_->Count("writes", NameOf(kind));
    }
  }

  // Measures the server until the end.
  void Watch(Clock::duration duration) {
    const auto interval =
        std::clamp<Clock::duration>(duration / 120, milliseconds(50), std::chrono::seconds(5));
    const auto end = Clock::now() + duration;
    std::vector<int64_t> bytes, descriptors;
    ProcessUsage most;
    while (Clock::now() < end) {
      std::this_thread::sleep_for(interval);
      const ProcessUsage usage = ProcessUsage::Of(server_.pid());
      if (usage.threads == 0) return Fail("the server ended by itself");
      bytes.push_back(usage.resident_bytes);
      descriptors.push_back(usage.descriptors);
      most.resident_bytes = std::max(most.resident_bytes, usage.resident_bytes);
      most.descriptors = std::max(most.descriptors, usage.descriptors);
      most.threads = std::max(most.threads, usage.threads);
    }
    std::cout << "resident: " << (idle_.resident_bytes >> 20) << " MiB idle, at most "
              << (most.resident_bytes >> 20) << ", at the end " << (bytes.back() >> 20)
              << "; descriptors: " << idle_.descriptors << " idle, at most " << most.descriptors
              << "; threads: at most " << most.threads << std::endl;
    if (kIsMemoryOurs) Judge(Growth("resident memory", bytes, kMemoryShare, kMemorySlack));
    Judge(Growth("the number of descriptors", descriptors, 0, kDescriptorSlack));
  }

  void Judge(const std::optional<std::string>& fault) {
    if (fault) Fail(*fault);
  }

  // All clients have gone: so do their connections, and the server ends well.
  void End() {
    const auto deadline = Clock::now() + kTimeToTidy;
    const int64_t most = idle_.descriptors + kIdleDescriptorSlack;
    int64_t descriptors = 0;
    while ((descriptors = ProcessUsage::Of(server_.pid()).descriptors) > most && Clock::now() < deadline)
      std::this_thread::sleep_for(milliseconds(50));
    if (descriptors > most) Fail(absl::StrCat(descriptors, " descriptors are left, above ", most));
    if (const int status = server_.End(SIGTERM); status != 0)
      Fail(absl::StrCat("the server ended with ", status));
    std::cout << soak_->Report();
    if (soak_->n_counted() == 0) Fail("nothing was tested");
  }

  ServerProcess& server_;
  std::mt19937_64 random_;
  Digests digests_;
  std::optional<Soak> soak_;
  ProcessUsage idle_;
  int64_t n_failed_ = 0;
};

int Run(double minutes, uint64_t seed, const std::string& program) {
  std::string pattern = (fs::temp_directory_path() / "mtm_soak.XXXXXX").string();
  const fs::path folder = mkdtemp(pattern.data());
  std::cout << "seed " << seed << ", " << minutes << " minutes, in " << folder.string() << std::endl;
  // Memories do not all fit, so that they come and go; nor do all requests, so that some are refused.
  ServerProcess server(program,
                       {"--model",
                        (fs::path(MTM_TESTDATA) / "golden" / "tiny").string(),
                        "--store",
                        (folder / "store").string(),
                        "--threads",
                        "1",
                        "--log-level",
                        "warning",
                        "--index-min-tokens",
                        "64",
                        "--max-resident-bytes",
                        "2MiB",
                        "--max-sequences",
                        "10",
                        "--max-waiting",
                        "8",
                        "--stall-timeout-ms",
                        "2000",
                        "--max-prompt-cache-bytes",
                        "2MiB"},
                       folder);
  SoakTest test(server, seed);
  test.Run(
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::ratio<60>>(minutes)));
  if (test.n_failed() == 0) fs::remove_all(folder);
  std::cout << test.n_counted() << " passed, " << test.n_failed() << " failed" << std::endl;
  return test.n_failed() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace mtm

int main(int argc, char** argv) {
  double minutes = 0.25;
  uint64_t seed = std::random_device()();
  std::string program = MTM_SERVER;
  CLI::App app("Soaks a server in mixed load and looks whether it stays as it was.");
  app.add_option("--minutes", minutes, "How long")->check(CLI::Range(0.05, 100'000.0))->capture_default_str();
  app.add_option("--seed", seed, "Of what is done; default: drawn");
  app.add_option("--server", program, "The server's program")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return mtm::Run(minutes, seed, program);
}
