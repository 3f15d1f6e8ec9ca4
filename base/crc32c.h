// CRC-32C (Castagnoli, reflected, initial and final value ~0): the checksum of Postgres' WAL and of
// every format of ours. Uses the processor's instruction where there is one.
#pragma once

#include <cstdint>
#include <span>

namespace varve {

// The checksum of `bytes` alone, or of what `crc` already covers followed by `bytes`:
// crc32c(b, crc32c(a)) == crc32c(a followed by b).
uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t crc = 0);

namespace internal {
// The table version, for processors without the instruction and for the test that compares the two.
uint32_t crc32c_portable(std::span<const uint8_t> bytes, uint32_t crc);
}  // namespace internal

}  // namespace varve
