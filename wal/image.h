// Restores the page image that a record carries: decompresses it and puts the zeros of its hole
// back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/lsn.h"
#include "base/status.h"
#include "wal/record.h"

namespace varve::wal {

// Keeps what zstd needs between images, so that restoring many of them allocates once. Not for two
// threads at a time. A moved-from restorer may only be destroyed or assigned to.
class ImageRestorer {
 public:
  ImageRestorer();
  ~ImageRestorer();
  ImageRestorer(ImageRestorer&&) noexcept;
  ImageRestorer& operator=(ImageRestorer&&) noexcept;

  // Writes the whole page as it was when the image was taken. Its LSN field is the page's previous
  // one: the caller sets the record's end when the image is applied. kCorrupt when the image does
  // not decompress to exactly a page without its hole, or the hole does not lie in the page; `page`
  // is then undefined.
  Status restore(const BlockImage& image, std::span<uint8_t, kBlockSize> page);

 private:
  struct Context;
  std::unique_ptr<Context> context_;  // made by the first zstd image
};

// One image without a restorer at hand.
Status restore_image(const BlockImage& image, std::span<uint8_t, kBlockSize> page);

// Postgres' own compression (src/common/pg_lzcompress.c describes the format): control bytes,
// lowest bit first, choose between a literal and a match of 3..273 bytes at most 4095 bytes back.
// True when `source` decompresses to exactly destination.size() bytes and is used up.
bool pglz_decompress(std::span<const uint8_t> source, std::span<uint8_t> destination);

}  // namespace varve::wal
