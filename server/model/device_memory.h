// SPDX-License-Identifier: Apache-2.0
// Private to server/model: includes LibTorch.
#ifndef MTM_SERVER_MODEL_DEVICE_MEMORY_H_
#define MTM_SERVER_MODEL_DEVICE_MEMORY_H_

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "memory_store/memory.h"
#include "server/model/memory_use.h"

namespace mtm {

// What a memory stores in one layer, on a device.
struct StoredLayer {
  at::Tensor keys, values;  // [n_head, n, head_dim], of the memory's type
  at::Tensor squares;       // [n_head, n]: the keys' squared lengths, float32

  StoredLayer(const Memory& memory, int layer, c10::Device device);
};

// Stored layers on a device, shared by the sequences that use them and kept for later ones as long as the
// memory's segments are loaded: so StoreOptions::max_resident_bytes bounds them too. Where there is no room
// for another, those in no use go. Thread-safe.
class StoredLayers {
 public:
  using Copy = std::function<std::shared_ptr<const StoredLayer>(const Memory&, int layer)>;

  explicit StoredLayers(c10::Device device);
  explicit StoredLayers(Copy copy) : copy_(std::move(copy)) {}  // for tests

  // nullptr: it is not there.
  std::shared_ptr<const StoredLayer> Find(const Memory& memory, int layer);
  // Copies it to the device, or waits while another thread does, unless it is there. Throws as LibTorch does.
  std::shared_ptr<const StoredLayer> Get(const Memory& memory, int layer);

 private:
  // A layer that is there or on its way.
  struct Place {
    std::mutex mutex;  // held while it is copied; guards what follows
    std::shared_ptr<const StoredLayer> stored;
    std::atomic<bool> is_there = false;
  };
  struct Entry {
    std::vector<std::weak_ptr<const Segment>> segments;  // the memory's
    int layer;
    std::shared_ptr<Place> place;
  };

  std::shared_ptr<Place> PlaceOf(const Memory& memory, int layer);
  void DropUnused();

  const Copy copy_;
  std::mutex mutex_;  // guards what follows
  std::vector<Entry> entries_;
};

// What MemoryLayer is, in LibTorch's operations on the cache's device. A tokens-head is looked up when its
// row is run, whether it will be selected or not: what is selected stays on the device, and no step waits for
// it. An update is LookUp and Select. Which positions they are about is on the device too, so that the
// operations of one step can be those of the next (device_step.h). The nearest keys are candidates of a
// float32 product, ranked by their distances in double: with more than kExtraCandidates that are nearer than
// float32 tells apart, one of them may be missed.
class DeviceMemoryLayer {
 public:
  // `layer` from 1; `use_index` is the use's place in its sequence.
  DeviceMemoryLayer(const MemoryUse& use, int use_index, int layer, std::shared_ptr<const StoredLayer> stored,
                    int capacity, bool trace);

  // Rows that are new, or recomputed because their input changed.
  struct NewRows {
    DeviceMemoryLayer* layer;
    at::Tensor positions;          // [count], int64
    at::Tensor query, key, value;  // [n_head, count, head_dim]
  };
  // Takes them and looks them up, those together that share a memory's layer and the parameters.
  static void LookUp(std::span<const NewRows> all);

  // Selects by the newest position's attention s [n_head, n] and brings V' of positions [0, n) up to date;
  // value: the cache. `length`, a number in double: t of METHOD 2; s is 0 from there on.
  void Select(const at::Tensor& attention, const at::Tensor& length, const at::Tensor& value);
  // The first position whose V' that changed, n where none did. Waits for the device.
  int FirstChanged() const;

  const at::Tensor& queries() const { return query_; }       // [n_head, capacity, head_dim]
  const at::Tensor& mixed_values() const { return mixed_; }  // V', [n_head, capacity, head_dim]
  at::Tensor n_selected() const { return selected_.sum(); }  // a number, on the device

  // Appends an entry for each selected tokens-head. Waits for the device.
  void AppendTrace(std::vector<TraceEntry>& trace) const;

  // A copy shares its tensors with the original until this is called on both. True: it had to copy some.
  bool Unshare();

 private:
  void SetRows(const NewRows& rows);
  // Rows of sequences that have what this one has.
  void LookUpTogether(std::span<const NewRows> all) const;
  // What is found for rows [n_head, count, head_dim]; few enough that their distances to a part of the memory
  // fit.
  struct Found {
    at::Tensor mixed;                          // [n_head, count, head_dim]
    at::Tensor positions, distances, weights;  // as the members
  };
  Found Find(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) const;
  // [first, first + count) of what was found, as the rows of `positions` [count].
  void Keep(const at::Tensor& positions, const Found& found, int64_t first, int64_t count);
  // [n_head, count, k] of the nearest: positions in the memory, and exact distances as float32.
  std::pair<at::Tensor, at::Tensor> Nearest(const at::Tensor& key) const;
  // Rows of [n_head, n, head_dim] at positions [n_head, count, m], as double: [n_head, count, m, head_dim].
  at::Tensor Gather(const at::Tensor& rows, const at::Tensor& positions) const;
  at::Tensor SelectTokensHeads(const at::Tensor& attention, const at::Tensor& length) const;

  std::shared_ptr<const StoredLayer> stored_;
  MemoryParameters parameters_;
  int use_index_, layer_;
  int64_t n_head_, n_stored_, head_dim_, k_;
  bool trace_;

  at::Tensor query_;     // [n_head, capacity, head_dim]
  at::Tensor mixed_;     // [n_head, capacity, head_dim]: V'
  at::Tensor mixes_;     // [n_head, capacity, head_dim]: of all rows
  at::Tensor selected_;  // [n_head, capacity], bool: whose mixes are in mixed_
  at::Tensor changed_;   // [n], bool: by the last Select, in some head
  // For the trace. Of the last Select: [n_head, capacity].
  at::Tensor attention_;
  // Of all rows: [n_head, capacity, k]; weights with the own one in front, 0 where it does not compete.
  at::Tensor positions_, distances_, weights_;
};

}  // namespace mtm

#endif  // MTM_SERVER_MODEL_DEVICE_MEMORY_H_
