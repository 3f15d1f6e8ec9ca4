// The newest WAL of a timeline in memory, so that readers who keep up never touch the disk. A slice
// of what arrived, not a copy.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"

namespace varve::consensus {

class WalTail {
 public:
  // Keeps at least the newest piece, and at most about `limit` bytes.
  explicit WalTail(uint64_t limit) : limit_(limit) {}

  // Bytes that follow the last ones; others start the tail anew.
  void append(Lsn begin, Bytes bytes);
  // Forgets everything from `at` on.
  void truncate(Lsn at);
  // [begin, begin + length), if all of it is here.
  std::optional<std::vector<Bytes>> read(Lsn begin, uint64_t length) const;

  Lsn begin() const { return pieces_.empty() ? Lsn() : pieces_.front().begin; }
  Lsn end() const { return end_; }

 private:
  struct Piece {
    Lsn begin;
    Bytes bytes;
  };
  uint64_t limit_;
  uint64_t size_ = 0;
  Lsn end_;
  std::deque<Piece> pieces_;
};

}  // namespace varve::consensus
