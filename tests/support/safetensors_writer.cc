// SPDX-License-Identifier: Apache-2.0
#include "tests/support/safetensors_writer.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "nlohmann/json.hpp"

namespace mtm {
namespace {

// LibTorch is not used here: what it reads should not come from its own conversions.
uint16_t ToHalf(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float magnitude = std::abs(value);
  if (magnitude < 0x1p-14f) return sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f));
  const int exponent = std::ilogb(magnitude);
  const auto mantissa = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));  // 1024..2048
  return sign | static_cast<uint16_t>(((exponent + 14) << 10) + mantissa);
}

float FromHalf(uint16_t bits) {
  const int exponent = bits >> 10 & 0x1f, mantissa = bits & 0x3ff;
  const float magnitude =
      exponent == 0 ? std::ldexp(float(mantissa), -24) : std::ldexp(float(mantissa + 1024), exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

uint16_t ToBfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float FromBfloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

template <typename T>
void Append(T value, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

std::string SafetensorsFileOf(const std::string& header, const std::string& data) {
  std::string file;
  Append(uint64_t{header.size()}, file);
  return file + header + data;
}

std::string SafetensorsFileOf(const std::vector<StoredTensor>& tensors) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const StoredTensor& tensor : tensors) {
    const size_t begin = data.size();
    data += tensor.bytes;
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  return SafetensorsFileOf(header.dump(), data);
}

std::string Encode(const std::string& dtype, const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) {
    if (dtype == "F32") {
      Append(value, bytes);
    } else {
      Append(dtype == "F16" ? ToHalf(value) : ToBfloat16(value), bytes);
    }
  }
  return bytes;
}

std::vector<float> Decode(const std::string& dtype, const std::string& bytes) {
  const size_t size = dtype == "F32" ? 4 : 2;
  std::vector<float> values(bytes.size() / size);
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == "F32") {
      std::memcpy(&values[i], &bytes[i * size], size);
    } else {
      uint16_t bits;
      std::memcpy(&bits, &bytes[i * size], size);
      values[i] = dtype == "F16" ? FromHalf(bits) : FromBfloat16(bits);
    }
  }
  return values;
}

}  // namespace mtm
