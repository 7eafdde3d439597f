// SPDX-License-Identifier: Apache-2.0
#include "memory_store/pickle_reader.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "memory_store/absl_view.h"

namespace mtm {
namespace {

// A tensor's pickle has tuples in tuples once, some ten values on the stack, some fifteen in the memo, and short strings. The
// bounds keep a hostile one, which copies what it has at two bytes a copy, from costing more than a few hundred KB.
constexpr int kMaxDepth = 4;
constexpr size_t kMaxStack = 64;
constexpr size_t kMaxMemo = 256;
constexpr size_t kMaxString = 256;
constexpr size_t kMaxDimensions = 8;

constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kFloatStorage = "torch.FloatStorage";
constexpr std::string_view kOrderedDict = "collections.OrderedDict";

struct Tuple;
struct Mark {};
struct Global {
  std::string_view name;
};
struct Storage {
  std::string key;
  int64_t size;
};
struct Dict {};  // an empty one; what a tensor has for hooks
using Value = std::variant<Mark, bool, int64_t, std::string, Global, Storage, Dict, PickledTensor,
                           std::shared_ptr<const Tuple>>;  // shared, so that no repetition multiplies memory
struct Tuple {
  std::vector<Value> items;
  int depth = 1;  // bounded, and with it the recursion of destructors
};

absl::Status Refused(std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("pickle: ", AbslView(what)));
}

class PickleMachine {
 public:
  explicit PickleMachine(std::string_view program) : program_(program) {}

  absl::StatusOr<PickledTensor> Run() {
    while (true) {
      at_ = next_;
      const std::optional<std::string_view> opcode = Take(1);
      if (!opcode) return Refused("it ends without its last instruction");
      if (*opcode == ".") break;
      if (absl::Status status = Execute(opcode->front()); !status.ok()) return status;
    }
    PickledTensor* const tensor = stack_.size() == 1 ? std::get_if<PickledTensor>(&stack_[0]) : nullptr;
    if (tensor == nullptr) return Refused("it is not one tensor");
    return std::move(*tensor);
  }

 private:
  // The next n bytes, or nothing where fewer are left.
  std::optional<std::string_view> Take(size_t n) {
    if (program_.size() - next_ < n) return std::nullopt;
    return program_.substr(std::exchange(next_, next_ + n), n);
  }

  // The next n bytes as an integer, little-endian, without sign.
  std::optional<uint32_t> TakeInt(size_t n) {
    const std::optional<std::string_view> bytes = Take(n);
    if (!bytes) return std::nullopt;
    uint32_t number = 0;
    std::memcpy(&number, bytes->data(), n);
    return number;
  }

  std::optional<std::string_view> TakeLine() {
    const size_t end = program_.find('\n', next_);
    if (end == std::string_view::npos) return std::nullopt;
    return program_.substr(std::exchange(next_, end + 1), end - next_);
  }

  absl::Status Execute(char opcode);
  absl::Status PushInt(std::optional<uint32_t> number);
  absl::Status PushLong();
  absl::Status PushString(std::optional<uint32_t> size);
  absl::Status PushGlobal();
  absl::Status PushTuple(size_t n_items);
  absl::Status PushTupleFromMark();
  absl::Status PushMemo(std::optional<uint32_t> key);
  absl::Status Memorise(std::optional<uint32_t> key);
  absl::Status LoadStorage();
  absl::Status Reduce();

  // Takes the tuple off the stack; null where there is none.
  std::shared_ptr<const Tuple> PopTuple() {
    if (stack_.empty() || !std::holds_alternative<std::shared_ptr<const Tuple>>(stack_.back()))
      return nullptr;
    auto tuple = std::get<std::shared_ptr<const Tuple>>(std::move(stack_.back()));
    stack_.pop_back();
    return tuple;
  }

  absl::Status Push(Value value) {
    if (stack_.size() == kMaxStack) {
      return Refused(absl::StrCat("more than ", kMaxStack, " values on the stack at byte ", at_));
    }
    stack_.push_back(std::move(value));
    return absl::OkStatus();
  }

  absl::Status Malformed() const {
    return Refused(absl::StrFormat("malformed instruction 0x%02x at byte %d",
                                   static_cast<unsigned char>(program_[at_]), at_));
  }

