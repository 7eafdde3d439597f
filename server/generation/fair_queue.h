// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_GENERATION_FAIR_QUEUE_H_
#define MTM_SERVER_GENERATION_FAIR_QUEUE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>

namespace mtm {

// A queue in which clients take turns by what they cost: start-time fair queueing (Goyal, Vin, Cheng 1996).
// Each client's items stay in order; of the clients that wait, the one that was served least goes first, and
// one that was away has not saved up for it. Not thread-safe.
template <typename Item>
class FairQueue {
 public:
  // cost > 0
  void Push(const std::string& client, int64_t cost, Item item) {
    Client& c = clients_[client];
    if (c.items.empty()) c.start = std::max(c.start, now_);
    c.items.push_back({cost, std::move(item)});
    ++size_;
  }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  // Precondition of both: not empty. Front is what Pop takes.
  const Item& Front() const { return Next()->second.items.front().item; }
  Item Pop() {
    const auto n_waiting =
        std::ranges::count_if(clients_, [](const auto& client) { return !client.second.items.empty(); });
    Client& c = Next()->second;
    Entry entry = std::move(c.items.front());
    c.items.pop_front();
    --size_;
    // By the start alone it would stand still while ever new clients come, and who was served before would
    // wait for all of them: it goes on with the work too, by the share of each who waits and of one who may
    // come.
    now_ = std::max(c.start, now_ + entry.cost / (n_waiting + 1));
    c.start += entry.cost;
    ForgetIdle();
    return std::move(entry.item);
  }

  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const auto& [name, client] : clients_) {
      for (const Entry& entry : client.items) visit(entry.item);
    }
  }

  // Takes out every item that `wanted` is false for and hands it to `out`.
  template <typename Predicate, typename Out>
  void RemoveUnless(Predicate wanted, Out out) {
    for (auto& [name, client] : clients_) {
      std::deque<Entry> kept;
      for (Entry& entry : client.items) {
        if (wanted(entry.item)) {
          kept.push_back(std::move(entry));
        } else {
          out(std::move(entry.item));
          --size_;
        }
      }
      client.items = std::move(kept);
    }
    ForgetIdle();
  }

 private:
  struct Entry {
    int64_t cost;
    Item item;
  };
  struct Client {
    int64_t start = 0;  // virtual time at which its next item begins
    std::deque<Entry> items;
  };
  using Clients = std::map<std::string, Client>;

  typename Clients::iterator Next() {
    auto best = clients_.end();
    for (auto it = clients_.begin(); it != clients_.end(); ++it) {
      if (it->second.items.empty()) continue;
      if (best == clients_.end() || it->second.start < best->second.start) best = it;
    }
    return best;
  }
  typename Clients::const_iterator Next() const { return const_cast<FairQueue*>(this)->Next(); }

  // A client without items whose time is past is as good as new.
  void ForgetIdle() {
    std::erase_if(clients_,
                  [this](const auto& c) { return c.second.items.empty() && c.second.start <= now_; });
  }

  Clients clients_;
  int64_t now_ = 0;  // virtual time: at least the start of the item served last
  size_t size_ = 0;
};

}  // namespace mtm

#endif  // MTM_SERVER_GENERATION_FAIR_QUEUE_H_
