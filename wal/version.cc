#include "wal/version.h"

#include <array>

namespace varve::wal {
namespace {

constexpr ImageFlags kImageFlags14 = {.has_hole = 1, .apply = 4, .pglz = 2, .lz4 = 0, .zstd = 0};
constexpr ImageFlags kImageFlags15 = {.has_hole = 1, .apply = 2, .pglz = 4, .lz4 = 8, .zstd = 16};

// Up to 15 a record is limited by what the server can allocate; from 16 on the server refuses to
// write more than 1020 MiB.
constexpr uint32_t kAllocationLimit = 0x3FFFFFFF;
constexpr uint32_t kInsertLimit = 1020u << 20;

constexpr std::array<Version, 5> kVersions = {{
    {14, 0xD10D, 1300, 288, kImageFlags14, kAllocationLimit, 512, 4, false, false, 0},
    {15, 0xD110, 1300, 288, kImageFlags15, kAllocationLimit, 512, 4, false, true, 12},
    {16, 0xD113, 1300, 288, kImageFlags15, kInsertLimit, 524, 4, false, true, 12},
    {17, 0xD116, 1700, 288, kImageFlags15, kInsertLimit, 524, 8, true, true, 12},
    {18, 0xD118, 1800, 292, kImageFlags15, kInsertLimit, 524, 8, true, true, 16},
}};

}  // namespace

const Version* version_of_major(uint16_t major) {
  for (const Version& version : kVersions) {
    if (version.major == major) return &version;
  }
  return nullptr;
}

const Version* version_of_magic(uint16_t magic) {
  for (const Version& version : kVersions) {
    if (version.page_magic == magic) return &version;
  }
  return nullptr;
}

}  // namespace varve::wal
