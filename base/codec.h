// Reading and writing of integers and strings in bytes that may be hostile.
//
// A Reader never reads outside its span: the first read that would marks it failed, and every later
// read answers zeros, so that a parser checks ok() once at the end of a structure. Little-endian is
// what we persist; big-endian is what Postgres' protocol and our keys use.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"

namespace varve {

static_assert(std::endian::native == std::endian::little, "formats are read by memcpy");

template <std::integral T>
constexpr T byte_swapped(T value) {
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2)
    return static_cast<T>(__builtin_bswap16(static_cast<uint16_t>(value)));
  if constexpr (sizeof(T) == 4)
    return static_cast<T>(__builtin_bswap32(static_cast<uint32_t>(value)));
  if constexpr (sizeof(T) == 8)
    return static_cast<T>(__builtin_bswap64(static_cast<uint64_t>(value)));
}

// Unaligned loads and stores. The caller has checked the bounds.
template <std::integral T>
T load_le(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
template <std::integral T>
T load_be(const uint8_t* p) {
  return byte_swapped(load_le<T>(p));
}
template <std::integral T>
void store_le(uint8_t* p, T value) {
  std::memcpy(p, &value, sizeof value);
}
template <std::integral T>
void store_be(uint8_t* p, T value) {
  store_le(p, byte_swapped(value));
}

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <std::integral T>
  T le() {
    const uint8_t* p = take(sizeof(T));
    return p == nullptr ? T{} : load_le<T>(p);
  }
  template <std::integral T>
  T be() {
    const uint8_t* p = take(sizeof(T));
    return p == nullptr ? T{} : load_be<T>(p);
  }
  uint8_t u8() { return le<uint8_t>(); }

  // The next `count` bytes, or an empty span (and a failed reader) when there are fewer.
  std::span<const uint8_t> bytes(size_t count) {
    const uint8_t* p = take(count);
    return p == nullptr ? std::span<const uint8_t>{} : std::span<const uint8_t>{p, count};
  }
  // Up to the next NUL, which is consumed; a missing NUL fails the reader.
  std::string_view cstring();
  void skip(size_t count) { (void)take(count); }

  std::span<const uint8_t> rest() const { return bytes_.subspan(position_); }
  size_t remaining() const { return bytes_.size() - position_; }
  size_t position() const { return position_; }
  bool ok() const { return !failed_; }
  // Everything was read and nothing was missing.
  bool done() const { return ok() && remaining() == 0; }
  void fail() { failed_ = true; }

 private:
  const uint8_t* take(size_t count) {
    if (failed_ || count > remaining()) {
      failed_ = true;
      return nullptr;
    }
    const uint8_t* p = bytes_.data() + position_;
    position_ += count;
    return p;
  }

  std::span<const uint8_t> bytes_;
  size_t position_ = 0;
  bool failed_ = false;
};

class Writer {
 public:
  template <std::integral T>
  void le(T value) {
    append(&value, sizeof value);
  }
  template <std::integral T>
  void be(T value) {
    le(byte_swapped(value));
  }
  void u8(uint8_t value) { buffer_.push_back(value); }
  void bytes(std::span<const uint8_t> bytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  void text(std::string_view text) { buffer_.insert(buffer_.end(), text.begin(), text.end()); }
  // The text and a NUL. Invariant: the text holds no NUL.
  void cstring(std::string_view text);
  void zeros(size_t count) { buffer_.resize(buffer_.size() + count); }

  // Overwrites an integer written earlier, such as a length that is known late.
  template <std::integral T>
  void patch_le(size_t at, T value) {
    VARVE_CHECK(at + sizeof value <= buffer_.size());
    store_le(buffer_.data() + at, value);
  }
  template <std::integral T>
  void patch_be(size_t at, T value) {
    patch_le(at, byte_swapped(value));
  }

  size_t size() const { return buffer_.size(); }
  std::span<const uint8_t> span() const { return buffer_; }
  std::vector<uint8_t> take() { return std::move(buffer_); }
  void clear() { buffer_.clear(); }

 private:
  void append(const void* p, size_t n) {
    const auto* bytes = static_cast<const uint8_t*>(p);
    buffer_.insert(buffer_.end(), bytes, bytes + n);
  }
  std::vector<uint8_t> buffer_;
};

inline std::span<const uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace varve
