#include "runtime/budget.h"

namespace varve {

Reservation::~Reservation() {
  if (budget_ != nullptr && bytes_ != 0) budget_->give_back(bytes_);
}

void Reservation::shrink(uint64_t bytes) {
  VARVE_CHECK(bytes <= bytes_);
  if (budget_ != nullptr && bytes != bytes_) budget_->give_back(bytes_ - bytes);
  bytes_ = bytes;
}

Budget::Budget(std::string name, uint64_t limit, Budget* parent)
    : name_(std::move(name)), limit_(limit), parent_(parent) {}

Budget::~Budget() {
  VARVE_CHECK_MSG(used_ == 0, "a budget ended before its reservations");
}

Budget* Budget::blocking_node(uint64_t bytes) {
  for (Budget* node = this; node != nullptr; node = node->parent_) {
    if (bytes > node->limit_ - node->used_) return node;
  }
  return nullptr;
}

Result<Reservation> Budget::try_reserve(uint64_t bytes) {
  if (const Budget* full = blocking_node(bytes)) {
    return Status(Code::kFull, "budget '" + full->name_ + "' has " +
                                   std::to_string(full->limit_ - full->used_) + " of " +
                                   std::to_string(full->limit_) + " bytes left; " +
                                   std::to_string(bytes) + " are needed");
  }
  for (Budget* node = this; node != nullptr; node = node->parent_) node->used_ += bytes;
  return Reservation(this, bytes);
}

Result<Reservation> Budget::reserve(uint64_t bytes) {
  for (const Budget* node = this; node != nullptr; node = node->parent_) {
    if (bytes > node->limit_) {
      return Status(Code::kInvalid, std::to_string(bytes) + " bytes exceed the whole budget '" +
                                        node->name_ + "' of " + std::to_string(node->limit_));
    }
  }
  while (Budget* full = blocking_node(bytes)) VARVE_TRY(full->waiters_.wait("budget"));
  return try_reserve(bytes);
}

void Budget::give_back(uint64_t bytes) {
  for (Budget* node = this; node != nullptr; node = node->parent_) {
    VARVE_CHECK(node->used_ >= bytes);
    node->used_ -= bytes;
    node->waiters_.wake_all();
  }
}

}  // namespace varve
