#include "wal/checkpoint.h"

#include "base/codec.h"

namespace varve::wal {

Result<Checkpoint> Checkpoint::parse(const Version& version, std::span<const uint8_t> bytes) {
  if (bytes.size() < kCheckpointSize)
    return Status(Code::kCorrupt, "checkpoint of " + std::to_string(bytes.size()) + " bytes");
  const uint8_t* p = bytes.data();
  Checkpoint c;
  c.redo = Lsn(load_le<uint64_t>(p));
  c.timeline = load_le<uint32_t>(p + 8);
  c.previous_timeline = load_le<uint32_t>(p + 12);
  c.full_page_writes = p[16] != 0;
  if (version.checkpoint_has_wal_level) c.wal_level = load_le<int32_t>(p + 20);
  c.next_xid = load_le<uint64_t>(p + 24);
  c.next_oid = load_le<uint32_t>(p + 32);
  c.next_multi = load_le<uint32_t>(p + 36);
  c.next_multi_offset = load_le<uint32_t>(p + 40);
  c.oldest_xid = load_le<uint32_t>(p + 44);
  c.oldest_xid_database = load_le<uint32_t>(p + 48);
  c.oldest_multi = load_le<uint32_t>(p + 52);
  c.oldest_multi_database = load_le<uint32_t>(p + 56);
  c.time = load_le<int64_t>(p + 64);
  c.oldest_commit_timestamp_xid = load_le<uint32_t>(p + 72);
  c.newest_commit_timestamp_xid = load_le<uint32_t>(p + 76);
  c.oldest_active_xid = load_le<uint32_t>(p + 80);
  return c;
}

std::array<uint8_t, kCheckpointSize> Checkpoint::encode(const Version& version) const {
  std::array<uint8_t, kCheckpointSize> bytes{};
  uint8_t* p = bytes.data();
  store_le<uint64_t>(p, redo.value);
  store_le<uint32_t>(p + 8, timeline);
  store_le<uint32_t>(p + 12, previous_timeline);
  p[16] = full_page_writes ? 1 : 0;
  if (version.checkpoint_has_wal_level) store_le<int32_t>(p + 20, wal_level);
  store_le<uint64_t>(p + 24, next_xid);
  store_le<uint32_t>(p + 32, next_oid);
  store_le<uint32_t>(p + 36, next_multi);
  store_le<uint32_t>(p + 40, next_multi_offset);
  store_le<uint32_t>(p + 44, oldest_xid);
  store_le<uint32_t>(p + 48, oldest_xid_database);
  store_le<uint32_t>(p + 52, oldest_multi);
  store_le<uint32_t>(p + 56, oldest_multi_database);
  store_le<int64_t>(p + 64, time);
  store_le<uint32_t>(p + 72, oldest_commit_timestamp_xid);
  store_le<uint32_t>(p + 76, newest_commit_timestamp_xid);
  store_le<uint32_t>(p + 80, oldest_active_xid);
  return bytes;
}

}  // namespace varve::wal
