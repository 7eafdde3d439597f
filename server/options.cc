// SPDX-License-Identifier: Apache-2.0
#include "server/options.h"

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/machine_limits.h"
#include "server/quota_option.h"

namespace mtm {
namespace {

constexpr char kExamples[] = R"(Examples:
  mtm_server serve --model models/gpt2 --store memories
  mtm_server serve --config mtm.toml --listen 127.0.0.1:0 --port-file port
  mtm_server serve --model models/gpt2 --listen 0.0.0.0:50051 --tls-cert server.crt --tls-key server.key \
      --access-file access.json
  openssl rand -hex 32 | tee token | mtm_server hash-token --name team-a
  mtm_server import-reference cats_memstore --model models/gpt2 --store memories --name cats

A config file has the flags of a command under its name; flags on the command line come first:
  [serve]
  model = "/srv/models/gpt2"
  store = "/var/lib/mtm"
  listen = "127.0.0.1:50051"
  max-text-bytes = "64MiB"
  max-resident-bytes = "8GiB"
  quota = ["*:memories=100", "team:memories=1000,bytes=50GiB"]
  shutdown-grace-ms = 10000
)";

constexpr int64_t kDefaultScrubBytes = 20'000'000;

std::string Version() {
  return std::string("mtm_server " MTM_VERSION ", built with LibTorch " MTM_LIBTORCH_VERSION
                     ", FAISS " MTM_FAISS_VERSION "; gRPC ") +
         grpc::Version();
}

void AddStore(CLI::App& serve, StoreOptions& options) {
  const CLI::Range versions(1, 1000);
  const CLI::Range at_least_one(int64_t{1}, std::numeric_limits<int64_t>::max());
  serve.add_flag("--store-read-only", options.read_only,
                 "Take no lock and change nothing; another process may write to the folder");
  serve
      .add_option("--max-versions", options.max_versions,
                  "Versions kept of each memory, with the current one")
      ->check(versions)
      ->capture_default_str();
  // The other half is for the model, key-value caches, messages, and memories beyond this that are in use.
  options.max_resident_bytes = MachineMemoryBytes() / 2;
  serve
      .add_option("--max-resident-bytes", options.max_resident_bytes,
                  "Bytes of memories kept loaded, as 8GiB; default: half of the machine's memory")
      ->transform(SizeValue())
      ->check(at_least_one);
  serve
      .add_option("--index-min-tokens", options.index.min_tokens,
                  "Parts of a memory from this many tokens on are searched by an approximate index")
      ->check(at_least_one)
      ->capture_default_str();
  options.scrub_bytes_per_second = kDefaultScrubBytes;
  serve
      .add_option("--scrub-bytes-per-second", options.scrub_bytes_per_second,
                  "Bytes a second read to check the memories in the background, as 20MB; 0: none")
      ->transform(SizeValue())
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  AddQuotaOption(serve, options);
}

void AddSecurity(CLI::App& serve, ServerOptions& options) {
  CLI::Option* certificate = serve.add_option("--tls-cert", options.tls.certificate,
                                              "PEM file of the server's certificate and those up to its CA; "
                                              "a new one is used from the next connection on");
  CLI::Option* key = serve.add_option("--tls-key", options.tls.key, "PEM file of its key, not encrypted");
  certificate->needs(key);
  key->needs(certificate);
  serve
      .add_option("--tls-client-ca", options.tls.client_ca,
                  "PEM file of CAs; only clients with a certificate of theirs may connect")
      ->needs(certificate);
  serve.add_option("--access-file", options.access_file,
                   "JSON file of tokens and their rights; read again when it changes, and on SIGHUP");
  serve.add_flag(
      "--channelz", options.channelz,
      "Serve grpc.channelz.v1, gRPC's view of its connections; with an access file to admins of * alone");
  serve.add_flag("--insecure-listen", options.insecure_listen,
                 "Listen on other addresses than the loopback without TLS");
}

// Who comes beyond these is refused or waits; together with --max-resident-bytes they bound the memory that
// is used.
void AddLimits(CLI::App& serve, ServerOptions& options) {
  const CLI::Range at_least_one(int64_t{1}, std::numeric_limits<int64_t>::max());
  const CLI::Range count(1, 1'000'000);
  WaitingLine::Limits& limits = options.engine.limits;
  serve
      .add_option("--max-sequences", limits.max_sequences, "Samples generated at once; further requests wait")
      ->check(count)
      ->capture_default_str();
  limits.max_cache_bytes = MachineMemoryBytes() / 4;
  serve
      .add_option("--max-cache-bytes", limits.max_cache_bytes,
                  "Bytes of key-value caches at once, as 4GiB; further requests wait; default: a quarter of "
                  "the machine's "
                  "memory")
      ->transform(SizeValue())
      ->check(at_least_one);
  options.engine.max_prompt_cache_bytes = MachineMemoryBytes() / 32;
  serve
      .add_option("--max-prompt-cache-bytes", options.engine.max_prompt_cache_bytes,
                  "Bytes of prompts kept for later ones that begin in the same way, as 512MiB; 0: none; "
                  "default: a 32nd of the machine's memory, on a GPU none")
      ->transform(SizeValue())
      ->check(CLI::NonNegativeNumber);
  serve.add_option("--max-waiting", limits.max_waiting, "Requests that may wait; further ones are refused")
      ->check(count)
      ->capture_default_str();
  serve
      .add_option_function<int>(
          "--max-wait-ms", [&limits](int ms) { limits.max_wait = absl::Milliseconds(ms); },
          "Longest wait for a place, after which a request is refused; default: as long as its deadline "
          "allows")
      ->check(CLI::Range(1, std::numeric_limits<int>::max()));
  serve
      .add_option("--max-client-requests", limits.max_client_requests,
                  "Requests of one client that may wait or run; further ones are refused")
      ->check(count)
      ->capture_default_str();
  serve
      .add_option_function<int>(
          "--stall-timeout-ms", [&options](int ms) { options.engine.stall_timeout = absl::Milliseconds(ms); },
          "A stream whose reader takes nothing for so long is ended")
      ->check(CLI::Range(1, std::numeric_limits<int>::max()))
      ->default_str(absl::StrCat(absl::ToInt64Milliseconds(options.engine.stall_timeout)));
  serve
      .add_option("--max-network-bytes", options.max_network_bytes,
                  "Bytes of messages that are coming in; beyond this their connections slow down, then end")
      ->transform(SizeValue())
      ->check(at_least_one)
      ->capture_default_str();
  serve
      .add_option("--max-concurrent-streams", options.max_concurrent_streams,
                  "Requests at once over one connection")
      ->check(count)
      ->capture_default_str();
  serve.add_option("--max-message-bytes", options.max_message_bytes, "Longest message from a client")
      ->transform(SizeValue())
      ->check(CLI::Range(1, std::numeric_limits<int>::max()))
      ->capture_default_str();
  serve.add_option("--max-text-bytes", options.max_text_bytes, "Longest text that a memory is made of")
      ->transform(SizeValue())
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
}

void AddServe(CLI::App& app, ServeOptions& options) {
  CLI::App& serve = *app.add_subcommand("serve", "Serve a model and its memories until SIGTERM or SIGINT");
  ServerOptions& server = options.server;
  serve.add_option("--model", options.model, "Hugging Face GPT-2 folder")->required();
  serve.add_option("--store", options.store, "Folder of memories; made where it does not exist")
      ->capture_default_str();
  AddStore(serve, options.memories);
  serve.add_option("--listen", server.listen_address, "Address and port; port 0 takes a free one")
      ->capture_default_str();
  AddSecurity(serve, server);
  serve.add_option("--port-file", options.port_file, "File that gets the port once the server is ready");
  serve.add_option(
      "--metrics-listen", options.metrics_listen,
      "Address and port of /metrics, /healthz and /readyz over HTTP, without tokens or TLS; default: none");
  serve
      .add_option("--device", options.device,
                  "cpu; cuda:N; or torch: the CPU by what a GPU runs, slower, to try that")
      ->capture_default_str();
  serve
      .add_option("--weights", options.weights,
                  "How the model's matrices are kept: fp32; on the CPU fp16, in half the room and time, or "
                  "int8, in a quarter; on a "
                  "GPU bf16, in half")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, WeightType>{{NameOf(WeightType::kF32), WeightType::kF32},
                                            {NameOf(WeightType::kF16), WeightType::kF16},
                                            {NameOf(WeightType::kInt8), WeightType::kInt8},
                                            {NameOf(WeightType::kBF16), WeightType::kBF16}}))
      ->default_str(NameOf(options.weights));
  serve
      .add_option("--cache", server.engine.cache,
                  "How key-value caches are kept on the CPU: fp32; fp16, in half the room, and faster where "
                  "much is read")
      ->transform(CLI::CheckedTransformer(std::map<std::string, DataType>{
          {NameOf(DataType::kF32), DataType::kF32}, {NameOf(DataType::kF16), DataType::kF16}}))
      ->default_str(NameOf(server.engine.cache));
  serve
      .add_option(
          "--threads", options.threads,
          "Threads of a forward pass on the CPU; 0: one a core, in a container no more than its quota")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  AddLimits(serve, server);
  serve.add_option("--shutdown-grace-ms", server.shutdown_grace_ms, "Time for requests under way to finish")
      ->check(CLI::Range(0, std::numeric_limits<int>::max()))
      ->capture_default_str();
  serve.add_option("--log-level", options.log_level, "Least severe lines to log, to standard error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error", "critical", "off"}))
      ->capture_default_str();
}

