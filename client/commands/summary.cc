// SPDX-License-Identifier: Apache-2.0
#include "client/commands/summary.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/render/format.h"
#include "client/render/table.h"
#include "client/render/text_width.h"

namespace mtm::client {
namespace {

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

// name@digest with the digest cut to what is enough.
std::string ShortReference(const std::string& reference) {
  const size_t at = reference.find('@');
  if (at == std::string::npos) return reference;
  return absl::StrCat(reference.substr(0, at + 1), ShortDigest(reference.substr(at + 1)));
}

// The alternatives of one token, none of them broken by a table's wrapping.
std::string TopText(const v1::TokenDetail& detail) {
  std::vector<std::string> parts;
  for (const v1::TokenLogprob& top : detail.top()) {
    const std::string part = absl::StrFormat("%s %.3f", Quoted(top.token()), top.logprob());
    parts.push_back(absl::StrReplaceAll(part, {{" ", "\u00A0"}}));
  }
  return absl::StrJoin(parts, "  ");
}

std::string UseText(const v1::MemoryUse& use) {
  std::string text = absl::StrCat(ShortReference(use.memory()), " in layer",
                                  use.layers_size() == 1 ? " " : "s ", LayersText(use.layers()));
  // MethodTypeN has the number N.
  absl::StrAppend(&text, ": Type ", static_cast<int>(use.method()), ", k ", use.k(), ", MF ",
                  use.memory_fraction(), ", BF ", use.bookkeeping_fraction(), ", TS ", use.score_scale());
  if (use.method() != v1::METHOD_TYPE_1) absl::StrAppend(&text, ", R ", use.residual_fraction());
  if (use.has_head_fraction() && use.head_fraction() < 1) {
    absl::StrAppend(&text, ", at most ", FormatPercent(use.head_fraction()), " of tokens-heads");
  }
  return text;
}

}  // namespace

std::vector<std::string> UseTexts(const v1::AppliedRequest& applied) {
  std::vector<std::string> texts;
  for (int i = 0; i < applied.memory_uses_size(); ++i) {
    texts.push_back(UseText(applied.memory_uses(i)));
    if (i < applied.memory_searches_size() && applied.memory_searches(i) == v1::MEMORY_SEARCH_APPROXIMATE) {
      texts.back() += ", approximate search";
    }
  }
  return texts;
}

std::string LayersText(const google::protobuf::RepeatedField<int32_t>& layers) {
  return FormatLayers({layers.data(), static_cast<size_t>(layers.size())});
}

std::string WeightsText(v1::WeightType weights) {
  switch (weights) {
    case v1::WEIGHT_TYPE_F32:
      return "fp32";
    case v1::WEIGHT_TYPE_F16:
      return "fp16";
    case v1::WEIGHT_TYPE_INT8:
      return "int8";
    case v1::WEIGHT_TYPE_BF16:
      return "bf16";
    default:
      return "unknown";
  }
}

std::string UseNames(const v1::AppliedRequest& applied) {
  return absl::StrJoin(applied.memory_uses(), ", ", [](std::string* out, const v1::MemoryUse& use) {
    absl::StrAppend(out, use.memory().substr(0, use.memory().find('@')));
  });
}

std::string ChangedText(const v1::Usage& usage) {
  const double total = static_cast<double>(usage.tokens_heads_total());
  return absl::StrCat(
      FormatCount(usage.tokens_heads_changed()), " of ", FormatCount(usage.tokens_heads_total()),
      " tokens-heads changed (",
      FormatPercent(total > 0 ? static_cast<double>(usage.tokens_heads_changed()) / total : 0), ")");
}

std::string FinishText(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_MAX_TOKENS:
      return "token limit reached";
    case v1::FINISH_REASON_STOP:
      return "stop string";
    case v1::FINISH_REASON_END_OF_TEXT:
      return "end of text";
    case v1::FINISH_REASON_CONTEXT_FULL:
      return "context full";
    case v1::FINISH_REASON_TIME_LIMIT:
      return "time limit reached";
    default:
      return "finished";
  }
}

absl::Duration TotalTime(const v1::Timings& timings) {
  return FromProto(timings.prompt()) + FromProto(timings.generation());
}

std::string GenerationSummary(const v1::AppliedRequest& applied, const v1::Usage& usage,
                              const v1::Timings& timings) {
  std::string text = FormatCounted(usage.generated_tokens(), "token");
  if (usage.reused_prompt_tokens() > 0) {
    absl::StrAppend(&text, ", ", FormatCount(usage.reused_prompt_tokens()), " of ",
                    FormatCount(usage.prompt_tokens()), " prompt tokens reused");
  }
  if (applied.memory_uses_size() > 0) absl::StrAppend(&text, ", ", ChangedText(usage));
  const absl::Duration total = TotalTime(timings);
  absl::StrAppend(&text, ", ", FormatElapsed(total));
  if (total > absl::ZeroDuration()) {
    const double rate = static_cast<double>(usage.generated_tokens()) / absl::ToDoubleSeconds(total);
    absl::StrAppend(&text, absl::StrFormat(" (%.1f tokens/s)", rate));
  }
  if (const absl::Duration queued = FromProto(timings.queued()); queued >= absl::Milliseconds(100)) {
    absl::StrAppend(&text, " after ", FormatElapsed(queued), " of waiting");
  }
  absl::StrAppend(&text, ", seed ", applied.parameters().sampling().seed());
  return text;
}

std::string DetailTable(const std::vector<v1::TokenDetail>& details, int width, const Style& style) {
  bool any_top = false;
  for (const v1::TokenDetail& detail : details) any_top = any_top || detail.top_size() > 0;
  std::vector<Column> columns = {
      {"token"}, {"id", Align::kRight}, {"logprob", Align::kRight}, {"probability", Align::kRight}};
  if (any_top) columns.push_back({"most probable"});
  std::vector<Row> rows;
  for (const v1::TokenDetail& detail : details) {
    const v1::TokenLogprob& chosen = detail.chosen();
    rows.push_back({Quoted(chosen.token()), absl::StrCat(chosen.token_id()),
                    absl::StrFormat("%.4f", chosen.logprob()), FormatPercent(std::exp(chosen.logprob()))});
    if (any_top) rows.back().push_back(TopText(detail));
  }
  return absl::StrReplaceAll(RenderTable(columns, rows, width, style), {{"\u00A0", " "}});
}

std::string Quoted(const std::string& text) { return absl::StrCat("\"", EscapeControl(text), "\""); }

}  // namespace mtm::client
