// SPDX-License-Identifier: Apache-2.0
#include "client/options/generate_options.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/options/lists.h"
#include "client/options/memory_use_spec.h"

namespace mtm::client {
namespace {

constexpr char kMemoryGroup[] = "Memory";
constexpr char kSamplingGroup[] = "Generation";

struct ShortForm {
  const char* key;
  const char* flag;
  const char* type;
  const char* help;
};

constexpr ShortForm kShortForms[] = {
    {"layers", "--layers", "LIST", "layers where it acts, from 1, as 7-9 or 7,8,9"},
    {"method", "--method", "1|2|3", "what replaces a value (default 3)"},
    {"k", "-k", "N", "neighbours looked up (default 5)"},
    {"mf", "--mf", "X", "memory fraction, >= 0 (default 5)"},
    {"bf", "--bf", "X", "bookkeeping fraction, 0..1 (default 0.9)"},
    {"ts", "--ts", "X", "score scale, > 0 (default 0.01)"},
    {"r", "--resid", "X", "share of the original value kept, 0..1 (default 0.33)"},
    {"heads", "--heads", "X", "most of a layer's tokens-heads changed, > 0..1 (default 1)"},
};

// What is no duration stays out of range, for the server to refuse.
google::protobuf::Duration ToProto(double seconds) {
  const absl::Duration duration = absl::Seconds(seconds);
  google::protobuf::Duration proto;
  proto.set_seconds(absl::ToInt64Seconds(duration));
  proto.set_nanos(static_cast<int32_t>((duration % absl::Seconds(1)) / absl::Nanoseconds(1)));
  return proto;
}

}  // namespace

void MemoryOptions::AddTo(CLI::App& command) {
  command
      .add_option("--memory", memories,
                  "a memory to use, again for more: NAME[@DIGEST][:key=value,...],\n"
                  "keys layers, method, k, mf, bf, ts, r, heads")
      ->type_name("USE")
      ->allow_extra_args(false)
      ->group(kMemoryGroup);
  for (const ShortForm& form : kShortForms) {
    const std::string key = form.key;
    command
        .add_option_function<std::string>(
            form.flag, [this, key](const std::string& value) { short_forms[key] = value; }, form.help)
        ->type_name(form.type)
        ->group(kMemoryGroup);
  }
}

absl::StatusOr<std::vector<v1::MemoryUse>> MemoryOptions::Uses() const {
  v1::MemoryUse defaults;
  for (const ShortForm& form : kShortForms) {
    const auto given = short_forms.find(form.key);
    if (given == short_forms.end()) continue;
    if (memories.empty()) return absl::InvalidArgumentError(absl::StrCat(form.flag, " needs a --memory"));
    const absl::Status status = SetMemoryUseField(form.key, given->second, defaults);
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(form.flag, ": ", std::string(status.message())));
    }
  }
  std::vector<v1::MemoryUse> uses;
  for (const std::string& memory : memories) {
    auto use = ParseMemoryUse(memory);
    if (!use.ok()) return use.status();
    ApplyDefaults(defaults, *use);
    uses.push_back(*std::move(use));
  }
  return uses;
}

void PromptOptions::AddTo(CLI::App& command) {
  command
      .add_option("PROMPT", prompt, "the text to continue; - reads standard input, less one final line feed")
      ->required()
      ->type_name("");
  command.add_flag("--tokens", tokens, "PROMPT holds token ids, as \"464 3797 318\"");
  command.add_flag("--no-newline", no_newline, "no newline token before the prompt");
}

template <typename Request>
absl::Status PromptOptions::Fill(Request& request) const {
  if (no_newline) request.set_leading_newline(false);
  if (!tokens) {
    request.set_prompt(prompt);
    return absl::OkStatus();
  }
  const auto ids = ParseTokenIds(prompt);
  if (!ids.ok()) return ids.status();
  request.mutable_prompt_tokens()->mutable_ids()->Add(ids->begin(), ids->end());
  return absl::OkStatus();
}

template absl::Status PromptOptions::Fill(v1::GenerateRequest&) const;
template absl::Status PromptOptions::Fill(v1::ScoreRequest&) const;

void AddModeOption(CLI::App& command, std::string& mode) {
  command.add_option("--mode", mode, "cached (default) or exact: recompute the whole context at each step")
      ->check(CLI::Validator(
          [](std::string& text) {
            return text == "exact" || text == "cached" ? "" : "must be exact or cached";
          },
          ""))
      ->type_name("MODE")
      ->group(kSamplingGroup);
}

v1::Mode ParseMode(const std::string& mode) {
  if (mode == "exact") return v1::MODE_EXACT;
  return mode == "cached" ? v1::MODE_CACHED : v1::MODE_UNSPECIFIED;
}

void GenerateOptions::AddTo(CLI::App& command) {
  prompt.AddTo(command);
  memory.AddTo(command);
  AddModeOption(command, mode);
  const auto add = [&](const char* flag, auto& value, const char* type, const char* help) {
    command.add_option(flag, value, help)->type_name(type)->group(kSamplingGroup);
  };
  add("-n,--max-tokens", max_tokens, "N", "tokens to generate (default 50)");
  add("--samples", samples, "N", "independent samples of the prompt (default 1)");
  add("--temperature", temperature, "X", "0 takes the most probable token (default 0.8)");
  add("--top-k", top_k, "N", "keep the N most probable tokens, 0 all (default 200)");
  add("--top-p", top_p, "X", "then those that reach this mass (default 1)");
  command
      .add_option("--seed", seed, "the same seed gives the same tokens (default: drawn)")
      // CLI11 would take -1 for the largest number.
      ->check(CLI::Validator(
          [](std::string& text) { return text.starts_with('-') ? "must not be negative" : ""; }, ""))
      ->type_name("N")
      ->group(kSamplingGroup);
  command.add_option("--stop", stop, "end before this string; again for more")
      ->type_name("STRING")
      ->allow_extra_args(false)
      ->group(kSamplingGroup);
  command.add_flag("--ignore-end", ignore_end, "go on past the end-of-text token")->group(kSamplingGroup);
  add("--logprobs", logprobs, "N", "each token's log-probability, with the N best others, in a table");
  add("--time-limit", time_limit_seconds, "SECONDS", "end with what there is after this long");
}

absl::StatusOr<v1::GenerateRequest> GenerateOptions::Request() const {
  v1::GenerateRequest request;
  if (absl::Status status = prompt.Fill(request); !status.ok()) return status;
  auto uses = memory.Uses();
  if (!uses.ok()) return uses.status();
  request.mutable_memory_uses()->Add(uses->begin(), uses->end());

  v1::GenerationParameters& parameters = *request.mutable_parameters();
  parameters.set_mode(ParseMode(mode));
  if (max_tokens) parameters.set_max_tokens(*max_tokens);
  if (samples) parameters.set_sample_count(*samples);
  if (logprobs) parameters.set_top_logprobs(*logprobs);
  if (time_limit_seconds) *parameters.mutable_time_limit() = ToProto(*time_limit_seconds);
  parameters.set_ignore_end_of_text(ignore_end);
  parameters.mutable_stop()->Add(stop.begin(), stop.end());
  v1::SamplingParameters& sampling = *parameters.mutable_sampling();
  if (temperature) sampling.set_temperature(*temperature);
  if (top_k) sampling.set_top_k(*top_k);
  if (top_p) sampling.set_top_p(*top_p);
  if (seed) sampling.set_seed(*seed);
  return request;
}

}  // namespace mtm::client
