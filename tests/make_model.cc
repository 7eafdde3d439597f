// SPDX-License-Identifier: Apache-2.0
// Writes a GPT-2 folder of a real shape with random weights, for trying a server at full size where no real weights
// are at hand. It has no tokenizer: copy vocab.json and merges.txt beside it to serve text.
//   make_model gpt2|medium|large|xl DIR [SEED]
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>

#include "tests/support/model_folder.h"

namespace {

mtm::ModelConfig Shape(int n_layer, int n_head) {
  const int n_embd = 64 * n_head;
  return {.n_layer = n_layer, .n_head = n_head, .n_embd = n_embd, .n_ctx = 1024, .n_inner = 4 * n_embd,
          .vocab_size = 50257, .end_of_text = 50256};
}

const std::map<std::string, mtm::ModelConfig> kShapes = {
    {"gpt2", Shape(12, 12)}, {"medium", Shape(24, 16)}, {"large", Shape(36, 20)}, {"xl", Shape(48, 25)}};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4 || !kShapes.contains(argv[1])) {
    std::cerr << "usage: make_model gpt2|medium|large|xl DIR [SEED]\n";
    return 2;
  }
  const uint64_t seed = argc == 4 ? std::strtoull(argv[3], nullptr, 10) : 1;
  const mtm::ModelConfig& shape = kShapes.at(argv[1]);
  std::filesystem::create_directories(argv[2]);
  mtm::WriteModelFolder(argv[2], mtm::ConfigJson(shape), mtm::RandomTensors(shape, seed));
  std::cout << argv[2] << ": " << argv[1] << " shape, random weights, seed " << seed << "\n";
}
