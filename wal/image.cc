#include "wal/image.h"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace varve::wal {
namespace {

Status corrupt(const std::string& what) {
  return Status(Code::kCorrupt, "page image in WAL: " + what);
}

}  // namespace

bool pglz_decompress(std::span<const uint8_t> source, std::span<uint8_t> destination) {
  const uint8_t* in = source.data();
  const uint8_t* const in_end = in + source.size();
  uint8_t* out = destination.data();
  uint8_t* const out_end = out + destination.size();
  while (in < in_end && out < out_end) {
    uint8_t control = *in++;
    for (int bit = 0; bit < 8 && in < in_end && out < out_end; ++bit, control >>= 1) {
      if ((control & 1) == 0) {
        *out++ = *in++;
        continue;
      }
      if (in_end - in < 2) return false;
      size_t length = (in[0] & 0x0F) + 3u;
      const size_t distance = (in[0] & 0xF0u) << 4 | in[1];
      in += 2;
      if (length == 18) {
        if (in == in_end) return false;
        length += *in++;
      }
      if (distance == 0 || distance > static_cast<size_t>(out - destination.data())) return false;
      length = std::min<size_t>(length, static_cast<size_t>(out_end - out));
      // The match may overlap what it produces, so it is copied in runs that don't.
      while (length > 0) {
        const size_t run = std::min(length, distance);
        std::memcpy(out, out - distance, run);
        out += run;
        length -= run;
      }
    }
  }
  return in == in_end && out == out_end;
}

struct ImageRestorer::Context {
  ZSTD_DCtx* zstd = ZSTD_createDCtx();
  ~Context() { ZSTD_freeDCtx(zstd); }
};

ImageRestorer::ImageRestorer() = default;
ImageRestorer::~ImageRestorer() = default;
ImageRestorer::ImageRestorer(ImageRestorer&&) noexcept = default;
ImageRestorer& ImageRestorer::operator=(ImageRestorer&&) noexcept = default;

Status ImageRestorer::restore(const BlockImage& image, std::span<uint8_t, kBlockSize> page) {
  if (image.hole_offset + size_t{image.hole_length} > kBlockSize)
    return corrupt("its hole does not lie in the page");
  const size_t size = kBlockSize - image.hole_length;
  const uint8_t* source = image.bytes.data();
  // Decompressed to the front of the page; the part behind the hole is then moved to its place.
  bool whole = true;
  switch (image.compression) {
    case ImageCompression::kNone:
      if (image.bytes.size() != size)
        return corrupt(std::to_string(image.bytes.size()) + " bytes instead of " +
                       std::to_string(size));
      std::memcpy(page.data(), source, image.hole_offset);
      std::memcpy(page.data() + image.hole_offset + image.hole_length, source + image.hole_offset,
                  size - image.hole_offset);
      std::memset(page.data() + image.hole_offset, 0, image.hole_length);
      return Status();
    case ImageCompression::kPglz:
      whole = pglz_decompress(image.bytes, page.first(size));
      break;
    case ImageCompression::kLz4:
      whole = LZ4_decompress_safe(reinterpret_cast<const char*>(source),
                                  reinterpret_cast<char*>(page.data()),
                                  static_cast<int>(image.bytes.size()),
                                  static_cast<int>(size)) == static_cast<int>(size);
      break;
    case ImageCompression::kZstd: {
      if (context_ == nullptr) context_ = std::make_unique<Context>();
      VARVE_CHECK_MSG(context_->zstd != nullptr, "out of memory");
      const size_t got =
          ZSTD_decompressDCtx(context_->zstd, page.data(), size, source, image.bytes.size());
      whole = ZSTD_isError(got) == 0 && got == size;
      break;
    }
  }
  if (!whole) return corrupt("does not decompress to " + std::to_string(size) + " bytes");
  if (image.hole_length > 0) {
    uint8_t* hole = page.data() + image.hole_offset;
    std::memmove(hole + image.hole_length, hole, size - image.hole_offset);
    std::memset(hole, 0, image.hole_length);
  }
  return Status();
}

Status restore_image(const BlockImage& image, std::span<uint8_t, kBlockSize> page) {
  return ImageRestorer().restore(image, page);
}

}  // namespace varve::wal
