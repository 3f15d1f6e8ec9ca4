#include "real_io/held_content.h"

#include <algorithm>
#include <cstring>

namespace varve::real_io {

// Makes `offset` a border between extents.
void HeldContent::split_at(uint64_t offset) {
  auto next = changes_.upper_bound(offset);
  if (next == changes_.begin()) return;
  auto& [begin, extent] = *std::prev(next);
  const uint64_t left = offset - begin;
  if (left == 0 || left >= extent.length) return;
  Extent right{extent.length - left, extent.data.empty() ? Bytes() : extent.data.slice(left)};
  extent.length = left;
  if (!extent.data.empty()) extent.data = extent.data.slice(0, left);
  changes_.emplace_hint(next, offset, std::move(right));
}

void HeldContent::cut_out(uint64_t begin, uint64_t end) {
  split_at(begin);
  split_at(end);
  changes_.erase(changes_.lower_bound(begin), changes_.lower_bound(end));
}

void HeldContent::put(uint64_t offset, Extent extent) {
  cut_out(offset, offset + extent.length);
  changes_.emplace(offset, std::move(extent));
}

void HeldContent::write(uint64_t offset, const Bytes& data) {
  if (data.empty()) return;
  put(offset,
      Extent{data.size(), Bytes::copy(data.span())});  // the caller's slab goes back to its budget
  size_ = std::max(size_, offset + data.size());
}

void HeldContent::punch(uint64_t offset, uint64_t length) {
  const uint64_t end = std::min(size_, offset + length);
  if (offset < end) put(offset, Extent{end - offset, Bytes()});
}

void HeldContent::truncate(uint64_t size) {
  if (size < size_) cut_out(size, size_);
  base_limit_ = std::min(base_limit_, size);
  size_ = size;
}

Result<Bytes> HeldContent::read(uint64_t offset, size_t length) const {
  if (offset >= size_ || length == 0) return Bytes();
  length = std::min<uint64_t>(length, size_ - offset);
  MutableBytes out = MutableBytes::zeroed(length);
  if (real_ != nullptr && offset < base_limit_) {
    VARVE_TRY_ASSIGN(const Bytes base,
                     real_->read_at(offset, std::min<uint64_t>(length, base_limit_ - offset)));
    if (!base.empty()) std::memcpy(out.data(), base.data(), base.size());
  }
  auto it = changes_.upper_bound(offset);
  if (it != changes_.begin()) --it;
  for (; it != changes_.end() && it->first < offset + length; ++it) {
    const uint64_t begin = std::max(offset, it->first);
    const uint64_t end = std::min(offset + length, it->first + it->second.length);
    if (begin >= end) continue;
    uint8_t* target = out.data() + (begin - offset);
    if (it->second.data.empty()) {
      std::memset(target, 0, end - begin);
    } else {
      std::memcpy(target, it->second.data.data() + (begin - it->first), end - begin);
    }
  }
  return std::move(out).freeze();
}

// Cuts the real file where it was cut here; what comes after is zeros or in `changes_`.
Status HeldContent::push_size() {
  if (base_limit_ < real_size_) {
    VARVE_TRY(real_->truncate(base_limit_));
    real_size_ = base_limit_;
  }
  return Status();
}

Status HeldContent::push(Extents::iterator begin, Extents::iterator end) {
  for (auto it = begin; it != end; ++it) {
    const auto& [offset, extent] = *it;
    const uint64_t extent_end = offset + extent.length;
    if (!extent.data.empty()) {
      std::vector<Bytes> pieces{extent.data};
      VARVE_TRY(real_->write(offset, std::move(pieces)));
      real_size_ = std::max(real_size_, extent_end);
    } else {
      if (extent_end > real_size_) {
        VARVE_TRY(real_->truncate(extent_end));
        real_size_ = extent_end;
      }
      VARVE_TRY(real_->punch(offset, extent.length));
    }
  }
  // From here on the real file has zeros where nothing was written.
  base_limit_ = std::max(base_limit_, real_size_);
  return Status();
}

Status HeldContent::sync() {
  VARVE_TRY(push_size());
  VARVE_TRY(push(changes_.begin(), changes_.end()));
  if (real_size_ != size_) {
    VARVE_TRY(real_->truncate(size_));
    real_size_ = base_limit_ = size_;
  }
  VARVE_TRY(real_->sync());
  changes_.clear();
  return Status();
}

Status HeldContent::sync_range(uint64_t offset, uint64_t length) {
  if (length == 0) return real_->sync();
  VARVE_TRY(push_size());
  split_at(offset);
  split_at(offset + length);
  const auto begin = changes_.lower_bound(offset);
  const auto end = changes_.lower_bound(offset + length);
  VARVE_TRY(push(begin, end));
  VARVE_TRY(real_->sync());
  changes_.erase(begin, end);
  return Status();
}

}  // namespace varve::real_io
