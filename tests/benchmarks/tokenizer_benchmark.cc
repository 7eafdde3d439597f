// SPDX-License-Identifier: Apache-2.0
// Encoding speed on ordinary and on adversarial texts of a megabyte. Argument: none but Google Benchmark's.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "server/text/tokenizer.h"

namespace mtm {
namespace {

constexpr size_t kBytes = 1 << 20;

std::filesystem::path Folder() { return std::filesystem::path(MTM_TESTDATA) / "tokenizer"; }

const Tokenizer& Gpt2() {
  static const auto* const tokenizer = new std::unique_ptr<Tokenizer>(Tokenizer::Load(Folder()).value());
  return **tokenizer;
}

std::string Repeat(const std::string& unit, size_t bytes = kBytes) {
  std::string text;
  while (text.size() + unit.size() <= bytes) text += unit;
  return text;
}

// Words of 1 to 12 letters drawn with a fixed seed; about one in eight is new.
std::string Words() {
  std::string text;
  uint32_t state = 1;
  const auto next = [&state] { return (state = state * 1664525u + 1013904223u) >> 8; };
  while (text.size() < kBytes) {
    uint32_t word = next() % 8 ? next() % 3000 : next();
    const uint32_t letters = 1 + word % 12;
    for (uint32_t i = 0; i < letters; ++i, word = word * 1664525u + 1013904223u) {
      text += static_cast<char>('a' + (word >> 24) % 26);
    }
    text += next() % 10 ? " " : ".\n";
  }
  return text;
}

std::string RandomLetters() {
  std::string text;
  for (uint32_t n = 1; text.size() < kBytes; n = n * 1664525u + 1013904223u)
    text += static_cast<char>('a' + (n >> 24) % 26);
  return text;
}

// The golden texts with their JSON: many scripts, punctuation and numbers.
std::string ManyScripts() {
  std::ifstream stream(Folder() / "tokenizer.jsonl");
  return Repeat(std::string(std::istreambuf_iterator<char>(stream), {}));
}

void Encode(benchmark::State& state, const std::string& text) {
  for (auto _ : state) benchmark::DoNotOptimize(Gpt2().Encode(text).value());
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
}

BENCHMARK_CAPTURE(Encode, words, Words())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, many_scripts, ManyScripts())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, one_letter, Repeat("a"))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, spaces, Repeat(" "))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, one_emoji, Repeat("\U0001F600"))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, random_letters, RandomLetters())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, digits, Repeat("1234567890"))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, letter_and_1000_spaces, Repeat("a" + std::string(1000, ' ')))
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, one_letter_16_mb, Repeat("a", 16 * kBytes))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Encode, short_prompt,
                  std::string("\nThe name of the city with the largest area in Canada is"))
    ->Unit(benchmark::kMicrosecond);

void Decode(benchmark::State& state) {
  const std::string text = Words();
  const auto ids = Gpt2().Encode(text).value();
  for (auto _ : state) benchmark::DoNotOptimize(Gpt2().Decode(ids));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
}
BENCHMARK(Decode)->Unit(benchmark::kMillisecond);

void Load(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::Load(Folder()).value());
}
BENCHMARK(Load)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mtm
