// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_MODEL_WEIGHT_TYPE_H_
#define MTM_SERVER_MODEL_WEIGHT_TYPE_H_

namespace mtm {

// How the matrices of a model are kept in memory, whatever the checkpoint's types. All else is float32.
enum class WeightType {
  kF32,
  kF16,   // rounded to nearest; products and sums in float32
  kInt8,  // 127 levels a side, scaled by output; the input of a product in 8 bits too, scaled by row
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_WEIGHT_TYPE_H_
