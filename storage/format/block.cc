#include "storage/format/block.h"

#include <zstd.h>

#include <cstring>
#include <string>

#include "base/codec.h"
#include "base/crc32c.h"

namespace varve::storage {
namespace {

constexpr uint8_t kStored = 0;
constexpr uint8_t kZstd = 1;
constexpr size_t kMaxRaw = size_t{1} << 31;

uint32_t block_checksum(uint64_t offset, std::span<const uint8_t> block) {
  uint8_t place[8];
  store_le(place, offset);
  return crc32c(block.subspan(4), crc32c(place));
}

}  // namespace

struct Codec::Contexts {
  ZSTD_CCtx* compress = nullptr;
  ZSTD_DCtx* decompress = nullptr;
  ~Contexts() {
    ZSTD_freeCCtx(compress);
    ZSTD_freeDCtx(decompress);
  }
};

Codec::Codec() : contexts_(std::make_unique<Contexts>()) {}
Codec::~Codec() = default;
Codec::Codec(Codec&&) noexcept = default;
Codec& Codec::operator=(Codec&&) noexcept = default;

void Codec::seal(uint64_t offset, std::span<const uint8_t> raw, int level,
                 std::vector<uint8_t>& out) {
  std::vector<uint8_t> block;
  compress(raw, level, block);
  place(offset, block);
  out.insert(out.end(), block.begin(), block.end());
}

void Codec::compress(std::span<const uint8_t> raw, int level, std::vector<uint8_t>& out) {
  VARVE_CHECK(raw.size() < kMaxRaw);
  size_t stored = raw.size();
  uint8_t codec = kStored;
  if (level > 0 && raw.size() > 64) {
    if (contexts_->compress == nullptr) contexts_->compress = ZSTD_createCCtx();
    VARVE_CHECK_MSG(contexts_->compress != nullptr, "out of memory");
    // No more room than what makes it worth while: zstd then gives up early by itself.
    const size_t room = raw.size() - raw.size() / 8;
    out.resize(kBlockHeaderSize + room);
    const size_t size = ZSTD_compressCCtx(contexts_->compress, out.data() + kBlockHeaderSize, room,
                                          raw.data(), raw.size(), level);
    if (ZSTD_isError(size) == 0) {
      stored = size;
      codec = kZstd;
    }
  }
  out.resize(kBlockHeaderSize + stored);
  uint8_t* p = out.data();
  if (codec == kStored && !raw.empty()) std::memcpy(p + kBlockHeaderSize, raw.data(), raw.size());
  store_le(p + 4, static_cast<uint32_t>(stored));
  store_le(p + 8, static_cast<uint32_t>(raw.size()));
  store_le(p + 12, uint32_t{codec});
}

void Codec::place(uint64_t offset, std::span<uint8_t> block) {
  VARVE_CHECK(block.size() >= kBlockHeaderSize);
  store_le(block.data(), block_checksum(offset, block));
}

Result<Bytes> Codec::open(uint64_t offset, const Bytes& stored) {
  const auto corrupt = [](const char* what) { return Status(Code::kCorrupt, what); };
  if (stored.size() < kBlockHeaderSize) return corrupt("a block is cut");
  const uint8_t* p = stored.data();
  if (load_le<uint32_t>(p) != block_checksum(offset, stored)) {
    return corrupt("the checksum of a block does not match");
  }
  const size_t length = load_le<uint32_t>(p + 4);
  const size_t raw = load_le<uint32_t>(p + 8);
  const auto codec = load_le<uint32_t>(p + 12);
  if (length != stored.size() - kBlockHeaderSize || raw >= kMaxRaw) {
    return corrupt("a block has another length than its header says");
  }
  if (codec == kStored) {
    if (raw != length) return corrupt("a block has another length than its header says");
    return stored.slice(kBlockHeaderSize);
  }
  if (codec != kZstd) return corrupt("a block is compressed in an unknown way");
  if (contexts_->decompress == nullptr) contexts_->decompress = ZSTD_createDCtx();
  VARVE_CHECK_MSG(contexts_->decompress != nullptr, "out of memory");
  MutableBytes out(raw);
  const size_t size =
      ZSTD_decompressDCtx(contexts_->decompress, out.data(), raw, p + kBlockHeaderSize, length);
  if (ZSTD_isError(size) != 0 || size != raw) return corrupt("a block does not decompress");
  return std::move(out).freeze();
}

}  // namespace varve::storage