  std::string_view program_;
  size_t next_ = 0;
  size_t at_ = 0;  // of the instruction being executed
  std::vector<Value> stack_;
  std::map<uint32_t, Value> memo_;
};

absl::Status PickleMachine::Execute(char opcode) {
  switch (opcode) {
    case '\x80': {  // PROTO
      const std::optional<uint32_t> protocol = TakeInt(1);
      return protocol && *protocol >= 2 && *protocol <= 5 ? absl::OkStatus() : Malformed();
    }
    case 'c':  // GLOBAL
      return PushGlobal();
    case 'q':  // BINPUT
      return Memorise(TakeInt(1));
    case 'r':  // LONG_BINPUT
      return Memorise(TakeInt(4));
    case 'h':  // BINGET
      return PushMemo(TakeInt(1));
    case 'j':  // LONG_BINGET
      return PushMemo(TakeInt(4));
    case '(':  // MARK
      return Push(Mark{});
    case 'X':  // BINUNICODE
      return PushString(TakeInt(4));
    case 'K':  // BININT1
      return PushInt(TakeInt(1));
    case 'M':  // BININT2
      return PushInt(TakeInt(2));
    case 'J':  // BININT
      return PushInt(TakeInt(4));
    case '\x8a':  // LONG1
      return PushLong();
    case ')':  // EMPTY_TUPLE
      return PushTuple(0);
    case '\x85':  // TUPLE1
      return PushTuple(1);
    case '\x86':  // TUPLE2
      return PushTuple(2);
    case '\x87':  // TUPLE3
      return PushTuple(3);
    case 't':  // TUPLE
      return PushTupleFromMark();
    case '\x88':  // NEWTRUE
      return Push(true);
    case '\x89':  // NEWFALSE
      return Push(false);
    case 'Q':  // BINPERSID
      return LoadStorage();
    case 'R':  // REDUCE
      return Reduce();
    default:
      return Refused(absl::StrFormat("instruction 0x%02x at byte %d is none that a saved tensor needs",
                                     static_cast<unsigned char>(opcode), at_));
  }
}

absl::Status PickleMachine::PushInt(std::optional<uint32_t> number) {
  // Of the three only BININT has a sign, and only it reaches the highest bit.
  return number ? Push(int64_t{static_cast<int32_t>(*number)}) : Malformed();
}

absl::Status PickleMachine::PushLong() {
  const std::optional<uint32_t> size = TakeInt(1);
  if (!size || *size > sizeof(int64_t)) return Malformed();
  const std::optional<std::string_view> bytes = Take(*size);
  if (!bytes) return Malformed();
  const bool negative = !bytes->empty() && (bytes->back() & 0x80) != 0;
  int64_t number = negative ? -1 : 0;
  std::memcpy(&number, bytes->data(), bytes->size());
  return Push(number);
}

absl::Status PickleMachine::PushString(std::optional<uint32_t> size) {
  if (size && *size > kMaxString) {
    return Refused(absl::StrCat("a string of ", *size, " bytes at byte ", at_, "; at most ", kMaxString));
  }
  const std::optional<std::string_view> text = size ? Take(*size) : std::nullopt;
  return text ? Push(std::string(*text)) : Malformed();
}

absl::Status PickleMachine::PushGlobal() {
  const std::optional<std::string_view> module = TakeLine();
  const std::optional<std::string_view> name = module ? TakeLine() : std::nullopt;
  if (!name) return Malformed();
  const std::string global = absl::StrCat(AbslView(*module), ".", AbslView(*name));
  for (const std::string_view known : {kRebuildTensor, kFloatStorage, kOrderedDict}) {
    if (global == known) return Push(Global{known});
  }
  return Refused(absl::StrCat("global '", absl::CHexEscape(global.substr(0, 100)), "' at byte ", at_,
                              " is none that a saved float32 tensor needs"));
}

absl::Status PickleMachine::PushTuple(size_t n_items) {
  if (stack_.size() < n_items) return Malformed();
  auto tuple = std::make_shared<Tuple>();
  const auto begin = stack_.end() - static_cast<std::ptrdiff_t>(n_items);
  for (auto item = begin; item != stack_.end(); ++item) {
    if (std::holds_alternative<Mark>(*item)) return Malformed();
    if (const auto* inner = std::get_if<std::shared_ptr<const Tuple>>(&*item)) {
      tuple->depth = std::max(tuple->depth, (*inner)->depth + 1);
    }
    tuple->items.push_back(std::move(*item));
  }
  if (tuple->depth > kMaxDepth) return Malformed();
  stack_.erase(begin, stack_.end());
  return Push(std::shared_ptr<const Tuple>(std::move(tuple)));
}

absl::Status PickleMachine::PushTupleFromMark() {
  const auto mark = std::find_if(stack_.rbegin(), stack_.rend(),
                                 [](const Value& value) { return std::holds_alternative<Mark>(value); });
  if (mark == stack_.rend()) return Malformed();
  const auto n_items = static_cast<size_t>(mark - stack_.rbegin());
  stack_.erase(stack_.end() - static_cast<std::ptrdiff_t>(n_items) - 1);
  return PushTuple(n_items);
}

absl::Status PickleMachine::PushMemo(std::optional<uint32_t> key) {
  const auto found = key ? memo_.find(*key) : memo_.end();
  return found == memo_.end() ? Malformed() : Push(found->second);
}

absl::Status PickleMachine::Memorise(std::optional<uint32_t> key) {
  if (!key || stack_.empty() || std::holds_alternative<Mark>(stack_.back())) return Malformed();
  memo_[*key] = stack_.back();
  if (memo_.size() > kMaxMemo) {
    return Refused(absl::StrCat("more than ", kMaxMemo, " values in the memo at byte ", at_));
  }
  return absl::OkStatus();
}

// ('storage', torch.FloatStorage, key, device, size)
absl::Status PickleMachine::LoadStorage() {
  const std::shared_ptr<const Tuple> id = PopTuple();
  if (id == nullptr || id->items.size() != 5) return Malformed();
  const auto* const kind = std::get_if<std::string>(&id->items[0]);
  const auto* const type = std::get_if<Global>(&id->items[1]);
  const auto* const key = std::get_if<std::string>(&id->items[2]);
  const auto* const size = std::get_if<int64_t>(&id->items[4]);
  if (kind == nullptr || *kind != "storage" || type == nullptr || type->name != kFloatStorage ||
      key == nullptr || size == nullptr) {
    return Malformed();
  }
  return Push(Storage{.key = *key, .size = *size});
}

bool ToInts(const Value& value, std::vector<int64_t>& ints) {
  const auto* const tuple = std::get_if<std::shared_ptr<const Tuple>>(&value);
  if (tuple == nullptr || (*tuple)->items.size() > kMaxDimensions) return false;
  for (const Value& item : (*tuple)->items) {
    if (!std::holds_alternative<int64_t>(item)) return false;
    ints.push_back(std::get<int64_t>(item));
  }
  return true;
}

// OrderedDict() or _rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, hooks)
absl::Status PickleMachine::Reduce() {
  const std::shared_ptr<const Tuple> arguments = PopTuple();
  if (arguments == nullptr || stack_.empty() || !std::holds_alternative<Global>(stack_.back())) {
    return Malformed();
  }
  const std::string_view callee = std::get<Global>(stack_.back()).name;
  stack_.pop_back();
  const std::vector<Value>& items = arguments->items;
  if (callee == kOrderedDict && items.empty()) return Push(Dict{});
  if (callee != kRebuildTensor || items.size() != 6) return Malformed();

  const auto* const storage = std::get_if<Storage>(&items[0]);
  const auto* const offset = std::get_if<int64_t>(&items[1]);
  PickledTensor tensor;
  if (storage == nullptr || offset == nullptr || !ToInts(items[2], tensor.sizes) ||
      !ToInts(items[3], tensor.strides) || !std::holds_alternative<bool>(items[4]) ||
      !std::holds_alternative<Dict>(items[5])) {
    return Malformed();
  }
  tensor.storage_key = storage->key;
  tensor.storage_size = storage->size;
  tensor.offset = *offset;
  return Push(std::move(tensor));
}

}  // namespace

absl::StatusOr<PickledTensor> ReadPickledTensor(std::string_view pickle) {
  if (pickle.size() > kMaxPickleSize) return Refused("it is too long for one tensor's");
  return PickleMachine(pickle).Run();
}

}  // namespace mtm
