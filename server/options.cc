// SPDX-License-Identifier: Apache-2.0
#include "server/options.h"

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <iostream>

namespace mtm {
namespace {

constexpr char kExamples[] = R"(Examples:
  mtm_server serve --model models/gpt2 --store memories
  mtm_server serve --config mtm.toml --listen 127.0.0.1:0 --port-file port
  mtm_server import-reference cats_memstore --model models/gpt2 --store memories --name cats

A config file has the flags of a command under its name; flags on the command line come first:
  [serve]
  model = "/srv/models/gpt2"
  store = "/var/lib/mtm"
  listen = "127.0.0.1:50051"
  max-text-bytes = 67108864
  shutdown-grace-ms = 10000
)";

std::string Version() {
  return std::string("mtm_server " MTM_VERSION ", built with LibTorch " MTM_LIBTORCH_VERSION
                     ", FAISS " MTM_FAISS_VERSION "; gRPC ") +
         grpc::Version();
}

void AddServe(CLI::App& app, ServeOptions& options) {
  CLI::App& serve = *app.add_subcommand("serve", "Serve a model and its memories until SIGTERM or SIGINT");
  ServerOptions& server = options.server;
  const CLI::Range at_least_one(1, std::numeric_limits<int>::max());
  serve.add_option("--model", options.model, "Hugging Face GPT-2 folder")->required();
  serve.add_option("--store", options.store, "Folder of memories; made where it does not exist")
      ->capture_default_str();
  serve.add_option("--listen", server.listen_address, "Address and port; port 0 takes a free one")
      ->capture_default_str();
  serve.add_option("--port-file", options.port_file, "File that gets the port once the server is ready");
  serve.add_option("--device", options.device, "cpu or cuda:N")->capture_default_str();
  serve.add_option("--threads", options.threads, "Threads of a forward pass on the CPU; 0: one a core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  serve.add_option("--max-message-bytes", server.max_message_bytes, "Longest message from a client")
      ->check(at_least_one)
      ->capture_default_str();
  serve.add_option("--max-text-bytes", server.max_text_bytes, "Longest text that a memory is made of")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
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
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, std::cout, std::cerr) == 0 ? 0 : 2;
  }
  options.command = app.got_subcommand("serve") ? Command::kServe : Command::kImportReference;
  return std::nullopt;
}

}  // namespace mtm
