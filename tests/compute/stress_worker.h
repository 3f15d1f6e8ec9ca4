// What the stress' test and its workers agree on.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/lsn.h"
#include "wal/page.h"

namespace varve::test {

inline constexpr int kStressFiles = 8;
inline constexpr uint32_t kStressBlock = 8192;
inline constexpr uint32_t kStressBlocks = 96;  // of each file at first
inline constexpr uint32_t kStressMostBlocks = 160;
inline constexpr uint64_t kStressLogBytes = 48 << 20;
inline constexpr Lsn kStressLogStart(3ull << 20);

struct StressStamp {
  int32_t file;
  uint32_t block;
  uint64_t version;  // storage has version 1
};

inline std::string stress_path(int file) {
  return "base/5/" + std::to_string(16384 + file);
}

inline void stress_fill(uint8_t* page, int file, uint32_t block, uint64_t version) {
  std::memset(page, static_cast<int>(version & 0xFF) | 1, kStressBlock);
  const StressStamp stamp{file, block, version};
  for (uint32_t part = 0; part < kStressBlock; part += 512)
    std::memcpy(page + part, &stamp, sizeof stamp);
}

inline wal::LogIdentity stress_identity() {
  return {wal::version_of_major(15), 42, 1 << 20, 1};
}
inline Lsn stress_log_boundary() {
  return kStressLogStart + 8192 + 24 + 800;
}

// The quorum's position, in a file that the test maps as well.
inline std::atomic<uint64_t>* stress_quorum_word = nullptr;
inline void stress_map_quorum(const std::string& path = "../quorum") {
  const int fd = open(path.c_str(), O_RDWR);
  void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  stress_quorum_word = static_cast<std::atomic<uint64_t>*>(memory);
  close(fd);
}
inline uint64_t stress_quorum() {
  return stress_quorum_word->load();
}

}  // namespace varve::test
