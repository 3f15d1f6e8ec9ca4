// Fuzz target: any bytes as a record, as pg_control, or as damage to a log.
//
// Checksums would stop nearly every input at the door, so that they are made right first: what lies
// behind them must stand by itself. Finds accesses outside of the input, endless loops, aborts on
// bad bytes, and answers that contradict the input's size.
#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "wal/checkpoint_state.h"
#include "wal/control_file.h"
#include "wal/decoder.h"
#include "wal/effects.h"
#include "wal/image.h"
#include "wal/record_names.h"
#include "wal/slru_delta.h"
#include "wal/writer.h"

namespace varve::wal {
namespace {

// The input is what follows the header's length: xid, info, manager, then the body.
void fuzz_record(const Version& version, Reader& in) {
  std::vector<uint8_t> raw(kRecordHeaderSize);
  store_le<uint32_t>(raw.data() + 4, in.le<uint32_t>());
  raw[16] = in.u8();
  raw[17] = in.u8();
  const auto body = in.rest();
  raw.insert(raw.end(), body.begin(), body.end());
  store_le<uint32_t>(raw.data(), static_cast<uint32_t>(raw.size()));
  raw.shrink_to_fit();
  seal_record(raw, Lsn(0x1000028));
  Record record;
  if (!decode_record(version, Lsn(0x1000100), Lsn(0x1000200), raw, record).ok()) return;
  size_t total = record.main_data.size();
  std::vector<uint8_t> page(kBlockSize);
  const std::span<uint8_t, kBlockSize> bytes(page.data(), kBlockSize);
  ImageRestorer restorer;
  for (const BlockReference& block : record.blocks) {
    total += block.data.size();
    if (!block.image.has_value()) continue;
    total += block.image->bytes.size();
    restorer.restore(*block.image, bytes).ignore("only that it returns matters");
  }
  VARVE_CHECK(total <= raw.size());
  (void)record_name(version, record.rmid, record.info);
  Effect effect;
  if (!parse_effect(version, record, effect).ok()) return;
  CheckpointState state;
  state.apply(record, effect);
  std::vector<SlruDelta> deltas;
  split_slru_effect(effect, true, deltas);
  for (const SlruDelta& delta : deltas) {
    VARVE_CHECK(apply_slru_delta(delta.page, delta.bytes, bytes).ok());
    (void)slru_segment_is_removed(effect, delta.page);
  }
}

void fuzz_control_file(const Version& version, Reader& in) {
  std::vector<uint8_t> file(kControlFileSize);
  const auto given = in.rest();
  std::copy_n(given.begin(), std::min<size_t>(given.size(), version.control_crc), file.begin());
  store_le<uint32_t>(file.data() + 8, version.control_version);
  store_le<uint32_t>(file.data() + version.control_crc,
                     crc32c(std::span(file).first(version.control_crc)));
  if (!parse_control_file(version, file).ok()) return;
  VARVE_CHECK(forge_control_file(version, file, {}).ok());
}

// A log of records whose sizes the input gives, then bytes of it changed, fed in pieces whose sizes
// the input gives.
void fuzz_stream(const Version& version, Reader& in) {
  const LogIdentity identity{&version, 42, kMinSegmentSize, 1};
  const Lsn begin(0x3000000 - 8 * uint64_t{in.le<uint16_t>() / 8u} - kWalPageSize);
  const Lsn boundary = begin.page_offset() < 64 ? begin.page_start() : begin;
  LogWriter writer(identity, boundary, Lsn(0x2000028));
  std::vector<uint8_t> log;
  const std::vector<uint8_t> main(20000, 0x5A);
  for (int records = in.u8() % 16; records >= 0; --records) {
    RecordParts parts;
    parts.rmid = static_cast<uint8_t>(Rmgr::kLogicalMessage);
    parts.main_data = std::span(main).first(in.le<uint16_t>() % main.size());
    std::vector<uint8_t> raw = build_record(version, parts);
    writer.append(raw, log);
  }
  for (int changes = in.u8() % 8; changes > 0; --changes) {
    const size_t at = in.le<uint32_t>() % log.size();
    log[at] ^= in.u8();
  }
  Decoder decoder({identity, Depth::kFull, TimelineRule::kNonDecreasing});
  decoder.reset(boundary, std::nullopt);
  Record record;
  size_t fed = 0;
  for (Step step = decoder.next(record);; step = decoder.next(record)) {
    VARVE_CHECK(decoder.boundary() <= boundary + fed);
    if (step == Step::kRecord) {
      VARVE_CHECK(record.end == decoder.boundary() && record_checksum(record.raw) == record.crc);
      continue;
    }
    if (step != Step::kNeedMore || fed == log.size()) break;
    // The input says how to cut the log as long as it lasts.
    size_t size = log.size() - fed;
    if (in.remaining() >= 2) size = std::min<size_t>(size, in.le<uint16_t>() + 1u);
    decoder.feed(boundary + fed, std::span<const uint8_t>(log).subspan(fed, size));
    fed += size;
  }
}

}  // namespace
}  // namespace varve::wal

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve::wal;
  varve::Reader in({data, size});
  const uint8_t mode = in.u8();
  const Version& version = *version_of_major(static_cast<uint16_t>(14 + mode / 3 % 5));
  switch (mode % 3) {
    case 0:
      fuzz_record(version, in);
      break;
    case 1:
      fuzz_control_file(version, in);
      break;
    default:
      fuzz_stream(version, in);
      break;
  }
  return 0;
}
