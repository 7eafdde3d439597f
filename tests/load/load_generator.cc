// SPDX-License-Identifier: Apache-2.0
// Puts load on a server and says what came of it. The server should have a quiet machine, and so should this.
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "client/client.h"
#include "tests/load/load.h"
#include "tests/load/report.h"
#include "tests/load/workload.h"

namespace mtm::load {
namespace {

struct Options {
  std::string server = "127.0.0.1:50051";
  std::vector<std::string> requests = {"{}"};
  double warm_up = 2;
  std::string label;
  std::string json;
  LoadOptions load;
};

constexpr char kExamples[] =
    R"(A REQUEST is a JSON object with any of weight, prompt_tokens (64), max_tokens (64), sample_count, mode, temperature
and memories, as --memory of mtm generate takes them. Several make a mix.

Examples:
  load_generator --clients 16
  load_generator --clients 16 --request '{"memories": ["cats:layers=7-9"], "prompt_tokens": 100}'
  load_generator --rate 12 --timeout 30 --request '{"weight": 3}' --request '{"mode": "exact", "memories": ["cats"]}'
  for n in 1 4 16 32; do load_generator --clients $n --json $n.json; done; tests/load/plot.py *.json -o load.svg)";

void Add(CLI::App& app, Options& options) {
  const CLI::Range positive(1e-9, std::numeric_limits<double>::max());
  app.add_option("--server", options.server, "host:port")->capture_default_str();
  app.add_option("--request", options.requests, "A kind of request; repeat for a mix")->type_name("REQUEST");
  auto* clients = app.add_option("--clients", options.load.clients, "Closed loop: clients at once")
                      ->check(CLI::Range(1, 10'000))
                      ->capture_default_str();
  app.add_option("--rate", options.load.rate, "Open loop: requests a second, arriving at random")
      ->check(positive)
      ->excludes(clients);
  app.add_option("--seconds", options.load.seconds, "Measured time")->check(positive)->capture_default_str();
  app.add_option("--warm-up", options.warm_up, "Seconds of load before that")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--timeout", options.load.timeout_s, "Deadline of each request in seconds; default: none")
      ->check(positive);
  app.add_option("--seed", options.load.seed, "Of prompts and arrivals")->capture_default_str();
  app.add_option("--label", options.label, "What the plot calls this run");
  app.add_option("--json", options.json, "File for the report");
  app.footer(kExamples);
}

absl::StatusOr<nlohmann::ordered_json> Run(Options options) {
  std::vector<RequestKind> kinds;
  for (const std::string& text : options.requests) {
    auto kind = RequestKind::Parse(text);
    if (!kind.ok()) return kind.status();
    kinds.push_back(*std::move(kind));
  }
  const auto model = client::Client({.address = options.server}).GetModel();
  if (!model.ok()) return model.status();
  const Window window{.begin = options.warm_up, .end = options.warm_up + options.load.seconds};
  options.load.seconds = window.end;
  const std::vector<Record> records = RunLoad(options.server, *model, kinds, options.load);

  nlohmann::ordered_json report = {
      {"label", options.label}, {"model", model->name()}, {"device", model->device()}};
  if (options.load.rate > 0) {
    report["rate"] = options.load.rate;
  } else {
    report["clients"] = options.load.clients;
  }
  report["seed"] = options.load.seed;
  report["all"] = Summarize(records, window);
  for (size_t i = 0; i < kinds.size(); ++i) {
    std::vector<Record> own;
    for (const Record& record : records) {
      if (record.kind == i) own.push_back(record);
    }
    report["kinds"].push_back({{"request", nlohmann::ordered_json::parse(options.requests[i])},
                               {"summary", Summarize(own, window)}});
  }
  return report;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Puts load on an mtm server: closed loop (--clients) or open loop (--rate).");
  Add(app, options);
  CLI11_PARSE(app, argc, argv);
  const auto report = Run(options);
  if (!report.ok()) {
    std::cerr << "load_generator: " << report.status().message() << "\n";
    return 1;
  }
  std::cout << Describe((*report)["all"]);
  if ((*report)["kinds"].size() > 1) {
    for (const auto& kind : (*report)["kinds"])
      std::cout << "\n" << kind["request"] << "\n" << Describe(kind["summary"]);
  }
  if (options.json.empty()) return 0;
  std::ofstream file(options.json);
  file << report->dump(2) << "\n";
  if (file.flush().good()) return 0;
  std::cerr << "load_generator: cannot write " << options.json << "\n";
  return 1;
}

}  // namespace
}  // namespace mtm::load

int main(int argc, char** argv) { return mtm::load::Main(argc, argv); }
