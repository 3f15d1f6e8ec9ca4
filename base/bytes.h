// Buffers that are handed over, never shared by accident.
//
// A slab is a 4 KiB-aligned piece of memory with a count of its users. `Bytes` is an immutable
// slice of one; copying it is a count, not a copy. `MutableBytes` is the only user of its slab and
// can be written; freezing it gives Bytes. The count is not atomic: a slab belongs to one reactor
// and crosses to another only by moving the last reference. Every I/O takes its buffers by value
// and owns them until it is done, so that a waiter that gives up never leaves the kernel with a
// pointer into freed memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"

namespace varve {

inline constexpr size_t kSlabAlignment = 4096;

// Told when a slab's memory goes, so that a budget can be given back. One object serves many slabs
// and must outlive them.
class SlabOwner {
 public:
  virtual ~SlabOwner() = default;
  // `capacity` bytes were freed. Never suspends.
  virtual void slab_freed(size_t capacity) noexcept = 0;
};

namespace internal {

struct Slab {
  uint32_t references;
  size_t capacity;
  uint8_t* memory;
  SlabOwner* owner;  // may be null

  static Slab* create(size_t capacity, SlabOwner* owner);
  void retain() { ++references; }
  void release();
};

}  // namespace internal

class Bytes {
 public:
  Bytes() = default;
  ~Bytes() {
    if (slab_ != nullptr) slab_->release();
  }
  Bytes(const Bytes& o) : slab_(o.slab_), data_(o.data_), size_(o.size_) {
    if (slab_ != nullptr) slab_->retain();
  }
  Bytes(Bytes&& o) noexcept
      : slab_(std::exchange(o.slab_, nullptr)),
        data_(std::exchange(o.data_, nullptr)),
        size_(std::exchange(o.size_, 0)) {}
  Bytes& operator=(Bytes o) noexcept {
    std::swap(slab_, o.slab_);
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    return *this;
  }

  // A fresh slab with a copy of `source`.
  static Bytes copy(std::span<const uint8_t> source, SlabOwner* owner = nullptr);
  static Bytes copy(std::string_view source) {
    return copy({reinterpret_cast<const uint8_t*>(source.data()), source.size()});
  }

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<const uint8_t> span() const { return {data_, size_}; }
  operator std::span<const uint8_t>() const { return span(); }  // NOLINT: a view, never a copy
  std::string_view view() const { return {reinterpret_cast<const char*>(data_), size_}; }
  uint8_t operator[](size_t i) const {
    VARVE_CHECK(i < size_);
    return data_[i];
  }

  // A slice that shares the slab. Invariant: offset + length <= size().
  Bytes slice(size_t offset, size_t length) const;
  Bytes slice(size_t offset) const { return slice(offset, size_ - offset); }

 private:
  friend class MutableBytes;
  Bytes(internal::Slab* slab, const uint8_t* data, size_t size)
      : slab_(slab), data_(data), size_(size) {}

  internal::Slab* slab_ = nullptr;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

class MutableBytes {
 public:
  MutableBytes() = default;
  // `size` bytes, not initialised: write before you read. Capacity is rounded up to kSlabAlignment
  // only when `size` is at least that.
  explicit MutableBytes(size_t size, SlabOwner* owner = nullptr);
  static MutableBytes zeroed(size_t size, SlabOwner* owner = nullptr);
  ~MutableBytes() {
    if (slab_ != nullptr) slab_->release();
  }
  MutableBytes(MutableBytes&& o) noexcept
      : slab_(std::exchange(o.slab_, nullptr)), size_(std::exchange(o.size_, 0)) {}
  MutableBytes& operator=(MutableBytes&& o) noexcept {
    std::swap(slab_, o.slab_);
    std::swap(size_, o.size_);
    return *this;
  }

  uint8_t* data() { return slab_ == nullptr ? nullptr : slab_->memory; }
  const uint8_t* data() const { return slab_ == nullptr ? nullptr : slab_->memory; }
  size_t size() const { return size_; }
  size_t capacity() const { return slab_ == nullptr ? 0 : slab_->capacity; }
  std::span<uint8_t> span() { return {data(), size_}; }
  std::span<const uint8_t> span() const { return {data(), size_}; }
  // Shorter or, within capacity(), longer; bytes gained are not initialised.
  void resize(size_t size) {
    VARVE_CHECK(size <= capacity());
    size_ = size;
  }

  // Gives the slab up as immutable bytes; this becomes empty.
  Bytes freeze() &&;

 private:
  internal::Slab* slab_ = nullptr;
  size_t size_ = 0;
};

// Total length of a scatter list.
size_t total_size(std::span<const Bytes> pieces);
// One contiguous copy of a scatter list (no copy when it is a single piece).
Bytes concatenate(std::span<const Bytes> pieces);

}  // namespace varve