void AddImport(CLI::App& app, ImportOptions& options) {
  CLI::App& import = *app.add_subcommand(
      "import-reference", "Take in a memory that the method's published Python implementation wrote");
  import.add_option("folder", options.reference, "Folder with keyStore, valueStore and the text")->required();
  import.add_option("--model", options.model, "Folder of the model that made it")->required();
  import.add_option("--store", options.store, "Folder of memories; made where it does not exist")
      ->capture_default_str();
  import.add_option("--name", options.name, "Name of the memory; default: the folder's");
}

void AddHashToken(CLI::App& app, HashTokenOptions& options) {
  CLI::App& hash = *app.add_subcommand(
      "hash-token", "Read a token from standard input and print its entry for the access file");
  hash.add_option("--name", options.name, "Whose it is, for the log")->capture_default_str();
}

Command CommandOf(const CLI::App& app) {
  if (app.got_subcommand("import-reference")) return Command::kImportReference;
  if (app.got_subcommand("hash-token")) return Command::kHashToken;
  return Command::kServe;
}

}  // namespace

std::optional<int> ParseOptions(int argc, const char* const* argv, Options& options) {
  CLI::App app("Serves a GPT-2 model with a persistent memory over gRPC.");
  app.set_version_flag("--version", Version());
  app.set_config("--config", "", "TOML or INI file with options")->configurable(false);
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.fallthrough();  // --config may stand behind the command
  app.require_subcommand(1);
  app.footer(kExamples);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return std::string("mtm_server: ") + error.what() + " (--help shows what there is)\n";
  });
  AddServe(app, options.serve);
  AddImport(app, options.import);
  AddHashToken(app, options.hash_token);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, std::cout, std::cerr) == 0 ? 0 : 2;
  }
  options.command = CommandOf(app);
  options.serve.from_file = app.get_config_ptr()->count() > 0;
  // The machine's memory says nothing of a GPU's.
  const bool is_default = app.get_subcommand("serve")->get_option("--max-prompt-cache-bytes")->count() == 0;
  if (is_default && options.serve.device != "cpu") options.serve.server.engine.max_prompt_cache_bytes = 0;
  return std::nullopt;
}

}  // namespace mtm
