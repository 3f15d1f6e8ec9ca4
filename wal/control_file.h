// pg_control: what a server reads first. Parsed, checked, and rewritten for a forged start.
//
// A file of 8192 bytes with the structure at its front; offsets are those of 64-bit Linux builds of
// 14 to 18, which differ only in where the checksum stands.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/lsn.h"
#include "base/status.h"
#include "wal/checkpoint.h"
#include "wal/effects.h"
#include "wal/page.h"
#include "wal/version.h"

namespace varve::wal {

inline constexpr size_t kControlFileSize = 8192;

enum class ClusterState : uint32_t {
  kStartingUp = 0,
  kShutDown = 1,
  kShutDownInRecovery = 2,
  kShuttingDown = 3,
  kInCrashRecovery = 4,
  kInArchiveRecovery = 5,
  kInProduction = 6,
};
const char* cluster_state_name(ClusterState state);  // as pg_controldata prints it

struct ControlFile {
  uint64_t system_id = 0;
  uint32_t control_version = 0;
  uint32_t catalog_version = 0;
  ClusterState state = ClusterState::kStartingUp;
  int64_t time = 0;  // seconds since 1970
  Lsn checkpoint_record;
  Checkpoint checkpoint;
  Lsn unlogged_lsn;
  Lsn minimum_recovery_point;
  Lsn backup_start;
  Lsn backup_end;
  bool backup_end_required = false;
  ServerParameters parameters;
  uint32_t segment_size = 0;           // of the log, bytes
  uint32_t data_checksum_version = 0;  // 0: pages carry no checksums

  // The log's identity as this file knows it.
  LogIdentity identity(const Version& version) const;
};

// `version` is what the directory's PG_VERSION says. kCorrupt when the checksum or a field that
// can't be otherwise does not fit; kUnsupported for another control version or for a build with
// other page or relation segment sizes than 8 KiB and 1 GiB.
Result<ControlFile> parse_control_file(const Version& version, std::span<const uint8_t> bytes);

// What a forged start changes in pg_control.
struct ForgedStart {
  Lsn checkpoint_record;
  Checkpoint checkpoint;        // the record's
  ServerParameters parameters;  // CheckpointState::parameters()
  int64_t time = 0;             // now, seconds since 1970
};

// A whole new file from any valid one of the same cluster: shut down cleanly at that record,
// nothing to recover, no backup in progress; all else is kept. Errors as parse_control_file() of
// `original`.
Result<std::vector<uint8_t>> forge_control_file(const Version& version,
                                                std::span<const uint8_t> original,
                                                const ForgedStart& start);

}  // namespace varve::wal
