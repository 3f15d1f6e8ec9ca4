// A small cluster for tests: two databases, a relation of two files, an unlogged index, a prepared
// transaction.
#pragma once

#include <cstdint>
#include <vector>

#include "base/codec.h"
#include "base/crc32c.h"
#include "compute/agent/manifest.h"
#include "wal/control_file.h"
#include "wal/version.h"

namespace varve::compute::testing {

inline constexpr uint64_t kSystemId = 0x7766554433221100;

// A valid pg_control of a freshly made cluster.
inline std::vector<uint8_t> sample_control_file(uint16_t major, uint32_t segment_size,
                                                uint32_t checksums = 0) {
  const wal::Version& version = *wal::version_of_major(major);
  std::vector<uint8_t> file(wal::kControlFileSize, 0);
  uint8_t* p = file.data();
  store_le<uint64_t>(p, kSystemId);
  store_le<uint32_t>(p + 8, version.control_version);
  store_le<uint32_t>(p + 12, 202209061);
  store_le<uint32_t>(p + 16, static_cast<uint32_t>(wal::ClusterState::kInProduction));
  wal::Checkpoint checkpoint;
  checkpoint.next_xid = 731;
  const auto body = checkpoint.encode(version);
  std::copy(body.begin(), body.end(), p + 40);
  store_le<uint64_t>(p + 128, 1000);
  store_le<uint32_t>(p + 216, kBlockSize);
  store_le<uint32_t>(p + 220, 131072);
  store_le<uint32_t>(p + 224, kWalPageSize);
  store_le<uint32_t>(p + 228, segment_size);
  store_le<uint32_t>(p + 252, checksums);
  store_le<uint32_t>(p + version.control_crc, crc32c(std::span(file).first(version.control_crc)));
  return file;
}

inline Manifest sample_manifest(Lsn lsn, Lsn previous, uint16_t major = 15,
                                uint32_t segment_size = 1 << 20) {
  Manifest m;
  m.major = major;
  m.lsn = m.ingested = lsn;
  m.previous = previous;
  wal::Checkpoint counters;
  counters.next_xid = (uint64_t{1} << 32) | 40000;
  counters.next_oid = 24576;
  counters.next_multi = 7;
  counters.next_multi_offset = 15;
  counters.oldest_xid = 722;
  counters.oldest_multi = 1;
  wal::ServerParameters parameters;
  parameters.wal_level = 1;
  parameters.max_connections = 100;
  parameters.max_worker_processes = 8;
  parameters.max_wal_senders = 10;
  parameters.max_locks_per_transaction = 64;
  m.state = wal::CheckpointState(counters, parameters);
  m.control_file = Bytes::copy(sample_control_file(major, segment_size));
  m.databases = {{1663, 1}, {1663, 5}};
  const Bytes map = Bytes::copy(std::vector<uint8_t>(512, 0x5A));
  m.relation_maps = {{1664, 0, map}, {1663, 1, map}, {1663, 5, map}};
  m.forks = {
      {{1664, 0, 1262}, wal::Fork::kMain, 1},        {{1663, 5, 16384}, wal::Fork::kMain, 131075},
      {{1663, 5, 16384}, wal::Fork::kVisibility, 5}, {{1663, 5, 16384}, wal::Fork::kFreeSpace, 9},
      {{1663, 5, 16390}, wal::Fork::kMain, 131072},  {{1663, 5, 16400}, wal::Fork::kInit, 1},
      {{1663, 5, 16400}, wal::Fork::kMain, 77},      {{1663, 5, 16401}, wal::Fork::kInit, 0},
      {{1663, 1, 1259}, wal::Fork::kMain, 0}};
  m.slru_segments = {{wal::Slru::kClog, 0, 2},
                     {wal::Slru::kMultiXactOffset, 0, 1},
                     {wal::Slru::kMultiXactMember, 0, 1}};
  return m;
}

}  // namespace varve::compute::testing
