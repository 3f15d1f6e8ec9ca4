#include "base/bytes.h"

#include <cstdlib>
#include <new>

namespace varve {
namespace internal {

Slab* Slab::create(size_t capacity, SlabOwner* owner) {
  // Small slabs carry their memory behind the header; large ones are aligned for direct I/O.
  if (capacity < kSlabAlignment) {
    void* block = std::malloc(sizeof(Slab) + capacity);
    VARVE_CHECK_MSG(block != nullptr, "out of memory");
    return new (block) Slab{1, capacity, static_cast<uint8_t*>(block) + sizeof(Slab), owner};
  }
  capacity = (capacity + kSlabAlignment - 1) / kSlabAlignment * kSlabAlignment;
  void* memory = std::aligned_alloc(kSlabAlignment, capacity);
  void* header = std::malloc(sizeof(Slab));
  VARVE_CHECK_MSG(memory != nullptr && header != nullptr, "out of memory");
  return new (header) Slab{1, capacity, static_cast<uint8_t*>(memory), owner};
}

void Slab::release() {
  VARVE_CHECK(references > 0);
  if (--references != 0) return;
  if (owner != nullptr) owner->slab_freed(capacity);
  if (memory != reinterpret_cast<uint8_t*>(this) + sizeof(Slab)) std::free(memory);
  this->~Slab();
  std::free(this);
}

}  // namespace internal

Bytes Bytes::copy(std::span<const uint8_t> source, SlabOwner* owner) {
  if (source.empty()) return {};
  MutableBytes bytes(source.size(), owner);
  std::memcpy(bytes.data(), source.data(), source.size());
  return std::move(bytes).freeze();
}

Bytes Bytes::slice(size_t offset, size_t length) const {
  VARVE_CHECK(offset <= size_ && length <= size_ - offset);
  if (length == 0) return {};
  slab_->retain();
  return Bytes(slab_, data_ + offset, length);
}

MutableBytes::MutableBytes(size_t size, SlabOwner* owner)
    : slab_(size == 0 ? nullptr : internal::Slab::create(size, owner)), size_(size) {}

MutableBytes MutableBytes::zeroed(size_t size, SlabOwner* owner) {
  MutableBytes bytes(size, owner);
  if (size != 0) std::memset(bytes.data(), 0, size);
  return bytes;
}

Bytes MutableBytes::freeze() && {
  if (slab_ == nullptr) return {};
  const uint8_t* data = slab_->memory;
  const size_t size = std::exchange(size_, 0);
  internal::Slab* slab = std::exchange(slab_, nullptr);
  if (size == 0) {
    slab->release();
    return {};
  }
  return Bytes(slab, data, size);
}

size_t total_size(std::span<const Bytes> pieces) {
  size_t size = 0;
  for (const Bytes& piece : pieces) size += piece.size();
  return size;
}

Bytes concatenate(std::span<const Bytes> pieces) {
  if (pieces.size() == 1) return pieces[0];
  MutableBytes joined(total_size(pieces));
  size_t offset = 0;
  for (const Bytes& piece : pieces) {
    if (piece.empty()) continue;
    std::memcpy(joined.data() + offset, piece.data(), piece.size());
    offset += piece.size();
  }
  return std::move(joined).freeze();
}

}  // namespace varve
