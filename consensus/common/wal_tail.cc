#include "consensus/common/wal_tail.h"

#include <algorithm>

namespace varve::consensus {

void WalTail::append(Lsn begin, Bytes bytes) {
  if (bytes.empty()) return;
  if (begin != end_) {
    pieces_.clear();
    size_ = 0;
  }
  end_ = begin + bytes.size();
  size_ += bytes.size();
  pieces_.push_back({begin, std::move(bytes)});
  while (size_ > limit_ && pieces_.size() > 1) {
    size_ -= pieces_.front().bytes.size();
    pieces_.pop_front();
  }
}

void WalTail::truncate(Lsn at) {
  if (at >= end_) {
    if (at > end_) pieces_.clear();
  } else {
    while (!pieces_.empty() && pieces_.back().begin >= at) {
      size_ -= pieces_.back().bytes.size();
      pieces_.pop_back();
    }
    if (!pieces_.empty()) {
      Piece& last = pieces_.back();
      size_ -= last.bytes.size();
      last.bytes = last.bytes.slice(0, at - last.begin);
      size_ += last.bytes.size();
    }
  }
  if (pieces_.empty()) size_ = 0;
  end_ = at;
}

std::optional<std::vector<Bytes>> WalTail::read(Lsn begin, uint64_t length) const {
  if (pieces_.empty() || begin < pieces_.front().begin || begin + length > end_)
    return std::nullopt;
  auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), begin,
                                [](Lsn lsn, const Piece& p) { return lsn < p.begin; });
  --piece;
  std::vector<Bytes> out;
  while (length > 0) {
    const uint64_t offset = begin - piece->begin;
    const uint64_t part = std::min<uint64_t>(length, piece->bytes.size() - offset);
    out.push_back(piece->bytes.slice(offset, part));
    begin = begin + part;
    length -= part;
    ++piece;
  }
  return out;
}

}  // namespace varve::consensus
