#include "tools/oracle/sampler.h"

#include <algorithm>
#include <fstream>

namespace varve::oracle {
namespace {

constexpr uint64_t kSecondSample = 21;

uint64_t up_to_three(std::span<const uint8_t> md, size_t at) {
  return at + 2 <= md.size() ? std::min<uint64_t>(3, load_le<uint16_t>(md.data() + at)) : 0;
}

// Tells apart the ways through the redo of one type.
uint64_t way_of(const wal::Record& record) {
  const std::span<const uint8_t> md = record.main_data;
  const uint8_t operation = record.operation() & 0x70;
  const auto byte = [&](size_t at) -> uint64_t { return at < md.size() ? md[at] : 0; };
  switch (static_cast<wal::Rmgr>(record.rmid)) {
    case wal::Rmgr::kHeap:
      if (operation == 0x00) return byte(2) & 1;
      if (operation == 0x10) return byte(7) & 0x19;
      return (byte(7) & 0x63) << 1 | (record.blocks.size() > 1 ? 1 : 0);
    case wal::Rmgr::kHeap2:
      if (operation == 0x10)
        return std::min<uint64_t>(1, up_to_three(md, 4)) << 1 |
               std::min<uint64_t>(1, up_to_three(md, 6));
      return operation == 0x50 ? byte(0) & 0x21 : 0;
    case wal::Rmgr::kBtree:
      if (record.operation() == 0x30 || record.operation() == 0x40) {
        return std::min<uint64_t>(1, byte(0)) << 1 | std::min<uint64_t>(1, up_to_three(md, 8));
      }
      if (record.operation() == 0xC0)
        return up_to_three(md, 0) << 2 | std::min<uint64_t>(1, up_to_three(md, 2));
      if (record.operation() == 0x70)
        return up_to_three(md, 4) << 2 | std::min<uint64_t>(1, up_to_three(md, 6));
      return 0;
    default:
      return 0;
  }
}

}  // namespace

void Sampler::offer(const wal::Record& record, const wal::BlockReference& block,
                    std::span<const uint8_t, kBlockSize> before) {
  const uint64_t n = ++seen_[{record.rmid, record.operation(), block.id, way_of(record)}];
  if (n != 1 && n != kSecondSample) return;
  out_.le(record.start.value);
  out_.le(record.end.value);
  out_.u8(block.id);
  out_.le(static_cast<uint32_t>(record.raw.size()));
  out_.bytes(record.raw);
  out_.bytes(before);
}

Status Sampler::write(const std::string& path) const {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  const std::span<const uint8_t> bytes = out_.span();
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  return file ? Status() : Status(Code::kInternal, "can't be written").with_object(path);
}

}  // namespace varve::oracle
