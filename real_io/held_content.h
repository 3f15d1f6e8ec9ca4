// What a file holds above its real one: the changes since the last sync, in memory.
//
// Layers, from the top: `changes_` (written or punched since), the real file up to `base_limit_`,
// zeros up to the size. No function is reentrant; HeldFile serialises them.
#pragma once

#include <map>
#include <memory>

#include "runtime/disk.h"

namespace varve::real_io {

class HeldContent {
 public:
  // `real` may be null: the file exists in memory only. `real_size` is its size now.
  HeldContent(std::unique_ptr<File> real, uint64_t real_size)
      : real_(std::move(real)), size_(real_size), base_limit_(real_size), real_size_(real_size) {}

  uint64_t size() const { return size_; }
  bool has_real() const { return real_ != nullptr; }
  bool changed() const {
    return !changes_.empty() || base_limit_ < real_size_ || size_ != real_size_;
  }
  // An empty file that takes what is synced from now on. Invariant: has_real() is false.
  void set_real(std::unique_ptr<File> real) { real_ = std::move(real); }

  Result<Bytes> read(uint64_t offset, size_t length) const;
  void write(uint64_t offset, const Bytes& data);
  void punch(uint64_t offset, uint64_t length);
  void truncate(uint64_t size);
  // Brings everything, or what lies in a range, to the real file and syncs that. Invariant:
  // has_real().
  Status sync();
  Status sync_range(uint64_t offset, uint64_t length);

 private:
  struct Extent {
    uint64_t length;
    Bytes data;  // empty: zeros
  };
  using Extents = std::map<uint64_t, Extent>;

  void put(uint64_t offset, Extent extent);
  void cut_out(uint64_t begin, uint64_t end);
  void split_at(uint64_t offset);
  Status push(Extents::iterator begin, Extents::iterator end);
  Status push_size();

  std::unique_ptr<File> real_;
  uint64_t size_;
  uint64_t base_limit_;  // bytes of the real file beyond it were cut off
  uint64_t real_size_;
  Extents changes_;
};

}  // namespace varve::real_io
