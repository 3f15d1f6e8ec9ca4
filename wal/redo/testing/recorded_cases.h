// For tests and fuzz targets: recorded blocks of real records (tests/data/redo/README.md).
#pragma once

#include <zstd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "base/codec.h"
#include "wal/decode_record.h"
#include "wal/version.h"

namespace varve::wal::redo {

struct RecordedCase {
  std::vector<uint8_t> raw;
  Record record;  // spans point into raw
  uint8_t block_id = 0;
  std::array<uint8_t, kBlockSize> before{};

  const BlockReference& block() const { return *record.block(block_id); }
};

// Tests run somewhere inside of the source tree; the data is found from there upwards.
inline std::vector<uint8_t> read_test_data(const std::string& name) {
  std::filesystem::path root = std::filesystem::current_path();
  while (!std::filesystem::exists(root / "tests/data" / name) && root.has_relative_path()) {
    root = root.parent_path();
  }
  std::ifstream in(root / "tests/data" / name, std::ios::binary | std::ios::ate);
  VARVE_CHECK_MSG(in.good(), "tests/data is not above the working directory");
  std::vector<uint8_t> bytes(static_cast<size_t>(in.tellg()));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

inline const std::vector<std::unique_ptr<RecordedCase>>& recorded_cases() {
  static const auto cases = [] {
    const std::vector<uint8_t> packed = read_test_data("redo/pg15.cases.zst");
    std::vector<uint8_t> bytes(ZSTD_getFrameContentSize(packed.data(), packed.size()));
    const size_t size = ZSTD_decompress(bytes.data(), bytes.size(), packed.data(), packed.size());
    VARVE_CHECK(size == bytes.size());
    std::vector<std::unique_ptr<RecordedCase>> list;
    for (Reader in(bytes); in.remaining() > 0;) {
      auto one = std::make_unique<RecordedCase>();
      const Lsn start(in.le<uint64_t>());
      const Lsn end(in.le<uint64_t>());
      one->block_id = in.u8();
      const std::span<const uint8_t> raw = in.bytes(in.le<uint32_t>());
      const std::span<const uint8_t> before = in.bytes(kBlockSize);
      VARVE_CHECK(in.ok());
      one->raw.assign(raw.begin(), raw.end());
      std::memcpy(one->before.data(), before.data(), kBlockSize);
      const Status status = decode_record(*version_of_major(15), start, end, one->raw, one->record);
      VARVE_CHECK(status.ok());
      list.push_back(std::move(one));
    }
    return list;
  }();
  return cases;
}

}  // namespace varve::wal::redo
